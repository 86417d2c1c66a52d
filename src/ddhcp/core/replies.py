"""From a decision about a client to the datagram that tells it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from ..dhcp import Message, build_reply, delivery, encode_fqdn_reply, format_option
from ..dhcp import constants as c
from ..values import dataclass
from .context import Context
from .decisions import Decisions
from .effects import SendDhcp
from .familiar import Familiar
from .policy import Broadcast
from .pool import dotted
from .terms import Terms

# T1 and T2 are spread by up to this share of the lease, so that clients do not renew in step (C8).
TIMER_JITTER: Final = 0.05
# The members by name, for what every reply passes (see leases.py).
_ALWAYS: Final = Broadcast.ALWAYS
_NEVER: Final = Broadcast.NEVER
# Options whose value depends on what this very client sent.
_ANSWERED: Final = (c.OPT_RAPID_COMMIT, c.OPT_FQDN, c.OPT_SUBNET_SELECTION)


@dataclass(slots=True, init=False)
class Exchange:
    """A client's message on its way to an answer. ``key``: the client's identity; ``source``: of the datagram;
    ``is_unicast``: whether it was sent to this server alone; ``familiar``: how it was answered before, or where to note
    how it is answered now, if it is one that may come again."""

    request: Message
    terms: Terms
    key: bytes
    source: int
    is_unicast: bool
    familiar: Familiar | None

    @property
    def link(self) -> str:
        """The name of the client link."""
        return self.terms.link.name

    @property
    def chaddr(self) -> bytes:
        """The client's hardware address field, 16 bytes."""
        return self.request.chaddr

    def __init__(self, request: Message, terms: Terms, key: bytes, source: int = 0, is_unicast: bool = False) -> None:
        self.request = request
        self.terms = terms
        self.key = key
        self.source = source
        self.is_unicast = is_unicast
        self.familiar = None


def mac_text(chaddr: bytes) -> str:
    """The first six bytes of a chaddr as classic hooks want them: upper-case hexadecimal with colons."""
    return chaddr[:6].hex(":").upper()


def server_id(request: Message, terms: Terms) -> int:
    """Option 54: what a relay wants there (RFC 5107), else the link's (DHCP-SERVER C3)."""
    if request.giaddr and c.OPT_RELAY_AGENT in request.options:
        return request.server_identifier_override or terms.server_id
    return terms.server_id


class Replies:
    """Builds OFFER, ACK and NAK and emits them; notes and logs what is not answered."""

    def __init__(self, context: Context, decisions: Decisions) -> None:
        self._context = context
        self._decisions = decisions
        self._random = context.rng.random

    def offer(self, x: Exchange, address: int, lease_s: int, now: float) -> None:
        """Offer an address; 0 tells a client that asked for it to do without IPv4 (RFC 8925)."""
        self._context.tally.offers += 1
        self._decisions.note(x.chaddr, now, "DISCOVER", "offered", "", address)
        self._lease(x, c.OFFER, address, lease_s)

    def ack(self, x: Exchange, address: int, lease_s: int, now: float, *, is_rapid: bool = False) -> None:
        """Acknowledge a lease, once it is on disk."""
        self._context.tally.acks += 1
        self._decisions.note(x.chaddr, now, "DISCOVER" if is_rapid else "REQUEST", "granted", "", address)
        self._lease(x, c.ACK, address, lease_s, is_rapid=is_rapid)

    def inform(self, x: Exchange) -> None:
        """Answer an INFORM: options, no lease."""
        self._context.tally.acks += 1
        payload = self._build(x, c.ACK, 0, None, 0, 0, is_rapid=False)
        self._send(x, c.ACK, payload, 0)

    def nak(self, x: Exchange, text: bytes, reason: str, address: int, now: float) -> None:
        """Refuse an address. ``text`` is for the client's log, ``reason`` for ours."""
        context = self._context
        context.counters["dhcp.send_nak"] += 1
        self._decisions.note(x.chaddr, now, "REQUEST", "refused", reason, address)
        context.log(
            logging.INFO, "lease-refused", mac=mac_text(x.chaddr), address=dotted_or_none(address), reason=reason,
            link=x.link, **relayed(x.request),
        )  # fmt: skip
        payload = build_reply(
            x.request, c.NAK, server_identifier=server_id(x.request, x.terms), text=text,
            echo_client_id=self._context.config.policy.echo_client_id, mtu=x.terms.link.mtu,
        )  # fmt: skip
        self._send(x, c.NAK, payload, 0)

    def ignore(self, request: Message, link: str, reason: str, now: float, address: int = 0) -> None:
        """Say nothing, and remember and log why."""
        context = self._context
        context.count(f"dhcp.drop.{reason}")
        message = c.MESSAGE_TYPE_NAMES[request.message_type]
        self._decisions.note(request.chaddr, now, message, "ignored", reason, address)
        context.log(
            logging.INFO, "client-ignored", mac=mac_text(request.chaddr), message=message, reason=reason, link=link,
            address=dotted_or_none(address), **relayed(request),
        )  # fmt: skip

    def _lease(self, x: Exchange, kind: int, address: int, lease_s: int, *, is_rapid: bool = False) -> None:
        jitter = self._random() * TIMER_JITTER * lease_s
        t1_s, t2_s = int(lease_s * 0.5 - jitter), int(lease_s * 0.875 - jitter)
        if not 0 < t1_s < t2_s:  # of a lease of a second or two: the client knows better
            t1_s = t2_s = 0
        familiar = x.familiar
        template = familiar.find_answer(x.terms, address, lease_s) if familiar is not None else None
        if template is not None and t1_s:
            payload = template.fill(x.request.xid, t1_s, t2_s)
        else:
            payload = self._build(x, kind, address, lease_s, t1_s, t2_s, is_rapid=is_rapid)
        self._send(x, kind, payload, address, durable=kind == c.ACK)

    def _build(
        self, x: Exchange, kind: int, address: int, lease_s: int | None, t1_s: int, t2_s: int, *, is_rapid: bool
    ) -> bytes:
        request, terms = x.request, x.terms
        sent = request.options
        # A client that ends its strings with NUL gets ours so (Q12).
        options = terms.options_with_nul if sent.get(c.OPT_HOSTNAME, b"").endswith(b"\0") else terms.options
        given: Mapping[int, bytes] = options
        forced: tuple[int, ...] = ()
        if c.OPT_FQDN in sent or c.OPT_SUBNET_SELECTION in sent or is_rapid:
            given, forced = {**options, **_answers(request, terms, is_rapid=is_rapid)}, options.forced
        omitted: list[int] = []
        payload = build_reply(
            request, kind, server_identifier=server_id(request, terms), your_address=address, lease_time_s=lease_s,
            t1_s=t1_s, t2_s=t2_s, options=given, forced=forced, next_server=terms.next_server,
            boot_file=terms.boot_file, server_name=terms.server_name,
            echo_client_id=self._context.config.policy.echo_client_id, mtu=terms.link.mtu, omitted=omitted,
        )  # fmt: skip
        if omitted:
            self._context.count("dhcp.options_omitted", len(omitted))
        elif x.familiar is not None and lease_s and t1_s and not terms.boot_file and not terms.server_name:
            x.familiar.learn(terms, address, lease_s, payload)
        return payload

    def _send(self, x: Exchange, kind: int, payload: bytes, address: int, *, durable: bool = False) -> None:
        broadcast = x.terms.broadcast
        to = delivery(
            x.request, kind, address, x.source,
            always_broadcast=broadcast is _ALWAYS, never_broadcast=broadcast is _NEVER,
        )  # fmt: skip
        tally = self._context.tally
        tally.sent += 1
        tally.sent_bytes += len(payload)
        # Replies leave from the link's own address (E8), whatever option 54 is configured to say.
        link = x.terms.link
        binding = address if durable else None
        self._context.effects.append(
            SendDhcp(link.name, payload, link.address, to.address, to.port, to.mac, durable, binding)
        )


def relayed(request: Message) -> dict[str, object]:
    """For a log line: the relay that a request came through and what that one said of it (DHCP-SERVER C14), if any."""
    if not request.giaddr:
        return {}
    fields: dict[str, object] = {"relay": dotted_or_none(request.giaddr)}
    information = request.options.get(c.OPT_RELAY_AGENT)
    if information:
        fields["relay_info"] = format_option(c.OPT_RELAY_AGENT, information)
    return fields


def dotted_or_none(address: int) -> str:
    """An address for a log line, "-" if there is none."""
    if not address:
        return "-"
    return dotted(address)


def _answers(request: Message, terms: Terms, *, is_rapid: bool) -> dict[int, bytes]:
    """Options that answer the client's own: RFC 4702 4, RFC 3011 2, RFC 4039 4 (DHCP-SERVER C17-C19)."""
    answers: dict[int, bytes] = {}
    fqdn = request.fqdn
    if fqdn is not None:
        try:
            answers[c.OPT_FQDN] = encode_fqdn_reply(fqdn, domain=terms.domain)
        except ValueError:  # name and domain together are too long, or the domain is none
            answers[c.OPT_FQDN] = encode_fqdn_reply(fqdn)
    if request.subnet_selection is not None:
        answers[c.OPT_SUBNET_SELECTION] = request.options[c.OPT_SUBNET_SELECTION]
    if is_rapid:
        answers[c.OPT_RAPID_COMMIT] = b""
    return answers
