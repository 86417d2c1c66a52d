"""The DHCP server's decisions (RFC 2131 4.3): what a client is acknowledged or refused, and who else is told.

Where this server differs from a lone one, the mesh is the reason: every node carries the same server identifier, so a
request may be about an address of any node's block, and only that block's owner may refuse it.

DISCOVER is answered in ``offers.py``; bindings end in ``endings.py``; what a client gets follows from ``terms.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..dhcp import DecodeError, Message, identity, parse_request
from ..dhcp import constants as c
from .addresses import AddressPlan
from .claims import Claims
from .config import NodeConfig
from .context import Context
from .decisions import Decisions
from .effects import Log, ProlongLease, RunHook, SaveLease
from .endings import Endings
from .events import STALE_AFTER_S, AddressProbed, ClientLink, DhcpReceived
from .familiar import Familiar, Familiars
from .forwarding import Forwarding
from .leasequery import LeaseQueries
from .leases import (
    ACTIVE,
    DECLINED,
    ITS_CLIENTS,
    KEPT,
    LEASED,
    OFFERED,
    SHORTEST_GRANT_S,
    TAKEN,
    Lease,
    LeaseTable,
)
from .limits import RateLimiter
from .lookup import Lookup
from .offers import Offers
from .peers import Peers
from .policy import LONGEST_GRANT_S
from .pool import dotted
from .replicas import Replicas
from .replies import Exchange, Replies, mac_text, relayed
from .surrender import Surrenders
from .terms import Terms, TermsBook

_INFO: Final = logging.INFO
_CHADDR_AT: Final = 28  # in a message, where a client's hardware address would be
FOREIGN_SERVER_LOG_S: Final = 60.0  # how often the answers of another DHCP server are reported


class Server:
    """DHCP on the client links of one node."""

    def __init__(self, context: Context, leases: LeaseTable, peers: Peers) -> None:
        self._context = context
        self._leases = leases
        self._configure()
        self._subnets_here: tuple[int, ...] = ()
        self._foreign_rate = RateLimiter(1 / FOREIGN_SERVER_LOG_S, 1)
        self.decisions = Decisions()
        self.book = TermsBook(context, leases)
        self._replies = Replies(context, self.decisions)
        self._endings = Endings(context, leases, self.book, self._replies, self.decisions)
        self._offers = Offers(
            context, leases, self._replies, self.decisions,
            commit=self._commit, refresh=self._refresh, take_out=self._endings.take_out,
        )  # fmt: skip
        self.claims = Claims(
            context, leases, peers, waiting=self._waiting_at_home, on_supply=self._offers.serve_waiting,
            on_lost=self._on_lost,
        )  # fmt: skip
        self.replicas = Replicas(context, self.claims)
        self.forwarding = Forwarding(
            context, self.claims, leases, peers, self.replicas, grant=self._ack_forwarded, refuse=self._nak_forwarded,
            bind=self.bind, released=self._on_released_elsewhere, decisions=self.decisions,
        )  # fmt: skip
        redirect = self.forwarding.redirect
        self.lookup = Lookup(context, self.claims, leases, peers, self.replicas, self._on_looked_up, redirect)
        self.surrenders = Surrenders(
            context, self.claims, leases, peers, released=self._on_released_elsewhere,
            declined=self._on_declined_elsewhere, redirect=redirect,
        )  # fmt: skip
        self._offers.claims, self._offers.lookup = self.claims, self.lookup
        self._endings.claims, self._endings.forwarding = self.claims, self.forwarding
        self._endings.surrenders, self._endings.replicas = self.surrenders, self.replicas
        self._queries = LeaseQueries(context, leases, self.claims)

    # --- links and options ----------------------------------------------------------------------

    def link_up(self, link: ClientLink) -> None:
        """Serve on a client link, or take its changed address into account."""
        self.book.link_up(link)
        self._on_links_changed()

    def link_down(self, name: str) -> None:
        """Serve no more on a client link."""
        self.book.link_down(name)
        self._on_links_changed()

    def _on_links_changed(self) -> None:
        self._reserve_own()
        plan, links = self._leases.plan, self.book.links.values()
        zones = {plan.zone_at(link.address) or 0 for link in links}
        self.claims.serves_home = plan.zone_count == 1 or 0 in zones
        self._subnets_here = tuple(sorted(zones - {0}))

    def ensure_supply(self, now: float) -> None:
        """Keep spare addresses of the subnets on this node's own links, as :class:`Claims` does of all others."""
        for zone in self._subnets_here:
            self._offers.ensure_supply(zone, now)

    def set_option(self, code: int, value: bytes) -> None:
        """Give clients option ``code`` from now on. Option 51 changes the lease time (in seconds, 4 bytes), 54 names
        the server (an address, 4 bytes): values of another size change nothing."""
        if code == c.OPT_LEASE_TIME:
            if len(value) == 4 and any(value):
                self._context.lease_time_s = min(int.from_bytes(value, "big"), LONGEST_GRANT_S)
                self._context.cover_lease(self._context.lease_time_s)
                self.book.refresh()
            return
        if code == c.OPT_SERVER_ID and len(value) != 4:
            return  # what is no address cannot name a server
        self.book.node_options[code] = value
        self.book.refresh()
        self._reserve_own()

    def remove_option(self, code: int) -> None:
        """Give option ``code`` no more."""
        self.book.node_options.pop(code, None)
        self.book.refresh()

    def reconfigure(self, before: NodeConfig, config: NodeConfig) -> None:
        """Take a changed configuration."""
        if config.options != before.options:
            self.book.node_options = dict(config.options)
        if config.policy != before.policy:
            self._leases.replan(AddressPlan(config.pool, config.policy))
            self._configure()
            self._offers.configure()
            self._endings.configure()
        if config.policy != before.policy or config.lease_time_s != before.lease_time_s:
            self.book.configure()
        self.book.refresh()
        self._on_links_changed()

    def _configure(self) -> None:
        self._policy = self._context.config.policy
        self._familiars = Familiars()
        limits = self._policy.limits
        self._nak_rate = RateLimiter(limits.nak_per_s, limits.nak_burst, limits.total_nak_per_s, limits.total_nak_burst)

    def effective_options(self) -> dict[int, bytes]:
        """The options a client gets on the first link, with those the node derives itself."""
        return self.book.options(next(iter(self.book.links.values()), None))

    def _reserve_own(self) -> None:
        """Addresses that are no client's: network, broadcast, server, router."""
        pool = self._context.pool
        reserved = {pool.prefix, pool.broadcast}
        for link in self.book.links.values():
            options = self.book.options(link)
            reserved.add(link.address)
            reserved.add(int.from_bytes(options[c.OPT_BROADCAST], "big"))
        for code in (c.OPT_ROUTER, c.OPT_SERVER_ID):
            value = self.book.node_options.get(code, b"")
            reserved.update(int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value) - 3, 4))
        for address in reserved:
            if address in pool:
                self._leases.reserve(address)

    # --- requests -------------------------------------------------------------------------------

    def receive(self, event: DhcpReceived, now: float) -> None:
        """A datagram from a client link."""
        context = self._context
        tally = context.tally
        tally.received += 1
        tally.received_bytes += len(event.data)
        link = self.book.links.get(event.link)
        if link is None:
            context.count("dhcp.drop.no-such-link")
            return
        familiar = self._familiars.find(event.data)
        if familiar is not None:
            x = self._admit(familiar.again(event.data), familiar.key, link, event, now)
            if x is not None:
                tally.requests += 1
                x.familiar = familiar
                self._on_request(x, now)
            return
        try:
            request = parse_request(event.data, leasequery=bool(self._policy.leasequery_sources))
        except DecodeError as error:
            self._on_unreadable(event, error.reason, now)
            return
        kind = request.message_type
        if kind == c.LEASEQUERY:
            self._queries.answer(request, link, now)
            return
        key = identity(request, ignore_client_id=self._policy.ignore_client_id)
        x = self._admit(request, key, link, event, now)
        if x is None:
            return
        if kind == c.DISCOVER:
            tally.discovers += 1
            self._offers.discover(x, now)
        elif kind == c.REQUEST:
            tally.requests += 1
            self._on_unfamiliar_request(x, event.data, now)
        elif event.waited_s > STALE_AFTER_S and kind in (c.RELEASE, c.DECLINE):
            # While this node stood still its client may have had the address prolonged elsewhere.
            self._replies.ignore(request, link.name, "stale", now)
        elif kind == c.RELEASE:
            context.counters["dhcp.recv_release"] += 1
            if self._endings.on_release(x, event.waited_s, now):
                self._offers.serve_waiting(now)
        elif kind == c.DECLINE:
            context.count("dhcp.recv_decline")
            self._endings.on_decline(x, now)
            self._offers.ensure_supply(x.terms.zone, now)
        else:
            context.count("dhcp.recv_inform")
            self._on_inform(x, now)

    def _on_unreadable(self, event: DhcpReceived, reason: str, now: float) -> None:
        """No client's message. The answers of another server are reported: it may be one nobody knows of (I28)."""
        self._context.count(f"dhcp.drop.{reason}")
        self._context.log(
            logging.DEBUG, "datagram-dropped", reason=reason, source=dotted(event.source), link=event.link,
            mac=mac_text(event.data[_CHADDR_AT:]) or "-", bytes=len(event.data),
        )  # fmt: skip
        is_own = any(event.source == link.address for link in self.book.links.values())
        if reason == "reply" and not is_own and self._foreign_rate.allows(event.link.encode(), now):
            self._context.log(logging.WARNING, "foreign-dhcp-server", address=dotted(event.source), link=event.link)

    def _admit(
        self, request: Message, key: bytes, link: ClientLink, event: DhcpReceived, now: float
    ) -> Exchange | None:
        """Who is not served, and why (I27, W11)."""
        reason = ""
        terms: Terms | None = None
        if request.giaddr and any(request.giaddr == own.address for own in self.book.links.values()):
            reason = "own-giaddr"
        elif request.giaddr and not self.book.accepts_relay(request.giaddr):
            reason = "relay-not-allowed"
        elif self.book.is_denied(request):
            reason = "denied"
        else:
            terms = self.book.of(request, link)
            reason = terms.denied if terms is not None else "no-subnet"
        if terms is None or reason:
            self._replies.ignore(request, link.name, reason, now)
            return None
        return Exchange(request, terms, key, event.source, event.destination != c.BROADCAST_ADDRESS)

    def _refresh(self, x: Exchange) -> Exchange | None:
        """The exchange with what holds for its client now, None if its link is gone."""
        link = self.book.links.get(x.link)
        terms = self.book.of(x.request, link) if link is not None else None
        if terms is None:
            return None
        return x if terms is x.terms else Exchange(x.request, terms, x.key, x.source, x.is_unicast)

    def _exchange(self, request: Message, link_name: str) -> Exchange | None:
        """The exchange for a request that another node was asked about."""
        link = self.book.links.get(link_name)
        terms = self.book.of(request, link) if link is not None else None
        if terms is None:
            return None
        return Exchange(request, terms, identity(request, ignore_client_id=self._policy.ignore_client_id))

    def _on_looked_up(self, request: Message, link: str, key: bytes, address: int | None, now: float) -> None:
        x = self._exchange(request, link)
        if x is not None:
            self._offers.looked_up(x, address, now)

    def _on_unfamiliar_request(self, x: Exchange, data: bytes, now: float) -> None:
        """A REQUEST unlike those that are remembered. If it renews a lease, ``data`` will come again."""
        if x.request.ciaddr and x.request.server_identifier is None:
            x.familiar = Familiar(x.request, x.key)
        self._on_request(x, now)
        if x.familiar is not None and x.familiar.answer is not None:
            self._familiars.remember(data, x.familiar)

    def _on_request(self, x: Exchange, now: float) -> None:
        """RFC 2131 4.3.2. The client's state follows from the packet alone."""
        request = x.request
        server_id, wanted = request.server_identifier, request.requested_address
        is_selecting = server_id is not None
        if is_selecting:
            if self.book.names_another(request, x.terms):
                self._withdraw_offer(x)
                self._context.count("dhcp.other_server_chosen")
                self.decisions.note(x.chaddr, now, "REQUEST", "ignored", "other-server-chosen", wanted or 0)
                return
            if wanted is None:
                wanted = request.ciaddr
            request.ciaddr = 0  # SELECTING must leave it empty; some clients do not (D13)
        elif wanted is None:
            wanted = request.ciaddr
        if not wanted:
            self._on_request_without_address(x, now)
            return
        self._decide(x, wanted, is_selecting=is_selecting, now=now)

    def _on_request_without_address(self, x: Exchange, now: float) -> None:
        """A REQUEST that names no address (D11): a client with a lease gets it confirmed, any other no answer."""
        lease = self._leases.of(x.key, x.chaddr)
        if lease is None or lease.state not in ACTIVE:
            self._replies.ignore(x.request, x.link, "request-without-address", now)
            return
        self._decide(x, lease.address, is_selecting=False, now=now)

    def _decide(self, x: Exchange, address: int, *, is_selecting: bool, now: float) -> None:
        plan = self._leases.plan
        zone = plan.zone_at(address)
        if zone != x.terms.zone:
            self._decide_elsewhere(x, address, is_selecting=is_selecting, now=now)
            return
        reservation = plan.reservation(address)
        if reservation is not None and reservation is not x.terms.reservation:
            self._nak(x, address, b"address reserved for another client", "reserved-for-another", now)
            return
        index = self._context.pool.index_of(address)
        if self.claims.is_serving(index, now):
            self._decide_own(x, address, is_selecting=is_selecting, now=now)
            return
        owner = self.claims.owner_address(index)
        if owner is not None:
            self.decisions.note(x.chaddr, now, "REQUEST", "asking", "other-node", address)
            lease_s = x.terms.lease_time_s(x.request.lease_time_s)
            self.forwarding.ask(x.request, x.link, address, lease_s, owner, now)
            return

        def decide(at: float) -> None:
            self._decide_adopted(x, address, is_selecting, at)

        if self.claims.adopt_for_client(index, x.key, now, decide):
            return
        if is_selecting and not self.claims.is_learning and not self._leases.has_block(index):
            self._nak(x, address, b"address no longer available", "no-owner", now)
            return
        lease_s = x.terms.lease_time_s(x.request.lease_time_s)
        if not is_selecting and self.forwarding.ask_around(x.request, x.link, address, lease_s, now):
            self.decisions.note(x.chaddr, now, "REQUEST", "asking", "other-node", address)
            return
        # Silence: whoever owns it may answer, else the client starts over.
        self._context.count("dhcp.unknown_owner")
        self.decisions.note(x.chaddr, now, "REQUEST", "ignored", "owner-unknown", address)

    def _decide_elsewhere(self, x: Exchange, address: int, *, is_selecting: bool, now: float) -> None:
        """The address is not one of the client's subnet (D5, D8)."""
        is_foreign_network = address not in x.terms.network or address in self._context.pool
        is_renewing_here = x.is_unicast and x.request.ciaddr
        if is_selecting or is_renewing_here or (is_foreign_network and self._policy.authoritative):
            self._nak(x, address, b"address not in this network", "wrong-network", now)
            return
        self._context.count("dhcp.unknown_address")
        self.decisions.note(x.chaddr, now, "REQUEST", "ignored", "not-ours", address)

    def _decide_adopted(self, x: Exchange, address: int, is_selecting: bool, now: float) -> None:
        """The block of an address that a client asks for has become ours, because its owner fell silent."""
        current = self._refresh(x)
        if current is not None and self.claims.is_serving(self._context.pool.index_of(address), now):
            self._decide_own(current, address, is_selecting=is_selecting, now=now)

    def _decide_own(self, x: Exchange, address: int, *, is_selecting: bool, now: float) -> None:
        holder = self._leases.at(address)
        if holder is not None and holder.state in TAKEN:
            is_declined = holder.state is DECLINED and (is_selecting or not self._context.has_stand_ins)
            if is_declined or not self._leases.belongs(holder, x.key, x.chaddr):
                self._nak(x, address, b"address in use", "in-use", now)
                return
        elif (is_selecting or not self.claims.is_renewable(address)) and (
            self._leases.holds_another(address, x.key, x.chaddr) or not self._offers.may_have(x, address)
        ):
            self._nak(x, address, b"address not available", "not-available", now)
            return
        elif not self._policy.authoritative and not is_selecting and not self._is_known(holder, x):
            self._decide_unknown(x, address, now)
            return
        if not x.request.ciaddr and self._has_better(x, address, now):
            self._nak(x, address, b"another address is reserved for you", "another-reserved", now)
            return
        self._grant(x, address, now)

    def _is_known(self, holder: Lease | None, x: Exchange) -> bool:
        return holder is not None and self._leases.belongs(holder, x.key, x.chaddr)

    def _decide_unknown(self, x: Exchange, address: int, now: float) -> None:
        """Nobody remembers this client, and other servers may be about (D7, D8)."""
        if x.is_unicast and x.request.ciaddr:
            self._nak(x, address, b"unknown lease", "unknown-lease", now)
            return
        self._context.count("dhcp.unknown_client")
        self.decisions.note(x.chaddr, now, "REQUEST", "ignored", "unknown-client", address)

    def _has_better(self, x: Exchange, address: int, now: float) -> bool:
        """Whether the client's reserved address is another one that it would certainly get if it started over (D10)."""
        reservation = x.terms.reservation
        if reservation is None or reservation.address is None or reservation.address == address:
            return False
        index = self._context.pool.index_of(reservation.address)
        return (
            self._leases.plan.zone_of(index) == x.terms.zone
            and self.claims.is_serving(index, now)
            and self._offers.may_have(x, reservation.address)
        )

    # --- granting and refusing ------------------------------------------------------------------

    def _grant(self, x: Exchange, address: int, now: float) -> None:
        lease_s = x.terms.lease_time_s(x.request.lease_time_s)
        hostname = x.request.hostname if x.familiar is None else x.familiar.hostname
        granted_s = self.bind(address, x.key, x.chaddr, lease_s, now, hostname)
        if granted_s > 0:
            self._ack(x, address, granted_s, now)
            self.forwarding.note_place(address, x.chaddr)
        else:
            self.decisions.note(x.chaddr, now, "REQUEST", "ignored", "not-promised", address)

    def _commit(self, x: Exchange, address: int, now: float) -> bool:
        """Lease at once what would be offered (RFC 4039)."""
        lease_s = x.terms.lease_time_s(x.request.lease_time_s)
        granted_s = self.bind(address, x.key, x.chaddr, lease_s, now, x.request.hostname)
        if granted_s > 0:
            self._ack(x, address, granted_s, now, is_rapid=True)
        return granted_s > 0

    def bind(self, address: int, key: bytes, chaddr: bytes, lease_s: int, now: float, hostname: bytes = b"") -> int:
        """Lease an address of ours that is free or the client's own. Returns the seconds granted, 0 if none may be."""
        leases = self._leases
        previous = leases.of(key, chaddr)
        if previous is not None and previous.address != address and previous.state is OFFERED:
            leases.forget(previous)  # one client, one address
        holder = leases.at(address)
        if holder is not None and holder.state in ITS_CLIENTS and holder.identity[:1] == b"\0" and key[:1] != b"\0":
            key = holder.identity  # it sent its client identifier before and leaves it out now (Q10)
        before = holder.state if holder is not None else None
        previous_end = holder.expires_at if holder is not None else now
        lease = leases.bind(address, key, chaddr, LEASED, now + lease_s, hostname)
        index = self._context.pool.index_of(address)
        granted_s = self.claims.promise(index, lease_s, now)
        if granted_s < min(lease_s, SHORTEST_GRANT_S):  # the link is down and what was promised runs out
            self._context.count("dhcp.unpromised")
            if before is LEASED:
                lease.expires_at = previous_end
            elif before is KEPT:
                leases.keep(lease, previous_end)
            else:
                leases.forget(lease)
            return 0
        lease.expires_at = now + granted_s
        if lease.is_covered(granted_s):
            self._context.effects.append(ProlongLease(address, self.claims.counts_on(index, granted_s, now)))
        else:
            self._context.effects.append(SaveLease(lease.cover(granted_s, self._context.config.renewal_slack_s)))
        return granted_s

    def _ack(self, x: Exchange, address: int, lease_s: int, now: float, *, is_rapid: bool = False) -> None:
        self._replies.ack(x, address, lease_s, now, is_rapid=is_rapid)
        familiar = x.familiar
        if familiar is None or familiar.find_answer(x.terms, address, lease_s) is None:
            self._context.effects.extend(_news(x, address, lease_s))
        else:
            if familiar.told is None:
                familiar.told = _news(x, address, lease_s)
            self._context.effects.extend(familiar.told)
        self._offers.ensure_supply(x.terms.zone, now)

    def _ack_forwarded(self, request: Message, link: str, address: int, lease_s: int, now: float) -> None:
        x = self._exchange(request, link)
        if x is not None:
            self._withdraw_offer(x)  # it chose another's, who has the address of this server
            self._ack(x, address, lease_s, now)

    def _nak_forwarded(self, request: Message, link: str, now: float) -> None:
        x = self._exchange(request, link)
        if x is not None:
            address = request.requested_address or request.ciaddr
            self._nak(x, address, b"refused by the owner of the address", "owner-refused", now)

    def _nak(self, x: Exchange, address: int, text: bytes, reason: str, now: float) -> None:
        if self._nak_rate.allows(x.chaddr, now):
            self._replies.nak(x, text, reason, address, now)
        else:
            self._replies.ignore(x.request, x.link, "nak-rate", now, address)

    def _withdraw_offer(self, x: Exchange) -> None:
        """The client chose another server: our offer to it is free again (D2)."""
        lease = self._leases.of(x.key, x.chaddr)
        if lease is not None and lease.state is OFFERED:
            self._leases.forget(lease)

    def release(self, address: int, now: float) -> None:
        """End the lease of ``address``, if it is leased here; its client is remembered."""
        if self._endings.release(address, now):
            self._offers.serve_waiting(now)

    def _on_released_elsewhere(self, address: int, now: float) -> None:
        """A client at another node, some time ago, gave ``address`` back."""
        if self._endings.release(address, now, is_hearsay=True):
            self._offers.serve_waiting(now)

    def settle(self, address: int, now: float) -> None:
        """A replica has heard how ``address`` stands: if its client gave it back and all know, it is free."""
        if self._endings.settle(address, now):
            self._offers.serve_waiting(now)

    def set_known_everywhere(self, is_known_everywhere: Callable[[int], bool]) -> None:
        """How to find out whether all replicas know how an address stands."""
        self._endings.is_known_everywhere = is_known_everywhere

    def _on_declined_elsewhere(self, address: int, now: float) -> None:
        """A client at another node, some time ago, found ``address``, offered or leased here to it, in use."""
        self._endings.decline(address, now, is_hearsay=True)
        self._offers.ensure_supply(self._leases.plan.zone_at(address) or 0, now)

    def _on_inform(self, x: Exchange, now: float) -> None:
        """RFC 2131 4.3.5: parameters only; no lease is looked at, nothing is refused."""
        address = x.request.ciaddr or x.source
        if not address or not (address in x.terms.network or self._is_on_link(address, x.terms.link)):
            self._replies.ignore(x.request, x.link, "inform-from-elsewhere", now, address)
            return
        self._replies.inform(x)
        self._context.effects.append(RunHook(("inform", dotted(address), mac_text(x.chaddr))))

    @staticmethod
    def _is_on_link(address: int, link: ClientLink) -> bool:
        return address >> (32 - link.prefix_len) == link.address >> (32 - link.prefix_len)

    # --- time -----------------------------------------------------------------------------------

    def serve_waiting(self, now: float) -> None:
        """Addresses became free: offer them to those who wait."""
        self._offers.serve_waiting(now)

    def waiting_count(self) -> int:
        """How many clients wait for an address."""
        return self._offers.waiting_count()

    def _waiting_at_home(self) -> int:
        return self._offers.waiting_in(0)

    def probed(self, event: AddressProbed, now: float) -> None:
        """What a probe found."""
        self._offers.probed(event, now)

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return min(self._offers.deadline(), self._endings.deadline())

    def run(self, now: float) -> None:
        """End what has run out."""
        if self._endings.run(now):
            self._offers.serve_waiting(now)
        self._offers.run(now)

    def _on_lost(self, index: int, leases: list[Lease]) -> None:
        """A block went to another node; its clients renew there by way of RENEWLEASE."""
        active = sum(lease.state is LEASED for lease in leases)
        if active:
            level = logging.INFO if self._context.stopping else logging.WARNING
            self._context.log(level, "leases-moved", block=index, leases=active)


def _news(x: Exchange, address: int, lease_s: int) -> tuple[RunHook, Log]:
    """What tells others that a lease was granted."""
    mac, text = mac_text(x.chaddr), dotted(address)
    fields: dict[str, object] = {"address": text, "mac": mac, "seconds": lease_s, "link": x.link}
    if x.request.giaddr:
        fields.update(relayed(x.request))
    return RunHook(("lease", text, mac)), Log(_INFO, "lease-granted", fields)
