"""Asking the segment whether an address is in use, before it is offered (RFC 5227, DHCP-SERVER B8).

The OFFER waits for the answer or for the end of the time allowed, whichever comes first; nothing else waits.
"""

from __future__ import annotations

import math

from ..values import dataclass
from .context import Context
from .effects import ProbeAddress
from .leases import Lease, LeaseTable
from .policy import Probe
from .remedies import Remedy
from .replies import Exchange

MAX_PROBES = 256  # under way at once; past that an address is offered unprobed rather than late


@dataclass(slots=True)
class _Pending:
    x: Exchange
    until: float


class Probing:
    """OFFERs that wait for a probe."""

    def __init__(self, context: Context, leases: LeaseTable) -> None:
        self._context = context
        self._leases = leases
        self._pending: dict[int, _Pending] = {}
        self.configure()

    def configure(self) -> None:
        """Take a changed policy."""
        conflicts = self._context.config.policy.conflicts
        mode = conflicts.probe if self._context.has(Remedy.PROBING) else Probe.NEVER
        self._is_never, self._is_of_reused = mode is Probe.NEVER, mode is Probe.REUSED
        self._timeout_s = conflicts.probe_timeout_s

    def __len__(self) -> int:
        return len(self._pending)

    def deadline(self) -> float:
        """When :meth:`expired` will find something; infinity if never."""
        # All wait equally long, so the first is the first to end.
        return next((pending.until for pending in self._pending.values()), math.inf)

    def wants(self, x: Exchange, address: int, previous: Lease | None) -> bool:
        """Whether ``address``, whose latest binding is ``previous``, is to be probed before it is offered.

        Never behind a relay, where ARP does not reach, and not for the client's own address: it would answer itself.
        """
        if self._is_never or x.request.giaddr or address in self._pending:
            return False
        if previous is not None and self._leases.belongs(previous, x.key, x.chaddr):
            return self._leases.is_tainted(address)
        if self._is_of_reused and previous is None and not self._leases.is_tainted(address):
            return False
        return len(self._pending) < MAX_PROBES

    def start(self, x: Exchange, address: int, now: float) -> None:
        """Probe ``address``, which is held for the client meanwhile."""
        self._context.count("dhcp.probes")
        self._pending[address] = _Pending(x, now + self._timeout_s)
        self._context.effects.append(ProbeAddress(x.link, address, self._timeout_s))

    def is_under_way(self, address: int) -> bool:
        """Whether the answer about ``address`` is awaited."""
        return address in self._pending

    def take(self, address: int) -> Exchange | None:
        """Whose OFFER waits for ``address``; it waits no longer."""
        pending = self._pending.pop(address, None)
        return pending.x if pending is not None else None

    def expired(self, now: float) -> list[tuple[int, Exchange]]:
        """The addresses for which nobody answered in time, and who wants them."""
        over = []
        for address, pending in self._pending.items():
            if pending.until > now:
                break
            over.append((address, pending.x))
        for address, _ in over:
            del self._pending[address]
        return over
