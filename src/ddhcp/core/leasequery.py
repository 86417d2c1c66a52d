"""DHCPLEASEQUERY (RFC 4388): who has which address, for relays and others that are configured to ask."""

from __future__ import annotations

from ..dhcp import MIN_REPLY, Message, hardware_identity
from ..dhcp import constants as c
from .claims import Claims
from .context import Context
from .effects import SendDhcp
from .events import ClientLink
from .leases import Lease, LeaseState, LeaseTable

_CHADDR_SIZE = 16
_NO_CHADDR = bytes(_CHADDR_SIZE)


class LeaseQueries:
    """Answers for the blocks of this node. What other nodes know is "unknown" here, which sends the asker on to another
    server (RFC 4388 6.4.2)."""

    def __init__(self, context: Context, leases: LeaseTable, claims: Claims) -> None:
        self._context = context
        self._leases = leases
        self._claims = claims

    def answer(self, query: Message, link: ClientLink, now: float) -> None:
        """A query arrived. It is answered only to a configured source, at its giaddr (RFC 4388 6.4)."""
        context = self._context
        context.count("dhcp.recv_leasequery")
        sources = context.config.policy.leasequery_sources
        if not query.giaddr or not any(query.giaddr in source for source in sources):
            context.count("dhcp.drop.leasequery-source")
            return
        lease = self._leases.at(query.ciaddr) if query.ciaddr else self._of_client(query)
        if lease is not None and lease.state is LeaseState.LEASED and lease.expires_at > now:
            kind, reply = c.LEASEACTIVE, self._active(query, lease, now)
        else:
            is_ours = query.ciaddr in context.pool and self._claims.is_serving(context.pool.index_of(query.ciaddr), now)
            kind = c.LEASEUNASSIGNED if is_ours else c.LEASEUNKNOWN
            reply = Message(ciaddr=query.ciaddr, htype=query.htype, hlen=query.hlen, chaddr=query.chaddr)
            if query.client_id is not None:
                reply.options[c.OPT_CLIENT_ID] = query.client_id
        reply.op, reply.xid, reply.flags, reply.giaddr = c.BOOTREPLY, query.xid, query.flags, query.giaddr
        fixed = {c.OPT_MESSAGE_TYPE: bytes((kind,)), c.OPT_SERVER_ID: link.address.to_bytes(4, "big")}
        reply.options = fixed | reply.options
        if relay := query.options.get(c.OPT_RELAY_AGENT):
            reply.options[c.OPT_RELAY_AGENT] = relay
        payload = reply.encode(min_size=MIN_REPLY)
        context.effects.append(SendDhcp(link.name, payload, link.address, query.giaddr, c.SERVER_PORT, None))

    def _of_client(self, query: Message) -> Lease | None:
        """By client identifier or hardware address (RFC 4388 6.2)."""
        if query.client_id is not None:
            repeats = query.client_id[:1] == bytes((c.HTYPE_ETHERNET,)) and len(query.client_id) == 7
            key = hardware_identity(c.HTYPE_ETHERNET, query.client_id[1:]) if repeats else b"\0" + query.client_id
            return self._leases.of(key, _NO_CHADDR)
        if not any(query.hardware_address):
            return None
        key = hardware_identity(query.htype, query.hardware_address)
        return self._leases.of(key, query.hardware_address.ljust(_CHADDR_SIZE, b"\0"))

    def _active(self, query: Message, lease: Lease, now: float) -> Message:
        """Who has the address and for how long (RFC 4388 6.4.3); option 92 only where the asker did not name it."""
        reply = Message(ciaddr=lease.address, chaddr=lease.chaddr)
        if lease.identity[:1] != b"\0":
            reply.htype, reply.hlen = lease.identity[1], len(lease.identity) - 2
        else:
            reply.options[c.OPT_CLIENT_ID] = lease.identity[1:]
            if not any(lease.chaddr):
                reply.hlen = 0
        wanted = query.parameter_list
        remaining_s = max(0, int(lease.expires_at - now))
        times = ((c.OPT_LEASE_TIME, remaining_s), (c.OPT_T1, remaining_s // 2), (c.OPT_T2, remaining_s * 7 // 8))
        for code, seconds in times:
            if code in wanted:
                reply.options[code] = seconds.to_bytes(4, "big")
        if not query.ciaddr:
            reply.options[c.OPT_ASSOCIATED_ADDRESS] = lease.address.to_bytes(4, "big")
        return reply
