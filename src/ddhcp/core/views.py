"""Read-only views of a node, for the control socket, metrics and tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block as the node sees it now.

    ``index``: the block index. ``state``: the number that PROTOCOL gives the block state (0 FREE to 5
    BLOCKED). ``owner``: 8 bytes, the node id of who claims it, zeros if unknown. ``claim_count``: inquiries
    sent for it. ``offered`` and ``leased``: addresses offered and leased in it, None where the node does not
    know (another node's block). ``timeout_s``: whole seconds until the state lapses.
    """

    index: int
    state: int
    owner: bytes
    claim_count: int
    offered: int | None
    leased: int | None
    timeout_s: int


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
