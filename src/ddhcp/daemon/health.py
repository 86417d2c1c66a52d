"""What is wrong with a node, in sentences for its operator."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..core.blocks import BlockState
from ..core.views import NodeView, PeerView, Totals
from ..values import dataclass
from .recent import RecentEvents
from .rows import UNKNOWN, address_text

NEARLY_FULL = 0.9  # share of the pool's blocks that is taken
DISPUTED_WITHIN_S = 600.0  # how long a lost block is told as a problem
SILENT_AFTER = 3  # a peer that let so many block timeouts pass unheard is away

PROBLEM_NAMES = (
    "server-link-down", "client-link-down", "store-failing", "pool-full", "pool-nearly-full", "clients-waiting",
    "no-peers", "equal-node-ids", "plans-differ", "disputes",
)  # fmt: skip

WARNING, FAILING = "warning", "failing"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``name`` is stable, for programs; ``text`` says it and what to do about it."""

    name: str
    level: str
    text: str

    def as_json(self) -> dict[str, object]:
        """The problem as the API gives it."""
        return {"name": self.name, "level": self.level, "text": self.text}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the daemon around a node knows. ``clients_missing``: client interfaces that cannot carry packets.
    ``store_error``: why the last commit failed, None if it did not."""

    server_interface: str
    server_link_up: bool
    client_interfaces: tuple[str, ...]
    clients_missing: tuple[str, ...]
    store: str
    store_error: str | None
    uptime_s: float


def level_of(problems: Iterable[Problem]) -> str:
    """ "ok", "warning" or "failing": the worst of them."""
    levels = {problem.level for problem in problems}
    return FAILING if FAILING in levels else WARNING if WARNING in levels else "ok"


def problems(
    node: NodeView, address: bytes, totals: Totals, peers: list[PeerView], facts: Facts, recent: RecentEvents
) -> list[Problem]:
    """Everything that is wrong, the worst first."""
    found = [
        *_links(facts),
        *_store(facts),
        *_pool(node, totals),
        *_peers(node, address, peers, facts),
        *_disputes(recent),
    ]
    return sorted(found, key=lambda problem: problem.level != FAILING)


def _links(facts: Facts) -> Iterable[Problem]:
    if not facts.server_link_up:
        yield Problem(
            "server-link-down", FAILING,
            f"The server interface {facts.server_interface} carries no packets: no block can be claimed or refreshed, "
            "and leases are only renewed for as long as was promised before. Look at `ip link` and its IPv6 address.",
        )  # fmt: skip
    for name in facts.clients_missing:
        yield Problem(
            "client-link-down", FAILING, f"The client interface {name} is missing, down, or has no IPv4 address."
        )


def _store(facts: Facts) -> Iterable[Problem]:
    if facts.store_error is not None:
        yield Problem(
            "store-failing", FAILING,
            f"Leases cannot be written to the disk ({facts.store_error}), so clients get no answers. "
            "Look for a full or failing disk; writing is tried again by itself.",
        )  # fmt: skip


def _pool(node: NodeView, totals: Totals) -> Iterable[Problem]:
    taken = node.block_count - totals.blocks[BlockState.FREE]
    if totals.blocks[BlockState.FREE] == 0 and totals.leases_free == 0 and node.block_count:
        yield Problem(
            "pool-full", FAILING,
            f"All {node.block_count} blocks of the pool are taken and no address of ours is free: new clients get "
            "none. Use a larger pool, shorter leases or smaller blocks.",
        )  # fmt: skip
    elif taken >= NEARLY_FULL * node.block_count and node.block_count > 1:
        yield Problem(
            "pool-nearly-full", WARNING,
            f"{taken} of the pool's {node.block_count} blocks are taken.",
        )  # fmt: skip
    if totals.clients_waiting and not totals.is_learning and totals.blocks[BlockState.FREE] == 0:
        yield Problem("clients-waiting", WARNING, f"{totals.clients_waiting} clients wait for an address.")


def _peers(node: NodeView, address: bytes, peers: list[PeerView], facts: Facts) -> Iterable[Problem]:
    heard = [peer for peer in peers if peer.heard_ago_s <= SILENT_AFTER * node.block_timeout_s]
    if not heard and facts.server_link_up and facts.uptime_s > SILENT_AFTER * node.block_timeout_s:
        yield Problem(
            "no-peers", WARNING,
            f"No other node was heard on {facts.server_interface} for {SILENT_AFTER * node.block_timeout_s} s. "
            "If this node should not be alone: are interface, pool (-N) and block size (-b) the same everywhere?",
        )  # fmt: skip
    addresses: dict[bytes, set[bytes]] = {node.node_id: {address}} if address != UNKNOWN else {}
    for peer in heard:
        addresses.setdefault(peer.node_id, set()).add(peer.address)
    for node_id, owners in addresses.items():
        if len(owners) > 1:
            names = ", ".join(str(address_text(owner)) for owner in sorted(owners)[:4])
            yield Problem(
                "equal-node-ids", WARNING,
                f"Nodes {names} all call themselves {node_id.hex()}. Some classic builds never set their id; two of "
                "them may both believe that a block is theirs. Upgrade them.",
            )  # fmt: skip

    others = [str(address_text(peer.address)) for peer in heard if peer.plan_differs]
    if others:
        yield Problem(
            "plans-differ", WARNING,
            f"{len(others)} node(s), {', '.join(others[:4])} among them, reserve other addresses than this one, or "
            "know other subnets: what one keeps for a host, another gives to anyone. Configure all nodes alike.",
        )  # fmt: skip


def _disputes(recent: RecentEvents) -> Iterable[Problem]:
    lost = recent.count_since("block-lost", time.time() - DISPUTED_WITHIN_S)
    if lost:
        yield Problem(
            "disputes", WARNING,
            f"In the last {int(DISPUTED_WITHIN_S / 60)} minutes {lost} block(s) of ours went to a stronger node that "
            "claimed them too. After two parts of a mesh have met again this is expected once.",
        )  # fmt: skip
