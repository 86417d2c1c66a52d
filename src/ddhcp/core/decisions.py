"""What was last decided about each client, for the operator who asks why one has no address."""

from __future__ import annotations

from dataclasses import dataclass

MAX_DECISIONS = 4096  # clients remembered, the longest silent forgotten first; about 200 bytes each


@dataclass(slots=True, frozen=True)
class Decision:
    """``at``: when, on the node's clock. ``message``: what the client had sent, "DISCOVER" and so on. ``outcome``:
    "offered", "granted", "refused", "ignored", "waiting" (for an address) or "asking" (another node). ``reason``: a
    stable name for why, "" if there is nothing to explain. ``address``: what it was about, 0 if none."""

    at: float
    message: str
    outcome: str
    reason: str
    address: int


class Decisions:
    """The latest decision by hardware address (chaddr, 16 bytes)."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[bytes, tuple[float, str, str, str, int]] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def note(self, chaddr: bytes, at: float, message: str, outcome: str, reason: str = "", address: int = 0) -> None:
        """Remember a decision."""
        latest = self._latest
        latest.pop(chaddr, None)
        latest[chaddr] = (at, message, outcome, reason, address)
        if len(latest) > MAX_DECISIONS:
            del latest[next(iter(latest))]

    def of(self, chaddr: bytes) -> Decision | None:
        """What was last decided about this client."""
        found = self._latest.get(chaddr)
        return Decision(*found) if found is not None else None
