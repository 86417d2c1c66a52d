"""What was lately decided about each client, for the operator who asks why one has no address."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ..values import dataclass

MAX_CLIENTS: Final = 4096  # remembered, the longest silent forgotten first
KEPT_PER_CLIENT: Final = 8  # decisions; some 200 bytes each, so that all together stay below 7 MB

# (at, message, outcome, reason, address, times), as in Decision
_Entry = tuple[float, str, str, str, int, int]


@dataclass(slots=True, frozen=True)
class Decision:
    """``at``: when, on the node's clock. ``message``: what the client had sent, "DISCOVER" and so on, or "RENEWLEASE"
    if another node asked for it. ``outcome``: "offered", "granted", "refused", "ignored", "waiting" (for an address),
    "asking" (another node) or "ended" (its lease). ``reason``: a stable name for why, "" if there is nothing to
    explain. ``address``: what it was about, 0 if none. ``times``: how often in a row; ``at`` is the last time."""

    at: float
    message: str
    outcome: str
    reason: str
    address: int
    times: int = 1


class Decisions:
    """The latest decisions by hardware address (chaddr, 16 bytes)."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        # Clients, the longest silent first; of each, the oldest first. A plain dictionary would look for its first
        # entry among all that were taken out before.
        self._latest: OrderedDict[bytes, list[_Entry]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._latest)

    def note(self, chaddr: bytes, at: float, message: str, outcome: str, reason: str = "", address: int = 0) -> None:
        """Remember a decision. The same one again only counts, so that a client that goes on asking does not push out
        what came before."""
        latest = self._latest
        kept = latest.get(chaddr)
        if kept is None:
            latest[chaddr] = [(at, message, outcome, reason, address, 1)]
            if len(latest) > MAX_CLIENTS:
                latest.popitem(last=False)
            return
        latest.move_to_end(chaddr)
        _, its_message, its_outcome, its_reason, its_address, times = kept[-1]
        if address == its_address and message == its_message and outcome == its_outcome and reason == its_reason:
            kept[-1] = (at, message, outcome, reason, address, times + 1)
            return
        kept.append((at, message, outcome, reason, address, 1))
        if len(kept) > KEPT_PER_CLIENT:
            del kept[0]

    def latest(self, chaddr: bytes) -> Decision | None:
        """What was last decided about this client."""
        kept = self._latest.get(chaddr)
        return Decision(*kept[-1]) if kept else None

    def of(self, chaddr: bytes) -> list[Decision]:
        """What was decided about this client, the oldest first."""
        return [Decision(*entry) for entry in self._latest.get(chaddr, ())]

    def about(self, address: int) -> list[tuple[bytes, Decision]]:
        """What was decided about an address, each with its client, the oldest first: the latest
        :data:`KEPT_PER_CLIENT`. Looks through everything that is remembered."""
        found = [
            (chaddr, Decision(*entry)) for chaddr, kept in self._latest.items() for entry in kept if entry[4] == address
        ]
        return sorted(found, key=lambda each: each[1].at)[-KEPT_PER_CLIENT:]
