"""I5 (an offer within a bound) and I6 (no refusal of a valid lease): what clients can count on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...core.pool import dotted
from ..network import Network
from ..watch import Watch

if TYPE_CHECKING:
    from ..client import Client
    from ..host import Host
    from .addresses import AddressChecker

PLENTY = 8  # free blocks for each node: so many that even the share of one node in them is not empty


class OfferChecker:
    """I5: in a stable network a DISCOVER is offered an address within a bound, while free blocks exist. A classic node
    whose wall clock was set back does nothing by time until the clock shows again what it did."""

    def __init__(self, watch: Watch, nodes: int, bound_s: float) -> None:
        self._watch = watch
        self._nodes = nodes
        self.bound_s = bound_s
        self.stable_at: float | None = None
        self.latencies: list[float] = []

    def has_plenty(self) -> bool:
        """Whether so many blocks are free that nobody needs to wait."""
        now = self._watch.engine.now
        closed_s = self._watch.setup.promise_s  # an orphan may be kept closed for so long after its promise
        pool = self._watch.setup.pool
        taken = sum(
            any(until + closed_s > now for _, until in witness.claims.values())
            for witness in self._watch.blocks.values()
        )
        return pool.block_count - taken >= PLENTY * self._nodes

    def offered(self, client: Client) -> None:
        """A client gets an OFFER."""
        self._look_at(client, is_still_waiting=False)

    def still_waiting(self, client: Client) -> None:
        """At the end, a client that has asked for an address and got none."""
        self._look_at(client, is_still_waiting=True)

    def _look_at(self, client: Client, *, is_still_waiting: bool) -> None:
        stable_at, since = self.stable_at, client.discovered_at
        if stable_at is None or since is None:
            return
        waited_s = self._watch.engine.now - max(since, stable_at)
        if waited_s <= self.bound_s or not self.has_plenty():
            return
        host = client.host
        if host is not None and host.is_classic and host.clock.was_set_back:
            return
        what = "has got no offer for" if is_still_waiting else "got its offer after"
        self._watch.violation(
            "I5", f"c{client.number} at n{host.number if host else '?'} {what} {waited_s:.1f} s, {self.bound_s:.0f} s "
            "are allowed, though blocks are free",
        )  # fmt: skip


class RefusalChecker:
    """I6: no DHCPNAK for a valid lease while its owner can be reached. ``refusals``: of valid leases, for whatever
    reason."""

    def __init__(self, watch: Watch, network: Network, addresses: AddressChecker, hosts: dict[int, Host]) -> None:
        self._watch = watch
        self._network = network
        self._addresses = addresses
        self._hosts = hosts
        self.refusals = 0
        self.wiped_at: dict[int, float] = {}
        self._declined_at: dict[int, float] = {}

    def declined(self, address: int) -> None:
        """A client says that somebody else uses an address: whoever was granted it since may have to give it up."""
        self._declined_at[address] = self._watch.engine.now

    def refused(self, client: Client, address: int, host: Host) -> None:
        """``host`` refuses a client the address that it holds a valid lease of."""
        self.refusals += 1
        if host.is_classic or address not in self._watch.setup.pool:
            return
        now = self._watch.engine.now
        holders = self._addresses.holders(address)
        if len(holders) != 1 or holders[0].is_by_classic:
            return  # contested: all but one have to go
        if self._declined_at.get(address, math.inf) <= holders[0].since:
            return  # by a node that had not heard of it
        index = self._watch.setup.pool.index_of(address)
        witness = self._watch.block(index)
        if any(self._hosts[n].is_classic and at > holders[0].since for n, (at, _) in witness.claims.items()):
            return  # a classic node has claimed the block meanwhile: it knows no such lease, and who asks it is told so
        claimants = witness.claimants(now)
        if len(claimants) != 1:
            return
        owner = self._hosts[claimants[0]]
        if owner.is_classic or not owner.is_up or owner.is_paused or not owner.link_is_up:
            return
        if self.wiped_at.get(owner.number, -1.0) > holders[0].since:
            return  # it lost its disk
        is_reachable = owner is host or not (
            self._network.is_cut(host.number, owner.number) or self._network.is_cut(owner.number, host.number)
        )
        if is_reachable:
            self._watch.violation(
                "I6", f"n{host.number} refuses c{client.number} the address {dotted(address)}, whose lease is valid "
                f"and whose owner n{owner.number} is there",
                [f"lease: {holders[0].text()}", *self._watch.story_of(index)],
            )  # fmt: skip
