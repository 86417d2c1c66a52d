"""The DHCP server's decisions (RFC 2131 4.3): what a client is offered, acknowledged or refused.

Where this server differs from a lone one, the mesh is the reason: every node carries the same server identifier, so a
request may be about an address of any node's block, and only that block's owner may refuse it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from ..dhcp import DecodeError, Message, build_reply, delivery, identity, parse_request
from ..dhcp import constants as c
from ..swarm import Surrender
from .claims import Claims
from .config import NodeConfig
from .context import Context
from .effects import ProlongLease, RunHook, SaveLease, SendDhcp
from .events import ClientLink, DhcpReceived
from .forwarding import SHORTEST_GRANT_S, Forwarding
from .leases import ACTIVE, TAKEN, Lease, LeaseState, LeaseTable
from .lookup import Lookup
from .peers import Peers
from .pool import dotted
from .replicas import Replicas
from .surrender import Surrenders

OFFER_LIFETIME_S = 12.0  # an offer nobody took up is free again after this, as in classic nodes
WAIT_LIFETIME_S = 30.0  # how long a DISCOVER that could not be answered is remembered; a live client repeats it sooner
MAX_WAITING = 4096  # clients remembered while no address is free
DECLINE_PROBATION_S = 600.0  # how long a declined address is not used (DHCP-SERVER F4)
SHORTEST_LEASE_S = 60  # a client may ask for less than the configured time, but not for less than this (C9)
TIMER_JITTER = 0.05  # T1 and T2 are spread by up to this share of the lease, so that clients do not renew in step (C8)


@dataclass(slots=True)
class _Waiting:
    request: Message
    link: str
    until: float


def mac_text(chaddr: bytes) -> str:
    """The first six bytes of a chaddr as classic hooks want them: upper-case hexadecimal with colons."""
    return chaddr[:6].hex(":").upper()


class Server:
    """DHCP on the client links of one node."""

    def __init__(self, context: Context, leases: LeaseTable, peers: Peers) -> None:
        self._context = context
        self._leases = leases
        self._links: dict[str, ClientLink] = {}
        self._link_options: dict[str, dict[int, bytes]] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self.options: dict[int, bytes] = dict(context.config.options)
        self.claims = Claims(
            context, leases, peers, waiting=self.waiting_count, on_supply=self.serve_waiting, on_lost=self._on_lost
        )
        self.replicas = Replicas(context, self.claims)
        self.forwarding = Forwarding(
            context, self.claims, leases, peers, self.replicas, grant=self._ack, refuse=self._nak_forwarded,
            bind=self.bind, released=self.release,
        )  # fmt: skip
        redirect = self.forwarding.redirect
        self.lookup = Lookup(context, self.claims, leases, peers, self.replicas, self._on_looked_up, redirect)
        self.surrenders = Surrenders(
            context, self.claims, leases, peers, released=self.release, declined=self.decline, redirect=redirect
        )

    # --- links and options ----------------------------------------------------------------------

    def link_up(self, link: ClientLink) -> None:
        """Serve on a client link, or take its changed address into account."""
        self._links[link.name] = link
        self._refresh_options()

    def link_down(self, name: str) -> None:
        """Serve no more on a client link."""
        self._links.pop(name, None)
        self._link_options.pop(name, None)

    def set_option(self, code: int, value: bytes) -> None:
        """Give clients option ``code`` from now on; option 51 changes the lease time (in seconds, 4 bytes)."""
        if code == c.OPT_LEASE_TIME:
            if len(value) == 4 and any(value):
                self._context.lease_time_s = int.from_bytes(value, "big")
                self._context.cover_lease(self._context.lease_time_s)
            return
        self.options[code] = value
        self._refresh_options()

    def remove_option(self, code: int) -> None:
        """Give option ``code`` no more."""
        self.options.pop(code, None)
        self._refresh_options()

    def reconfigure(self, before: NodeConfig, config: NodeConfig) -> None:
        """Take a changed configuration."""
        if config.options != before.options:
            self.options = dict(config.options)
            self._refresh_options()

    def effective_options(self, name: str | None = None) -> dict[int, bytes]:
        """The options a client gets on a link (the first one by default), with those the node derives itself."""
        pool = self._context.pool
        link = self._links.get(name) if name is not None else next(iter(self._links.values()), None)
        mask, broadcast = pool.netmask, pool.broadcast
        derived: dict[int, bytes] = {}
        if link is not None:
            network = 0xFFFFFFFF << (32 - link.prefix_len) & 0xFFFFFFFF
            if link.prefix_len <= pool.prefix_len and pool.prefix & network == link.address & network:
                mask, broadcast = network, link.address & network | ~network & 0xFFFFFFFF
            derived[c.OPT_SERVER_ID] = link.address.to_bytes(4, "big")
        derived[c.OPT_SUBNET_MASK] = mask.to_bytes(4, "big")
        derived[c.OPT_BROADCAST] = broadcast.to_bytes(4, "big")
        return derived | self.options

    def _refresh_options(self) -> None:
        pool = self._context.pool
        reserved = {pool.prefix, pool.broadcast}
        for name, link in self._links.items():
            options = self._link_options[name] = self.effective_options(name)
            reserved.add(link.address)
            reserved.add(int.from_bytes(options[c.OPT_BROADCAST], "big"))
        for code in (c.OPT_ROUTER, c.OPT_SERVER_ID):
            value = self.options.get(code, b"")
            reserved.update(int.from_bytes(value[i : i + 4], "big") for i in range(0, len(value) - 3, 4))
        for address in reserved:
            if address in pool:
                self._leases.reserve(address)

    def _server_id(self, link: str) -> int:
        return int.from_bytes(self._link_options[link][c.OPT_SERVER_ID], "big")

    def _names_us(self, server_id: int, link: str) -> bool:
        return server_id == self._server_id(link) or any(server_id == other.address for other in self._links.values())

    # --- requests -------------------------------------------------------------------------------

    def receive(self, event: DhcpReceived, now: float) -> None:
        """A datagram from a client link."""
        context = self._context
        context.counters["dhcp.recv_pkg"] += 1
        context.counters["dhcp.recv_byte"] += len(event.data)
        link = self._links.get(event.link)
        if link is None:
            context.count("dhcp.drop.no-such-link")
            return
        try:
            request = parse_request(event.data)
        except DecodeError as error:
            context.count(f"dhcp.drop.{error.reason}")
            return
        if request.giaddr:
            context.count("dhcp.drop.relayed")
            return
        kind = request.message_type
        if kind == c.DISCOVER:
            context.counters["dhcp.recv_discover"] += 1
            self._on_discover(request, event.link, now)
        elif kind == c.REQUEST:
            context.counters["dhcp.recv_request"] += 1
            self._on_request(request, event.link, event.destination, now)
        elif kind == c.RELEASE:
            context.counters["dhcp.recv_release"] += 1
            self._on_release(request, event.link, now)
        elif kind == c.DECLINE:
            context.count("dhcp.recv_decline")
            self._on_decline(request, event.link, now)
        else:
            context.count("dhcp.recv_inform")
            self._on_inform(request, event.link, event.source)

    def _on_discover(self, request: Message, link: str, now: float) -> None:
        """Choose an address (RFC 2131 4.3.1): the current binding, the previous one, the one asked for, any."""
        if self._context.stopping:
            return
        key = identity(request)
        lease = self._leases.of(key, request.chaddr)
        has_one_here = lease is not None and lease.state in ACTIVE
        if not has_one_here and self.lookup.ask(request, link, key, now):
            return
        self._offer_own(request, link, key, now)

    def _on_looked_up(self, request: Message, link: str, key: bytes, address: int | None, now: float) -> None:
        """The owner of the address that a client asked for has spoken, or has not."""
        if link not in self._links or self._context.stopping:
            return
        if address is None:
            self._offer_own(request, link, key, now)
            return
        self._context.counters["dhcp.send_offer"] += 1
        self._reply(request, c.OFFER, link, address, self._wanted_lease_s(request))

    def _offer_own(self, request: Message, link: str, key: bytes, now: float) -> None:
        address = self._choose(request, key, now)
        if address is None:
            self._wait(key, request, link, now)
            return
        self._waiting.pop(key, None)
        self._offer(request, key, link, address, now)

    def _choose(self, request: Message, key: bytes, now: float) -> int | None:
        leases = self._leases
        lease = leases.of(key, request.chaddr)
        if lease is not None:
            if lease.state in ACTIVE:
                if self._can_lease(lease.address, now):
                    return lease.address
                return None  # the binding is kept while the block is fenced: better wait than hand out a second address
            if lease.state is not LeaseState.DECLINED and self._is_grantable(lease.address, now):
                return lease.address
        wanted = request.requested_address
        if wanted is not None and self._is_grantable(wanted, now):
            return wanted
        address = leases.pick_free()
        return address if address is not None and self._can_lease(address, now) else None

    def _can_lease(self, address: int, now: float) -> bool:
        """Whether a REQUEST for ``address``, which is ours, would be granted: what could not is not offered either."""
        shortest_s = min(self._context.lease_time_s, SHORTEST_GRANT_S)
        return self.claims.may_promise(self._context.pool.index_of(address), shortest_s, now)

    def _is_grantable(self, address: int, now: float) -> bool:
        return self._leases.is_free(address) and self._can_lease(address, now)

    def _offer(self, request: Message, key: bytes, link: str, address: int, now: float) -> None:
        lease = self._leases.at(address)
        if lease is None or lease.state not in ACTIVE:
            self._leases.bind(address, key, request.chaddr, LeaseState.OFFERED, now + OFFER_LIFETIME_S)
        elif lease.state is LeaseState.OFFERED:
            lease.expires_at = now + OFFER_LIFETIME_S
        self._context.counters["dhcp.send_offer"] += 1
        self._reply(request, c.OFFER, link, address, self._wanted_lease_s(request))
        self.claims.ensure_supply(now)

    def _wait(self, key: bytes, request: Message, link: str, now: float) -> None:
        """No address yet: remember the client, so that it is offered one as soon as there is one."""
        self._context.count("dhcp.no_address")
        if key not in self._waiting and len(self._waiting) >= MAX_WAITING:
            self._context.count("dhcp.drop.too-many-waiting")
            return
        self._waiting.pop(key, None)
        self._waiting[key] = _Waiting(request, link, now + WAIT_LIFETIME_S)
        self.claims.ensure_supply(now)

    def waiting_count(self) -> int:
        """How many clients wait for an address."""
        return len(self._waiting)

    def serve_waiting(self, now: float) -> None:
        """Addresses became free: offer them to those who wait, in the order they came."""
        for key, waiting in list(self._waiting.items()):
            if waiting.until <= now or waiting.link not in self._links:
                del self._waiting[key]
                continue
            address = self._choose(waiting.request, key, now)
            if address is None:
                return
            del self._waiting[key]
            self._offer(waiting.request, key, waiting.link, address, now)

    def _on_request(self, request: Message, link: str, destination: int, now: float) -> None:
        """RFC 2131 4.3.2. The client's state follows from the packet alone."""
        server_id, wanted = request.server_identifier, request.requested_address
        is_selecting = server_id is not None
        is_unicast = destination != c.BROADCAST_ADDRESS
        if server_id is not None:
            if not self._names_us(server_id, link):
                self._withdraw_offer(request)
                self._context.count("dhcp.other_server_chosen")
                return
            if wanted is None:
                wanted = request.ciaddr
            request.ciaddr = 0  # SELECTING must leave it empty; some clients do not (D13)
        elif wanted is None:
            wanted = request.ciaddr
        if not wanted:
            self._on_request_without_address(request, link, now)
            return
        self._decide(request, link, wanted, is_selecting=is_selecting, is_unicast=is_unicast, now=now)

    def _on_request_without_address(self, request: Message, link: str, now: float) -> None:
        """A REQUEST that names no address (D11): a client with a lease gets it confirmed, any other no answer."""
        lease = self._leases.of(identity(request), request.chaddr)
        if lease is None or lease.state not in ACTIVE:
            self._context.count("dhcp.drop.request-without-address")
            return
        self._grant(request, link, lease.address, now)

    def _decide(
        self, request: Message, link: str, address: int, *, is_selecting: bool, is_unicast: bool, now: float
    ) -> None:
        pool = self._context.pool
        if address not in pool:
            is_foreign_network = not self._is_on_link(address, link)
            if is_selecting or is_foreign_network or (is_unicast and request.ciaddr):
                self._nak(request, link, b"address not in this network")
            else:
                self._context.count("dhcp.unknown_address")
            return
        index = pool.index_of(address)
        if self.claims.is_serving(index, now):
            self._decide_own(request, link, address, now)
            return
        owner = self.claims.owner_address(index)
        if owner is not None:
            lease_s = self._wanted_lease_s(request)
            self.forwarding.ask(request, link, address, lease_s, owner, now)
            return
        if not is_selecting and self.claims.adopt_for_client(
            index, now, lambda at: self._decide_adopted(request, link, address, at)
        ):
            return
        if is_selecting and not self.claims.is_learning and not self._leases.has_block(index):
            self._nak(request, link, b"address no longer available")
            return
        self._context.count("dhcp.unknown_owner")  # silence: whoever owns it may answer, else the client starts over

    def _decide_adopted(self, request: Message, link: str, address: int, now: float) -> None:
        """The block of an address that a client wants to renew has become ours, because its owner fell silent."""
        if link in self._links and self.claims.is_serving(self._context.pool.index_of(address), now):
            self._decide_own(request, link, address, now)

    def _decide_own(self, request: Message, link: str, address: int, now: float) -> None:
        key = identity(request)
        holder = self._leases.at(address)
        if holder is not None and holder.state in TAKEN:
            if holder.state is LeaseState.DECLINED or not self._leases.belongs(holder, key, request.chaddr):
                self._nak(request, link, b"address in use")
                return
        else:
            has_another = self._leases.holds_another(address, key, request.chaddr)
            is_renewing = request.server_identifier is None
            if has_another or not (
                self._leases.is_free(address) or (is_renewing and self.claims.is_renewable(address))
            ):
                self._nak(request, link, b"address not available")
                return
        self._grant(request, link, address, now)

    def _is_on_link(self, address: int, link: str) -> bool:
        interface = self._links[link]
        return address >> (32 - interface.prefix_len) == interface.address >> (32 - interface.prefix_len)

    def _grant(self, request: Message, link: str, address: int, now: float) -> None:
        granted_s = self.bind(
            address, identity(request), request.chaddr, self._wanted_lease_s(request), now, request.hostname
        )
        if granted_s > 0:
            self._ack(request, link, address, granted_s, now)

    def bind(self, address: int, key: bytes, chaddr: bytes, lease_s: int, now: float, hostname: bytes = b"") -> int:
        """Lease an address of ours that is free or the client's own. Returns the seconds granted, 0 if none may be."""
        leases = self._leases
        previous = leases.of(key, chaddr)
        if previous is not None and previous.address != address and previous.state is LeaseState.OFFERED:
            leases.forget(previous)  # one client, one address
        holder = leases.at(address)
        if holder is not None and holder.state in ACTIVE and holder.identity[:1] == b"\0" and key[:1] != b"\0":
            key = holder.identity  # it sent its client identifier before and leaves it out now (Q10)
        was_leased = holder is not None and holder.state is LeaseState.LEASED
        previous_end = holder.expires_at if holder is not None else now
        lease = leases.bind(address, key, chaddr, LeaseState.LEASED, now + lease_s, hostname)
        granted_s = self.claims.promise(self._context.pool.index_of(address), lease_s, now)
        if granted_s < min(lease_s, SHORTEST_GRANT_S):  # the link is down and what was promised runs out
            self._context.count("dhcp.unpromised")
            if was_leased:
                lease.expires_at = previous_end
            else:
                leases.forget(lease)
            return 0
        lease.expires_at = now + granted_s
        if lease.is_covered(granted_s):
            self._context.effects.append(ProlongLease(address))
        else:
            row = lease.cover(granted_s, self._context.config.renewal_slack_s)
            self._context.effects.append(SaveLease(row))
        return granted_s

    def _save(self, lease: Lease) -> None:
        """The lease was ended by its client: what the store says about prolonging it is void."""
        lease.granted_s, lease.held_until = 0, 0.0
        self._context.effects.append(SaveLease(lease.stored()))

    def _ack(self, request: Message, link: str, address: int, lease_s: int, now: float) -> None:
        if link not in self._links:
            return
        context = self._context
        context.counters["dhcp.send_ack"] += 1
        self._reply(request, c.ACK, link, address, lease_s, durable=True)
        mac = mac_text(request.chaddr)
        context.effects.append(RunHook(("lease", dotted(address), mac)))
        context.log(logging.INFO, "lease-granted", address=dotted(address), mac=mac, seconds=lease_s, link=link)
        self.claims.ensure_supply(now)

    def _nak_forwarded(self, request: Message, link: str, now: float) -> None:
        if link in self._links:
            self._nak(request, link, b"refused by the owner of the address")

    def _nak(self, request: Message, link: str, text: bytes) -> None:
        context = self._context
        context.counters["dhcp.send_nak"] += 1
        context.log(logging.INFO, "lease-refused", mac=mac_text(request.chaddr), reason=text.decode(), link=link)
        server_id = self._server_id(link)
        payload = build_reply(request, c.NAK, server_identifier=server_id, text=text, mtu=self._links[link].mtu)
        self._send(request, c.NAK, link, payload, 0)

    def _withdraw_offer(self, request: Message) -> None:
        """The client chose another server: our offer to it is free again (D2)."""
        lease = self._leases.of(identity(request), request.chaddr)
        if lease is not None and lease.state is LeaseState.OFFERED:
            self._leases.forget(lease)

    def _on_release(self, request: Message, link: str, now: float) -> None:
        """RFC 2131 4.3.4; no answer. At the owner when that is another node."""
        address, server_id = request.ciaddr, request.server_identifier
        if address not in self._context.pool or (server_id is not None and not self._names_us(server_id, link)):
            self._context.count("dhcp.drop.release-of-no-lease")
            return
        index = self._context.pool.index_of(address)
        owner = self.claims.owner_address(index)
        if owner is not None:
            if not self.surrenders.tell(Surrender(address, request.xid, request.chaddr, identity(request)), owner, now):
                self.forwarding.tell_released(request, address, owner)
            return
        lease = self._leases.at(address)
        if (
            lease is None
            or lease.state is not LeaseState.LEASED
            or not self._leases.belongs(lease, identity(request), request.chaddr)
        ):
            self._context.count("dhcp.drop.release-of-no-lease")
            return
        self.release(address, now)

    def release(self, address: int, now: float) -> None:
        """End the lease of ``address`` (which must be leased here); its client is remembered."""
        lease = self._leases.at(address)
        if lease is not None:
            self._end(lease, LeaseState.RELEASED)
            lease.expires_at = now
            self._save(lease)
            self.serve_waiting(now)

    def _end(self, lease: Lease, state: LeaseState) -> None:
        self._leases.end(lease, state)
        address, mac = dotted(lease.address), mac_text(lease.chaddr)
        self._context.effects.append(RunHook(("release", address, mac)))
        self._context.log(logging.INFO, f"lease-{state.value}", address=address, mac=mac)

    def _on_decline(self, request: Message, link: str, now: float) -> None:
        """RFC 2131 4.3.3: the client found its address in use. Believed only from who holds it (F3)."""
        address, server_id = request.requested_address, request.server_identifier
        if server_id is not None and not self._names_us(server_id, link):
            self._context.count("dhcp.drop.decline-of-no-lease")
            return
        if address is not None and address in self._context.pool:
            owner = self.claims.owner_address(self._context.pool.index_of(address))
            if owner is not None:
                declined = Surrender(address, request.xid, request.chaddr, identity(request), is_declined=True)
                self.surrenders.tell(declined, owner, now)
                return
        lease = self._leases.at(address) if address is not None else None
        if (
            lease is None
            or lease.state not in ACTIVE
            or not self._leases.belongs(lease, identity(request), request.chaddr)
        ):
            self._context.count("dhcp.drop.decline-of-no-lease")
            return
        self.decline(lease.address, now)

    def decline(self, address: int, now: float) -> None:
        """Its client found ``address`` (offered or leased here) in use: nobody gets it for a while."""
        lease = self._leases.at(address)
        if lease is None:
            return
        self._leases.bind(address, lease.identity, lease.chaddr, LeaseState.DECLINED, now + DECLINE_PROBATION_S)
        self._save(lease)
        self._context.log(
            logging.WARNING, "address-declined", address=dotted(address), mac=mac_text(lease.chaddr),
            seconds=int(DECLINE_PROBATION_S),
        )  # fmt: skip
        self.claims.ensure_supply(now)

    def _on_inform(self, request: Message, link: str, source: int) -> None:
        """RFC 2131 4.3.5: parameters only; no lease is looked at, nothing is refused."""
        context = self._context
        address = request.ciaddr or source
        if not address or not self._is_on_link(address, link):
            context.count("dhcp.drop.inform-from-elsewhere")
            return
        context.counters["dhcp.send_ack"] += 1
        self._reply(request, c.ACK, link, 0, None, source=source)
        context.effects.append(RunHook(("inform", dotted(address), mac_text(request.chaddr))))

    def _wanted_lease_s(self, request: Message) -> int:
        """The lease time to offer: what is configured, or the shorter one the client asks for (C9)."""
        wanted = request.lease_time_s
        if wanted is None:
            return self._context.lease_time_s
        return max(min(SHORTEST_LEASE_S, self._context.lease_time_s), min(wanted, self._context.lease_time_s))

    def _reply(
        self,
        request: Message,
        kind: int,
        link: str,
        address: int,
        lease_s: int | None,
        *,
        source: int = 0,
        durable: bool = False,
    ) -> None:
        t1_s = t2_s = 0
        if lease_s is not None:
            jitter = self._context.rng.random() * TIMER_JITTER * lease_s
            t1_s, t2_s = int(lease_s * 0.5 - jitter), int(lease_s * 0.875 - jitter)
        payload = build_reply(
            request, kind, server_identifier=self._server_id(link), your_address=address, lease_time_s=lease_s,
            t1_s=t1_s, t2_s=t2_s, options=self._link_options[link], mtu=self._links[link].mtu,
        )  # fmt: skip
        self._send(request, kind, link, payload, address, source=source, durable=durable)

    def _send(
        self,
        request: Message,
        kind: int,
        link: str,
        payload: bytes,
        address: int,
        *,
        source: int = 0,
        durable: bool = False,
    ) -> None:
        to = delivery(request, kind, address, source)
        counters = self._context.counters
        counters["dhcp.send_pkg"] += 1
        counters["dhcp.send_byte"] += len(payload)
        # Replies leave from the link's own address (E8), whatever option 54 is configured to say.
        source_address = self._links[link].address
        binding = address if durable else None
        self._context.effects.append(
            SendDhcp(link, payload, source_address, to.address, to.port, to.mac, durable, binding)
        )

    # --- time -----------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        expiry = self._leases.next_expiry_at()
        at = math.inf if expiry is None else expiry
        first = next(iter(self._waiting.values()), None)
        return at if first is None else min(at, first.until)

    def run(self, now: float) -> None:
        """End what has run out."""
        ended = False
        while (lease := self._leases.pop_expired(now)) is not None:
            ended = True
            if lease.state is LeaseState.LEASED:
                self._end(lease, LeaseState.EXPIRED)
            else:
                self._leases.forget(lease)
        if ended:
            self.serve_waiting(now)
        while self._waiting:  # forget those that did not ask again
            key, waiting = next(iter(self._waiting.items()))
            if waiting.until > now:
                return
            del self._waiting[key]

    def _on_lost(self, index: int, leases: list[Lease]) -> None:
        """A block went to another node; its clients renew there by way of RENEWLEASE."""
        active = sum(lease.state is LeaseState.LEASED for lease in leases)
        if active:
            level = logging.INFO if self._context.stopping else logging.WARNING
            self._context.log(level, "leases-moved", block=index, leases=active)
