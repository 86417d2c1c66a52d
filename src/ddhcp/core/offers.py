"""DISCOVER: which address a client is offered (RFC 2131 4.3.1), at once, after a probe, or when there is one."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from ..dhcp import constants as c
from ..values import dataclass
from .blocks import BlockState
from .claims import Claims
from .context import Context
from .decisions import Decisions
from .events import AddressProbed
from .leases import DECLINED, ITS_CLIENTS, OFFERED, SHORTEST_GRANT_S, Lease, LeaseTable
from .limits import RateLimiter
from .lookup import Lookup
from .pool import dotted
from .probing import Probing
from .remedies import Remedy
from .replies import Exchange, Replies, mac_text, relayed

_ONE_ADDRESS: Final = Remedy.ONE_ADDRESS  # asked for with every DISCOVER, and slow to be looked up in Python 3.11
OFFER_LIFETIME_S: Final = 12.0  # an offer nobody took up is free again after this, as in classic nodes
# One that nobody took up by now makes room when addresses are short: its client has asked again by now, or was none
# (RFC 2131 4.1: the first retransmission comes after 4 s).
OFFER_GRACE_S: Final = 4.0
WAIT_LIFETIME_S: Final = 30.0  # a DISCOVER that could not be answered is remembered; a live client repeats it sooner
MAX_WAITING: Final = 16384  # clients remembered while no address is free: an avalanche at one node


@dataclass(slots=True)
class _Waiting:
    x: Exchange
    until: float


class Offers:
    """Answers DISCOVER.

    ``commit(exchange, address, now)`` leases an address at once, for rapid commit. ``refresh(exchange)`` gives an
    exchange that waited its present terms, None if its link is gone. ``take_out(lease, mac, now)`` puts an address that
    somebody else uses on probation.
    """

    def __init__(
        self,
        context: Context,
        leases: LeaseTable,
        replies: Replies,
        decisions: Decisions,
        *,
        commit: Callable[[Exchange, int, float], bool],
        refresh: Callable[[Exchange], Exchange | None],
        take_out: Callable[[Lease, bytes, float], None],
    ) -> None:
        self._context = context
        self._leases = leases
        self._replies = replies
        self._decisions = decisions
        self._commit = commit
        self._refresh = refresh
        self._take_out = take_out
        self._probing = Probing(context, leases)
        self.configure()
        self._waiting: dict[int, dict[bytes, _Waiting]] = {}  # by zone, then by identity, in the order they came
        self._waiting_count = 0
        self.claims: Claims
        self.lookup: Lookup

    def configure(self) -> None:
        """Take a changed policy."""
        self._plan = self._leases.plan
        self._policy = self._context.config.policy
        limits = self._policy.limits
        self._max_identities = limits.identities_per_mac or math.inf
        self._rate = RateLimiter(
            limits.discover_per_s, limits.discover_burst, limits.total_discover_per_s, limits.total_discover_burst
        )
        self._probing.configure()

    # --- choosing -------------------------------------------------------------------------------

    def discover(self, x: Exchange, now: float) -> None:
        """A client looks for an address: its reserved, its present, its former one, the one it asks for, any."""
        if self._context.stopping:
            return
        if not self._rate.allows(x.chaddr, now):
            self._replies.ignore(x.request, x.link, "discover-rate", now)
            return
        self._choose(x, now)

    def _choose(self, x: Exchange, now: float) -> None:
        terms, hint = x.terms, x.request.requested_address
        reservation = self._plan.reservation(hint) if hint is not None else None
        if reservation is not None and reservation is not terms.reservation:
            del x.request.options[c.OPT_REQUESTED_ADDRESS]  # it is another host's: no node is to be asked for it
        if terms.v6only and c.OPT_IPV6_ONLY in x.request.options.get(c.OPT_PARAMETER_LIST, b""):
            self._replies.offer(x, 0, terms.lease_s, now)  # RFC 8925 3.3: no address is spent on it
            return
        lease = self._lease_of(x)
        if terms.reservation is not None and terms.reservation.address is not None:
            has_it = lease is not None and lease.state in ITS_CLIENTS and lease.address == terms.reservation.address
            if not has_it and self._discover_reserved(x, terms.reservation.address, now):
                return
        has_one_here = lease is not None and lease.state in ITS_CLIENTS and self._is_in_zone(lease.address, x)
        if not has_one_here and self._adopts_for(x, now):
            self._decisions.note(x.chaddr, now, "DISCOVER", "asking", "owner-silent", x.request.requested_address or 0)
            return
        if not has_one_here and self.lookup.ask(x.request, x.link, x.key, now):
            self._decisions.note(x.chaddr, now, "DISCOVER", "asking", "other-node", x.request.requested_address or 0)
            return
        self.offer_own(x, now)

    def _adopts_for(self, x: Exchange, now: float) -> bool:
        """Wait for a new owner, perhaps this node, of the block of an address that the client had, if its owner fell
        silent: the client keeps its address then."""
        for address in self.lookup.familiar_addresses(x.request, x.key):
            index = self._context.pool.index_of(address)
            if self.claims.adopt_for_client(index, x.key, now, lambda at: self._choose_again(x, at)):
                self.lookup.look_again(x.key)
                return True
        return False

    def _choose_again(self, x: Exchange, now: float) -> None:
        current = self._refresh(x)
        if current is not None and not self._context.stopping:
            self._choose(current, now)

    def _discover_reserved(self, x: Exchange, address: int, now: float) -> bool:
        """Offer the client its reserved address, if need be after asking its block's owner or claiming the block. False
        if it cannot be had, and another address has to do (DHCP-SERVER B5)."""
        index = self._context.pool.index_of(address)
        if not self._is_in_zone(address, x):
            reason = "other-subnet"
        elif self.claims.is_serving(index, now):
            if self.may_have(x, address) and self._can_lease(x, address, now):
                self._offer(x, address, now)
                return True
            reason = "in-use"
        elif self.lookup.ask_for(x.request, x.link, x.key, address, now):
            self._decisions.note(x.chaddr, now, "DISCOVER", "asking", "other-node", address)
            return True
        elif self.claims.owner_address(index) is not None:
            reason = "classic-owner"  # which knows no reservations and may give it to anyone
        elif self.claims.table.state(index) is BlockState.BLOCKED:
            reason = "blocked"
        else:
            self._wait(x, now)
            self.claims.want(index, now)
            return True
        self._reserved_is_unavailable(x, address, reason)
        return False

    def _reserved_is_unavailable(self, x: Exchange, address: int, reason: str) -> None:
        self._context.count("dhcp.reservations_unavailable")
        self._context.log(
            logging.WARNING, "reservation-unavailable", mac=mac_text(x.chaddr), address=dotted(address), reason=reason
        )

    def looked_up(self, x: Exchange, address: int | None, now: float) -> None:
        """The owner of the address that was asked for has confirmed it, or (None) has not, in time or at all."""
        if self._context.stopping:
            return
        if address is not None and self._is_in_zone(address, x):
            self._replies.offer(x, address, x.terms.lease_time_s(x.request.lease_time_s), now)
            return
        reservation = x.terms.reservation
        if reservation is not None and reservation.address is not None:
            self._reserved_is_unavailable(x, reservation.address, "owner-refused")
        elif self._adopts_for(x, now):
            return  # of its owner's silence this node has just been told
        self.offer_own(x, now)

    def offer_own(self, x: Exchange, now: float) -> None:
        """Offer an address of a block of ours, or have the client wait for one."""
        lease = self._lease_of(x)
        if (
            lease is not None
            and lease.state in ITS_CLIENTS
            and self._is_in_zone(lease.address, x)
            and not self._can_lease(x, lease.address, now)
        ):
            self._wait(x, now)  # the binding is kept while the block is fenced: no second address meanwhile
            return
        address = self._familiar(x, lease, now)
        if address is None:
            if self._leases.taken_by(x.chaddr) >= self._max_identities:
                self._replies.ignore(x.request, x.link, "too-many-identities", now)
                return
            address = self._new(x, now)
        if address is None:
            self._wait(x, now)
            return
        self._stop_waiting(x)
        self._offer(x, address, now)

    def _lease_of(self, x: Exchange) -> Lease | None:
        """The client's latest binding, unless its address is reserved for another host by now."""
        lease = self._leases.of(x.key, x.chaddr)
        if lease is None or not self._context.has(_ONE_ADDRESS):
            return None
        reservation = self._plan.reservation(lease.address)
        return lease if reservation is None or reservation is x.terms.reservation else None

    def _familiar(self, x: Exchange, lease: Lease | None, now: float) -> int | None:
        """The address that the client has, had, or asks for."""
        if lease is not None and self._is_in_zone(lease.address, x):
            if lease.state in ITS_CLIENTS:
                return lease.address
            if lease.state is not DECLINED and self._is_grantable(x, lease.address, now):
                return lease.address
        wanted = x.request.requested_address
        if wanted is not None and self._is_grantable(x, wanted, now) and self._is_in_zone(wanted, x):
            return wanted
        return None

    def _new(self, x: Exchange, now: float) -> int | None:
        """An address this client never had."""
        address = self._leases.pick_free(x.key, x.terms.zone)
        if address is None:
            address = self._recycle(x.terms.zone, now)
        return address if address is not None and self._can_lease(x, address, now) else None

    def _recycle(self, zone: int, now: float) -> int | None:
        """The address of the oldest offer, if nobody took it up for long: floods of DISCOVERs shall not keep addresses
        from those who go on to lease one (I25)."""
        oldest = self._leases.oldest_offer()
        if oldest is None or oldest.expires_at - OFFER_LIFETIME_S + OFFER_GRACE_S > now:
            return None
        if self._plan.zone_at(oldest.address) != zone or self._probing.is_under_way(oldest.address):
            return None
        self._context.count("dhcp.offers_recycled")
        address = oldest.address
        self._leases.forget(oldest)
        return address if self._leases.is_free(address) else None

    def may_have(self, x: Exchange, address: int) -> bool:
        """Whether ``address``, in a block of ours, is free for this client."""
        reservation = self._plan.reservation(address)
        if reservation is None:
            return self._leases.is_free(address)
        return reservation is x.terms.reservation and self._leases.is_open_to(address, x.key, x.chaddr)

    def _is_grantable(self, x: Exchange, address: int, now: float) -> bool:
        return self.may_have(x, address) and self._can_lease(x, address, now)

    def _can_lease(self, x: Exchange, address: int, now: float) -> bool:
        """Whether a REQUEST for ``address``, which is ours, would be granted: what could not is not offered either."""
        shortest_s = min(x.terms.lease_s, SHORTEST_GRANT_S)
        return self.claims.may_promise(self._context.pool.index_of(address), shortest_s, now)

    def _is_in_zone(self, address: int, x: Exchange) -> bool:
        return self._plan.zone_count == 1 or self._plan.zone_at(address) == x.terms.zone

    # --- offering -------------------------------------------------------------------------------

    def _offer(self, x: Exchange, address: int, now: float) -> None:
        lease = self._leases.at(address)
        needs_probe = self._probing.wants(x, address, lease)
        if lease is None or lease.state not in ITS_CLIENTS:
            self._leases.bind(address, x.key, x.chaddr, OFFERED, now + OFFER_LIFETIME_S)
        elif lease.state is OFFERED:
            lease.expires_at = now + OFFER_LIFETIME_S
        if needs_probe:
            self._probing.start(x, address, now)
        elif not self._probing.is_under_way(address):
            self._send(x, address, now)
        self.ensure_supply(x.terms.zone, now)

    def _send(self, x: Exchange, address: int, now: float) -> None:
        if self._policy.rapid_commit and x.request.rapid_commit and self._commit(x, address, now):
            return
        self._replies.offer(x, address, x.terms.lease_time_s(x.request.lease_time_s), now)

    def probed(self, event: AddressProbed, now: float) -> None:
        """Somebody answered for an address, or it is certain that nobody does."""
        x = self._probing.take(event.address)
        if x is None:
            return
        lease = self._binding_of(x, event.address)
        if lease is None:
            return
        if not event.in_use or event.mac == x.chaddr[: len(event.mac)]:
            self._probe_passed(x, event.address, now)
            return
        self._take_out(lease, event.mac, now)
        self.offer_own(x, now)

    def _probe_passed(self, x: Exchange, address: int, now: float) -> None:
        self._leases.untaint(address)
        current = self._refresh(x)
        if current is not None and self._binding_of(x, address) is not None:
            self._send(current, address, now)

    def _binding_of(self, x: Exchange, address: int) -> Lease | None:
        """The binding of ``address`` if it still is the client's."""
        lease = self._leases.at(address)
        if lease is None or lease.state not in ITS_CLIENTS or not self._leases.belongs(lease, x.key, x.chaddr):
            return None
        return lease

    # --- waiting --------------------------------------------------------------------------------

    def _wait(self, x: Exchange, now: float) -> None:
        """No address yet: remember the client, so that it is offered one as soon as there is one."""
        self._context.count("dhcp.no_address")
        waiting = self._waiting.setdefault(x.terms.zone, {})
        if x.key in waiting:
            del waiting[x.key]
        elif self._waiting_count >= MAX_WAITING:
            self._replies.ignore(x.request, x.link, "too-many-waiting", now)
            return
        else:
            self._waiting_count += 1
            self._context.log(
                logging.INFO, "client-waiting", mac=mac_text(x.chaddr), network=str(x.terms.network), link=x.link,
                **relayed(x.request),
            )  # fmt: skip
        waiting[x.key] = _Waiting(x, now + WAIT_LIFETIME_S)
        self._decisions.note(x.chaddr, now, "DISCOVER", "waiting", "no-free-address")
        self.ensure_supply(x.terms.zone, now)

    def _stop_waiting(self, x: Exchange) -> None:
        waiting = self._waiting.get(x.terms.zone)
        if waiting and waiting.pop(x.key, None) is not None:
            self._waiting_count -= 1

    def waiting_count(self) -> int:
        """How many clients wait for an address."""
        return self._waiting_count

    def waiting_in(self, zone: int) -> int:
        """How many clients of one zone wait."""
        return len(self._waiting.get(zone, ()))

    def serve_waiting(self, now: float) -> None:
        """Addresses became free: offer them to those who wait, in the order they came."""
        if not self._waiting_count:
            return
        for zone, waiting in list(self._waiting.items()):
            self._serve_zone(zone, waiting, now)

    def _serve_zone(self, zone: int, waiting: dict[bytes, _Waiting], now: float) -> None:
        for key, each in list(waiting.items()):
            x = self._refresh(each.x) if each.until > now else None
            if x is None:
                del waiting[key]
                self._waiting_count -= 1
                continue
            if self._serve(x, now):
                if waiting.pop(key, None) is not None:
                    self._waiting_count -= 1
            elif not self._leases.free_in_zone(zone):
                return

    def _serve(self, x: Exchange, now: float) -> bool:
        """Offer a waiting client what there is for it now."""
        reservation = x.terms.reservation
        if reservation is not None and reservation.address is not None:
            if not self._is_grantable(x, reservation.address, now):
                return False
            self._offer(x, reservation.address, now)
            return True
        lease = self._lease_of(x)
        if lease is not None and lease.state in ITS_CLIENTS and not self._can_lease(x, lease.address, now):
            return False
        address = self._familiar(x, lease, now)
        if address is None:
            address = self._new(x, now)
        if address is None:
            return False
        self._offer(x, address, now)
        return True

    def ensure_supply(self, zone: int, now: float) -> None:
        """Have more blocks claimed when free addresses run short."""
        if zone == 0:
            self.claims.ensure_supply(now)
            return
        wanted = self._context.config.spare_leases + self.waiting_in(zone)
        missing = wanted - self._leases.free_in_zone(zone)
        if missing > 0:
            self.claims.want_some(*self._plan.blocks_of(zone), missing, now)

    # --- time -----------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        at = self._probing.deadline()
        if self._waiting_count:
            for waiting in self._waiting.values():
                for each in waiting.values():
                    at = min(at, each.until)
                    break
        return at

    def run(self, now: float) -> None:
        """Offer what nobody answered a probe for; forget clients that did not ask again."""
        for address, x in self._probing.expired(now):
            self._probe_passed(x, address, now)
        if not self._waiting_count:
            return
        for waiting in self._waiting.values():
            while waiting and (key := next(iter(waiting))) and waiting[key].until <= now:
                del waiting[key]
                self._waiting_count -= 1
