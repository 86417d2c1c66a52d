"""I1: no address is bound to two clients in unexpired acknowledged leases. Measured in address-seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...core.pool import dotted
from ..watch import Watch

if TYPE_CHECKING:
    from ..host import Host


# What a classic node does that gives an address to a second client.
ANYBODYS = "acknowledged a client that was not the holder"
FORGOTTEN = "leased an address anew whose lease it had forgotten or not heard of"
CLAIMED_IN_USE = "claimed a block in use and leased its addresses"
LEFT_BEHIND = "left a lease behind that nobody else knew"


@dataclass(slots=True)
class Binding:
    """One client's acknowledged lease: who answered it, on whose word, and in which state the client asked."""

    client: int
    address: int
    since: float
    until: float
    host: int
    granter: int
    is_by_classic: bool
    why: str

    def text(self) -> str:
        """For people."""
        by = f"n{self.host}" if self.host == self.granter else f"n{self.host} on the word of n{self.granter}"
        kind = "classic " if self.is_by_classic else ""
        return f"c{self.client} ({self.why}) by {kind}{by} at {self.since:.1f}, until {self.until:.1f}"


@dataclass(slots=True)
class Duplicate:
    """Two clients with one address, for ``seconds``. ``first_then``, ``second_then``: their bindings as it began."""

    address: int
    began_at: float
    first: Binding
    second: Binding
    seconds: float = 0.0
    context: list[str] = field(default_factory=list)
    first_then: Binding = field(init=False)
    second_then: Binding = field(init=False)

    def __post_init__(self) -> None:
        self.first_then, self.second_then = replace(self.first), replace(self.second)

    @property
    def is_by_classic(self) -> bool:
        """Whether a classic node granted one of the two."""
        return self.first_then.is_by_classic or self.second_then.is_by_classic

    @property
    def cause(self) -> str:
        """What the classic node did, "" if none had a part in it."""
        first, second = self.first_then, self.second_then
        if not second.is_by_classic:
            return LEFT_BEHIND if first.is_by_classic else ""
        if second.why != "requesting":
            return ANYBODYS
        return FORGOTTEN if first.granter == second.granter else CLAIMED_IN_USE

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "address": dotted(self.address), "began_at": round(self.began_at, 3), "seconds": round(self.seconds, 3),
            "first": self.first.text(), "second": self.second.text(), "by_classic": self.is_by_classic,
            "cause": self.cause, "context": self.context,
        }  # fmt: skip


class AddressChecker:
    """The oracle: address to holders, from what clients were acknowledged."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._holders: dict[int, dict[int, Binding]] = {}
        self._open: dict[int, list[Duplicate]] = {}
        self.duplicates: list[Duplicate] = []
        self._acks: dict[int, list[str]] = {}

    @property
    def duplicate_seconds(self) -> float:
        """Address-seconds in which an address had two holders; those under way count so far."""
        for address in list(self._open):
            self._settle(address)
        return sum(duplicate.seconds for duplicate in self.duplicates)

    def holders(self, address: int) -> list[Binding]:
        """Who holds ``address`` now."""
        now = self._watch.engine.now
        return [binding for binding in self._holders.get(address, {}).values() if binding.until > now]

    def bound(self, client: int, address: int, until: float, host: Host, granter: int, why: str) -> None:
        """A client accepts a DHCPACK."""
        watch = self._watch
        now = watch.engine.now
        if address in self._open:
            self._settle(address)
        holders = self._holders.setdefault(address, {})
        is_by_classic = host.realm.is_classic(granter)
        binding = holders.get(client)
        if binding is not None and binding.until > now:
            binding.until, binding.host, binding.granter, binding.why = until, host.number, granter, why
            binding.is_by_classic = is_by_classic
            return
        binding = Binding(client, address, now, until, host.number, granter, is_by_classic, why)
        for other in [other for other in holders.values() if other.until <= now]:
            del holders[other.client]
        for other in holders.values():
            self._begin(Duplicate(address, now, other, binding))
        holders[client] = binding

    def unbound(self, client: int, address: int) -> None:
        """A client gives its address up, or its lease has ended."""
        if address in self._open:
            self._settle(address)
            others = [
                duplicate
                for duplicate in self._open.pop(address, [])
                if client not in (duplicate.first.client, duplicate.second.client)
            ]
            if others:
                self._open[address] = others
        self._holders.get(address, {}).pop(client, None)

    def _begin(self, duplicate: Duplicate) -> None:
        watch = self._watch
        index = watch.setup.pool.index_of(duplicate.address)
        duplicate.context = [f"first: {duplicate.first.text()}", f"second: {duplicate.second.text()}"]
        duplicate.context += watch.story_of(index)
        self.duplicates.append(duplicate)
        self._open.setdefault(duplicate.address, []).append(duplicate)
        text = f"{dotted(duplicate.address)} is held by c{duplicate.first.client} and c{duplicate.second.client}"
        if duplicate.is_by_classic:
            watch.trace.say(f"!!! (a classic node's doing) {text}")
        else:
            watch.violation("I1", text, duplicate.context)

    def _settle(self, address: int) -> None:
        """Count the time of the duplicates of ``address`` up to now; close those of which a lease has ended."""
        now = self._watch.engine.now
        still_open = []
        for duplicate in self._open[address]:
            end = min(now, duplicate.first.until, duplicate.second.until)
            duplicate.seconds = max(duplicate.seconds, end - duplicate.began_at)
            if end >= now:
                still_open.append(duplicate)
        if still_open:
            self._open[address] = still_open
        else:
            del self._open[address]
