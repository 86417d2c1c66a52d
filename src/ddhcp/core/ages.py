"""Since when each client of ours has had its address: of two that hold one, the older binding stays (rule M7)."""

from __future__ import annotations

from typing import Final

from .effects import Effect, ForgetLease, SaveLease
from .leases import LeaseState

_LEASED: Final = LeaseState.LEASED.value


class LeaseAges:
    """Follows what is stored, so it is as large as the leases of this node. After a restart ages are not known."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[bytes, float]] = {}

    def note(self, effects: list[Effect], now: float) -> None:
        """Learn from what an event has this node store."""
        for effect in effects:
            if isinstance(effect, ForgetLease):
                self._since.pop(effect.address, None)
            elif isinstance(effect, SaveLease):
                lease = effect.lease
                if lease.state != _LEASED:
                    self._since.pop(lease.address, None)
                elif self._since.get(lease.address, (b"", 0.0))[0] != lease.identity:
                    self._since[lease.address] = (lease.identity, now)

    def put(self, address: int, identity: bytes, since: float) -> None:
        """Another node has known that client to have ``address`` since then."""
        self._since[address] = (identity, since)

    def since(self, address: int, identity: bytes) -> float | None:
        """Since when that client has had ``address``, None if it is not known."""
        known, since = self._since.get(address, (b"", 0.0))
        return since if known == identity else None
