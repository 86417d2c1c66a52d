"""How bindings end: RELEASE, DECLINE, expiry, and addresses found in use by somebody else."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from ..swarm import Surrender
from .claims import Claims
from .context import Context
from .decisions import Decisions
from .effects import ForgetLease, RunHook, SaveLease
from .forwarding import Forwarding
from .leases import ACTIVE, DECLINED, HELD, KEPT, LEASED, Lease, LeaseState, LeaseTable
from .limits import RateLimiter
from .pool import dotted
from .replicas import Replicas
from .replies import Exchange, Replies, mac_text
from .surrender import Surrenders
from .terms import TermsBook

# A peer stands in for a silent owner half a second after a client asked it (``forwarding.OWN_WORD_AT_ATTEMPT``), on a
# clock that may run slower. So what all replicas acknowledged this soon after a client gave its address back here, none
# of them granted to it anew meanwhile.
SETTLE_S: Final = 0.4
MOST_WAITED_S: Final = 0.1  # of which this is left for the time before the RELEASE was read


class Endings:
    """Ends bindings. ``claims``, ``forwarding``, ``surrenders`` and ``replicas`` are set by the owner."""

    def __init__(
        self, context: Context, leases: LeaseTable, book: TermsBook, replies: Replies, decisions: Decisions
    ) -> None:
        self._context = context
        self._leases = leases
        self._book = book
        self._replies = replies
        self._decisions = decisions
        self._settling: dict[int, float] = {}  # addresses whose replicas are told that they were given back; until when
        self.configure()
        self.claims: Claims
        self.forwarding: Forwarding
        self.surrenders: Surrenders
        self.replicas: Replicas
        self.is_known_everywhere: Callable[[int], bool] = lambda address: True

    def configure(self) -> None:
        """Take a changed policy."""
        self._conflicts = self._context.config.policy.conflicts
        declines = self._conflicts.declines_per_client
        self._decline_rate = RateLimiter(declines / self._conflicts.probation_s, declines)

    # --- RELEASE --------------------------------------------------------------------------------

    def on_release(self, x: Exchange, waited_s: float, now: float) -> bool:
        """RFC 2131 4.3.4; no answer. At the owner when that is another node. ``waited_s``: since it arrived; a replica
        may have stood in meanwhile. Whether an address became free here."""
        request = x.request
        address = request.ciaddr
        if address not in self._context.pool or self._book.names_another(request, x.terms):
            self._replies.ignore(request, x.link, "release-of-no-lease", now, address)
            return False
        owner = self.claims.owner_address(self._context.pool.index_of(address))
        if owner is not None:
            self._decisions.note(x.chaddr, now, "RELEASE", "asking", "other-node", address)
            self.replicas.forget(address, x.key, x.chaddr)
            if not self.surrenders.tell(Surrender(address, request.xid, x.chaddr, x.key), owner, now):
                self.forwarding.tell_released(request, address, owner)
            return False
        lease = self._leases.at(address)
        if lease is None or lease.state not in HELD or not self._leases.belongs(lease, x.key, request.chaddr):
            self._replies.ignore(request, x.link, "release-of-no-lease", now, address)
            return False
        self._decisions.note(x.chaddr, now, "RELEASE", "ended", "", address)
        return self.release(address, now, is_hearsay=waited_s > MOST_WAITED_S)

    def release(self, address: int, now: float, *, is_hearsay: bool = False) -> bool:
        """End the lease of ``address``, if it is leased here; its client is remembered. ``is_hearsay``: a peer tells of
        it, nobody knows how long after the client did. Whether the address became free."""
        lease = self._leases.at(address)
        if lease is None or lease.state not in HELD:
            return False
        if lease.state is LEASED:
            self._tell(lease, "released")
        if self._keep_if_known_elsewhere(lease, now, is_hearsay=is_hearsay):
            return False
        self._end_released(lease, now)
        return True

    def _keep_if_known_elsewhere(self, lease: Lease, now: float, *, is_hearsay: bool) -> bool:
        """Keep the address of a lease that its client gave back, if a peer that has not heard of it may prolong it."""
        kept_until = self._kept_until(lease)
        is_blocked = self._leases.is_reserved(lease.address)
        if is_blocked or not self._may_be_prolonged_elsewhere(lease, now) or kept_until <= now:
            return False
        self._leases.keep(lease, kept_until, is_released=not is_hearsay)
        self._settling.pop(lease.address, None)
        if not is_hearsay:
            self._settling[lease.address] = now + SETTLE_S
        self._save(lease)
        return True

    def _kept_until(self, lease: Lease) -> float:
        """Up to when a peer that stands in for this node may prolong a lease."""
        keep_s = 0 if lease.state is KEPT else self._context.keep_s
        return lease.expires_at + keep_s

    def _may_be_prolonged_elsewhere(self, lease: Lease, now: float) -> bool:
        return self._context.has_stand_ins or not self.claims.is_sure(self._context.pool.index_of(lease.address), now)

    def settle(self, address: int, now: float) -> bool:
        """All replicas may have heard by now that the client gave ``address`` back. Whether it became free."""
        if now >= self._settling.get(address, -math.inf):
            return False
        lease = self._leases.at(address)
        if lease is None or not lease.is_released:
            return False
        if not self.claims.is_sure(self._context.pool.index_of(address), now) or not self.is_known_everywhere(address):
            return False
        del self._settling[address]
        self._end_released(lease, now)
        return True

    def _keep_unsettled(self, now: float) -> None:
        """Some replica did not hear in time that an address was given back, and may have granted it to its client anew:
        all are told that it is kept."""
        while self._settling:
            address, until = next(iter(self._settling.items()))
            if until > now:
                return
            del self._settling[address]
            lease = self._leases.at(address)
            if lease is not None and lease.is_released:
                lease.is_released = False
                self._save(lease)

    def _end_released(self, lease: Lease, now: float) -> None:
        self._leases.end(lease, LeaseState.RELEASED)
        lease.expires_at, lease.is_released = now, False
        self._save(lease)

    def _save(self, lease: Lease) -> None:
        """The lease was ended: what the store says about prolonging it is void."""
        lease.granted_s, lease.held_until = 0, 0.0
        self._context.effects.append(SaveLease(lease.stored()))

    def _tell(self, lease: Lease, how: str) -> None:
        address, mac = dotted(lease.address), mac_text(lease.chaddr)
        self._context.effects.append(RunHook(("release", address, mac)))
        self._context.log(logging.INFO, f"lease-{how}", address=address, mac=mac)

    # --- DECLINE and conflicts ------------------------------------------------------------------

    def on_decline(self, x: Exchange, now: float) -> None:
        """RFC 2131 4.3.3: the client found its address in use. Believed only from who holds it (F3)."""
        request = x.request
        address = request.requested_address or 0
        if address not in self._context.pool or self._book.names_another(request, x.terms):
            self._replies.ignore(request, x.link, "decline-of-no-lease", now, address)
            return
        owner = self.claims.owner_address(self._context.pool.index_of(address))
        if owner is not None:
            self._decisions.note(x.chaddr, now, "DECLINE", "asking", "other-node", address)
            self.replicas.forget(address, x.key, x.chaddr)
            self.surrenders.tell(Surrender(address, request.xid, x.chaddr, x.key, is_declined=True), owner, now)
            return
        lease = self._leases.at(address)
        if lease is None or lease.state not in ACTIVE or not self._leases.belongs(lease, x.key, x.chaddr):
            self._replies.ignore(request, x.link, "decline-of-no-lease", now, address)
            return
        self._decisions.note(x.chaddr, now, "DECLINE", "ended", "", address)
        self.decline(address, now)

    def decline(self, address: int, now: float, *, is_hearsay: bool = False) -> None:
        """Its client found ``address``, offered or leased here, in use: nobody gets it for a while. Past the caps it is
        given back instead, and probed before it is offered to anybody else (F4). ``is_hearsay``: as for a release."""
        lease = self._leases.at(address)
        if lease is None or lease.state not in ACTIVE:
            return
        self._tell_hooks(lease)
        if not self._decline_rate.allows(lease.chaddr, now) or self._has_declined_enough():
            self._context.count("dhcp.drop.too-many-declines")
            self._context.log(logging.WARNING, "too-many-declines", address=dotted(address), mac=mac_text(lease.chaddr))
            self._leases.taint(address)
            if lease.state is LEASED and self._keep_if_known_elsewhere(lease, now, is_hearsay=is_hearsay):
                return
            self._leases.forget(lease)
            self._context.effects.append(ForgetLease(address))
            return
        self._put_on_probation(lease, now)
        self._context.log(
            logging.WARNING, "address-declined", address=dotted(address), mac=mac_text(lease.chaddr),
            seconds=self._conflicts.probation_s,
        )  # fmt: skip

    def _tell_hooks(self, lease: Lease) -> None:
        if lease.state is LEASED:
            self._context.effects.append(RunHook(("release", dotted(lease.address), mac_text(lease.chaddr))))

    def take_out(self, lease: Lease, mac: bytes, now: float) -> None:
        """Somebody with hardware address ``mac`` answered for an address that was to be offered; perhaps to a client
        that leased it before."""
        self._context.count("dhcp.conflicts")
        self._tell_hooks(lease)
        self._put_on_probation(lease, now)
        self._context.log(
            logging.WARNING, "address-in-use", address=dotted(lease.address), mac=mac_text(lease.chaddr),
            by=mac_text(mac), seconds=self._conflicts.probation_s,
        )  # fmt: skip

    def _has_declined_enough(self) -> bool:
        leases = self._leases
        own = sum(leases.free_in_zone(zone) for zone in range(leases.plan.zone_count))
        own += leases.offered_count + leases.leased_count + leases.kept_count + leases.declined_count
        return leases.declined_count >= max(1, int(own * self._conflicts.max_declined_share))

    def _put_on_probation(self, lease: Lease, now: float) -> None:
        until = now + self._conflicts.probation_s
        if lease.state in HELD and self._may_be_prolonged_elsewhere(lease, now):
            until = max(until, self._kept_until(lease))
        self._leases.bind(lease.address, lease.identity, lease.chaddr, DECLINED, until)
        self._save(lease)

    # --- time -----------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        expiry = self._leases.next_expiry_at()
        settling = next(iter(self._settling.values()), math.inf)
        return settling if expiry is None else min(settling, expiry)

    def run(self, now: float) -> bool:
        """End what has run out; whether anything has."""
        self._keep_unsettled(now)
        ended = False
        while (lease := self._leases.pop_expired(now)) is not None:
            ended = True
            if lease.state is LEASED:
                self._expire(lease, now)
                continue
            if lease.state is KEPT:
                self._leases.end(lease, LeaseState.EXPIRED)
                lease.is_released = False
                continue
            if lease.state is DECLINED:
                self._leases.taint(lease.address)
            self._leases.forget(lease)
        return ended

    def _expire(self, lease: Lease, now: float) -> None:
        """The client did not renew here. Where a peer may have stood in for this node, the address waits for it."""
        self._tell(lease, "expired")
        until = self._kept_until(lease)
        if self._may_be_prolonged_elsewhere(lease, now) and until > now:
            self._leases.keep(lease, until)
        else:
            self._leases.end(lease, LeaseState.EXPIRED)
