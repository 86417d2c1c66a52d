"""Read-only views of a node, for the control socket, metrics and tests."""

from __future__ import annotations

from ..values import dataclass


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block as the node sees it now.

    ``index``: the block index. ``state``: the number that PROTOCOL gives the block state (0 FREE to 5
    BLOCKED). ``owner``: 8 bytes, the node id of who claims it, zeros if unknown. ``claim_count``: inquiries
    sent for it. ``offered`` and ``leased``: addresses offered and leased in it, None where the node does not
    know (another node's block). ``timeout_s``: whole seconds until the state lapses. ``owner_address``: the owner's
    16-byte address on the server link, zeros if unknown; it tells owners apart where node ids do not.
    """

    index: int
    state: int
    owner: bytes
    claim_count: int
    offered: int | None
    leased: int | None
    timeout_s: int
    owner_address: bytes = bytes(16)


@dataclass(frozen=True, slots=True)
class NodeView:
    """The node itself and the swarm that it belongs to.

    ``node_id``: 8 bytes. ``prefix`` (integer), ``prefix_len`` (bits), ``block_size`` (addresses) and
    ``block_count`` (blocks): the pool. ``tentative_timeout_s`` (t), ``block_timeout_s`` (T): seconds.
    ``spare_leases`` (s): free leases kept ready. ``refresh_factor``: an own claim is announced again when
    1/factor of T has passed.
    """

    node_id: bytes
    prefix: int
    prefix_len: int
    block_size: int
    block_count: int
    tentative_timeout_s: int
    block_timeout_s: int
    spare_leases: int
    refresh_factor: int


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another node, as heard.

    ``address``: 16 bytes. ``node_id``: 8 bytes. ``heard_ago_s``: seconds since its last message. ``is_ours``: it
    speaks our extensions, None while that is not known yet. ``refresh_s``: mean seconds between its announcements,
    None while unknown; ``refreshes`` heard and ``refreshes_lost``, an estimate. ``software``: what it says it
    is, "" if it does not. ``is_trusted``: it proved that it holds the swarm's key. ``plan_differs``: it reserves other
    addresses than this node, or knows other subnets.
    """

    address: bytes
    node_id: bytes
    heard_ago_s: float
    is_ours: bool | None
    refresh_s: float | None
    refreshes: int
    refreshes_lost: int
    software: str
    is_trusted: bool = False
    plan_differs: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a node that cost nothing to know.

    ``blocks``: how many are in which state, by the number that classic tools know; orphans are among the tentative.
    ``orphans``: how many of those there are; ``held``: how many of ours are held.
    """

    blocks: tuple[int, ...]
    orphans: int
    held: int
    leases_free: int
    leases_offered: int
    leases_leased: int
    bindings: int
    peers: int
    clients_waiting: int
    is_learning: bool
    is_stopping: bool
    link_up: bool


@dataclass(frozen=True, slots=True)
class Census:
    """Who owns how much of a part of the pool: for each cell that is not empty, (owner's address, state) to how many
    blocks. ``node_ids``: the node id of each owner. ``next_index``: where to go on, None if the part is done."""

    cells: dict[int, dict[tuple[bytes, int], int]]
    node_ids: dict[bytes, bytes]
    next_index: int | None
