"""A node's whole life as the input tells it: clients, peers, links, probes, the operator, time, crashes and restarts.

Every step is followed by a look at everything the node did. What is checked holds whatever peers say; what only holds
among honest ones (one holder for an address, no lease lost) is checked while none has spoken.
"""

from __future__ import annotations

import json
import logging
import random
from dataclasses import dataclass

from fuzz_peers import KEYS, MIXED_KEYS, Known, Peer, learn
from fuzz_source import Source

from ddhcp import dhcp, swarm
from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.leases import LeaseTable
from ddhcp.core.peers import MAX_PEERS
from ddhcp.core.policy import (
    AddressRange,
    ClientClass,
    Conflicts,
    Limits,
    Network,
    Policy,
    Probe,
    Profile,
    Reservation,
    Subnet,
)
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.daemon.api import Api
from ddhcp.daemon.health import Facts
from ddhcp.daemon.logs import EventFormatter
from ddhcp.daemon.recent import RecentEvents
from ddhcp.dhcp import constants as c
from segment import NODE_ADDRESS, NODE_MAC, SERVER, SERVER_MAC, keep, mac

POOL = Pool(0x0A000000, 26, 8)
LINK = e.ClientLink("client0", SERVER, POOL.prefix_len, SERVER_MAC)
RELAY = SERVER + 2
NEVER_LEASED = {POOL.prefix, POOL.broadcast, SERVER}
MAX_STEPS = 50
MAX_COUNTERS = 300  # far more than there are names of counters
MAX_WAKES = 200  # at one instant: more would be a loop without end
SMALLEST_REPLY, LARGEST_REPLY = 300, 1500 - 28
TIMES_S = (0.0, 0.05, 0.3, 1.0, 2.5, 4.0, 12.0, 31.0, 65.0, 240.0)
CLIENT_KINDS = (c.DISCOVER, c.REQUEST, c.REQUEST, c.REQUEST, c.RELEASE, c.DECLINE, c.INFORM, 10)
REPLY_KINDS = {c.OFFER, c.ACK, c.NAK, 11, 12, 13}
FORMATTERS = (EventFormatter(with_time=False), EventFormatter(as_json=True), EventFormatter(colours=True))
_RESERVED = Reservation((mac(1),), address=SERVER + 12, hostname=b"reserved")
POLICIES = (
    Policy(),
    Policy(
        reservations=(_RESERVED, Reservation(hostnames=(b"phone",), profile=Profile(lease_time_s=120))),
        classes=(ClientClass("printers", vendor_prefixes=(b"prn",), profile=Profile(options={6: b"\x0a\0\0\x05"})),),
        denied=frozenset({mac(3)}),
        relays=(Network(RELAY, 32),),
        rapid_commit=True,
        leasequery_sources=(Network(POOL.prefix, 24),),
        conflicts=Conflicts(probe=Probe.ALWAYS),
    ),
    Policy(
        subnets=(
            Subnet(
                Network(POOL.prefix + 32, 27), ranges=(AddressRange(POOL.prefix + 40, POOL.prefix + 60),),
                relays=(Network(RELAY, 32),), profile=Profile(options={3: b"\x0a\0\0\x21"}, v6only_wait_s=0),
            ),
        ),
        authoritative=False,
        ignore_client_id=True,
        echo_client_id=False,
        limits=Limits(discover_per_s=0, nak_per_s=0, identities_per_mac=2),
    ),
)  # fmt: skip


@dataclass
class Held:
    """What a client was acknowledged."""

    identity: bytes
    chaddr: bytes
    until: float


class Session:
    """One story. ``blocks`` and ``leases``: the disk. ``held``: by address, as clients believe. ``is_quiet``: no peer
    has said anything yet, and no operator interfered."""

    def __init__(self, source: Source) -> None:
        head = source.number(1)
        keys = (None, None, KEYS, MIXED_KEYS)[head & 3]
        self.config = NodeConfig(
            POOL, tentative_timeout_s=2, block_timeout_s=20, lease_time_s=60, learning_phase=bool(head & 4),
            policy=POLICIES[(head >> 3) % len(POLICIES)], keys=keys, replicas_before_ack=head >> 5 & 1,
        )  # fmt: skip
        self.now = 1000.0
        self.is_quiet = True
        self.blocks: dict[int, StoredBlock] = {}
        self.leases: dict[int, StoredLease] = {}
        self.held: dict[int, Held] = {}
        self.identities: dict[bytes, set[bytes]] = {}  # by chaddr, under which names it spoke
        self.offered: list[int] = [SERVER + 9]
        self.probes: list[int] = [SERVER + 9]
        self.known = Known(POOL)
        self.peers = [Peer(number, POOL, keys) for number in range(4)]
        self.xid = 0
        self.recent = RecentEvents()
        self.server_link = True
        self.steps = (
            self._client, self._client, self._client, self._bytes, self._peer, self._peer, self._peer_bytes,
            self._time, self._time, self._link, self._probed, self._operator, self._restart, self._api,
        )  # fmt: skip
        self._begin()

    def play(self, source: Source) -> None:
        """Go through the steps that the input tells of."""
        for _ in range(MAX_STEPS):
            if not source:
                break
            source.pick(self.steps)(source)
            self._look()
        self._pass_time(1.0)
        self._look()

    def _begin(self) -> None:
        self.node = Node(self.config, random.Random(1))
        self.api = Api(self.node, self, self.recent, clock=lambda: self.now)
        self._feed(e.ClientLinkUp(LINK))
        self._feed(e.Start(tuple(self.blocks.values()), tuple(self.leases.values())))
        if self.server_link:
            self._feed(e.ServerLinkUp(NODE_MAC, NODE_ADDRESS))
        self._pass_time(3.0)

    # --- steps ----------------------------------------------------------------------------------

    def _client(self, s: Source) -> None:
        """A message as clients send it, with up to three options of any content."""
        kind, number, flags = s.pick(CLIENT_KINDS), s.below(6), s.number(1)
        chaddr = mac(number).ljust(16, b"\0")
        options: dict[int, bytes] = {c.OPT_MESSAGE_TYPE: bytes((kind,))}
        address = self._address(s)
        message = dhcp.Message(xid=s.number(1), chaddr=chaddr)
        if flags & 1:
            options[c.OPT_SERVER_ID] = SERVER.to_bytes(4, "big")
        if flags & 2:
            options[c.OPT_REQUESTED_ADDRESS] = address.to_bytes(4, "big")
        if flags & 4:
            message.ciaddr = address
        if flags & 8:
            options[61] = b"\0client" + bytes((s.below(4),))
        if flags & 16:
            message.giaddr = RELAY
        message.flags = 0x8000 if flags & 32 else 0
        for _ in range(flags >> 6):
            options[s.number(1)] = s.some()
        options.pop(0, None)
        options.pop(255, None)
        message.options = options
        self._datagram(message.encode(), 0 if flags & 6 else message.ciaddr, is_unicast=bool(flags & 4))

    def _bytes(self, s: Source) -> None:
        """Any bytes, behind a header that gets them further or not."""
        head = dhcp.Message(xid=1, chaddr=mac(s.below(6)).ljust(16, b"\0")).encode()[:240] if s.flag() else b""
        self._datagram(head + s.some(), s.number(4), is_unicast=s.flag())

    def _datagram(self, data: bytes, source: int, *, is_unicast: bool) -> None:
        try:
            request = dhcp.parse_request(data, leasequery=True)
        except dhcp.DecodeError:
            pass
        else:
            policy = self.config.policy
            self.sender = (dhcp.identity(request, ignore_client_id=policy.ignore_client_id), request.chaddr)
            self.identities.setdefault(request.chaddr, set()).add(self.sender[0])
            self.known.clients.append((request.chaddr, self.sender[0]))
            self.known.clients = self.known.clients[-8:]
        self._feed(e.DhcpReceived(LINK.name, data, source, SERVER if is_unicast else c.BROADCAST_ADDRESS))

    def _peer(self, s: Source) -> None:
        """A message of a peer whose form is right."""
        peer = s.pick(self.peers)
        multicast = s.flag()
        data = peer.message(s, self.known)
        to = swarm.MULTICAST_GROUP if multicast else NODE_ADDRESS
        self._hear(peer.sealed(data, to) if s.number(1) else data, peer, multicast)

    def _peer_bytes(self, s: Source) -> None:
        """Any bytes, behind a header that gets them further or not, sealed or not."""
        peer = s.pick(self.peers)
        multicast = s.flag()
        data = peer.codec.extension(swarm.FIRST_EXTENSION, b"")[:14] + s.some() if s.flag() else s.some()
        if s.flag() and len(data) >= swarm.HEADER_SIZE:
            data = peer.sealed(data, swarm.MULTICAST_GROUP if multicast else NODE_ADDRESS)
        self._hear(data, peer, multicast)

    def _hear(self, data: bytes, peer: Peer, multicast: bool) -> None:
        if not self.server_link:
            return
        self.is_quiet = False
        self._feed(e.SwarmReceived(data, peer.address, multicast))

    def _time(self, s: Source) -> None:
        self._pass_time(s.pick(TIMES_S))

    def _link(self, s: Source) -> None:
        match s.below(4):
            case 0:
                self.server_link = not self.server_link
                self._feed(e.ServerLinkUp(NODE_MAC, NODE_ADDRESS) if self.server_link else e.ServerLinkDown())
            case 1:
                self._feed(e.ClientLinkDown(LINK.name))
                self._feed(e.ClientLinkUp(LINK))
            case 2:
                self._feed(e.SendFailed())
            case _:
                self._feed(e.ClientLinkUp(e.ClientLink("client1", SERVER + 32, 27, SERVER_MAC, 576 + s.number(1))))
                self._feed(e.ClientLinkDown("client1"))

    def _probed(self, s: Source) -> None:
        address = s.pick(self.probes[-8:])
        self._feed(e.AddressProbed(LINK.name, address, s.flag(), mac(s.below(9))))

    def _operator(self, s: Source) -> None:
        self.is_quiet = False
        match s.below(5):
            case 0:
                self._feed(e.SetOption(1 + s.number(1) % 254, s.some()))
            case 1:
                self._feed(e.RemoveOption(s.number(1)))
            case 2:
                self._feed(e.EndLease(self._address(s)))
            case 3:
                address = self._address(s)
                if address in POOL:
                    self._feed(e.HoldAddress(address, s.flag()))
            case _:
                policy = s.pick(POLICIES)
                config = self.config
                self.config = NodeConfig(
                    POOL, tentative_timeout_s=2, block_timeout_s=20, lease_time_s=60 + s.number(1), policy=policy,
                    learning_phase=config.learning_phase, keys=config.keys,
                    replicas_before_ack=config.replicas_before_ack,
                )  # fmt: skip
                self._feed(e.Reconfigure(self.config))

    def _restart(self, s: Source) -> None:
        """A crash, or a stop in good order, and what the disk has is there again."""
        if s.flag():
            self._feed(e.Stop())
            self._pass_time(6.0)
            self.is_quiet = False  # what was given up may be another node's
        self._begin()

    def _api(self, s: Source) -> None:
        """What operators ask, about whatever there is by now."""
        commands = ("status", "statistics", "blocks", "map", "leases", "peers", "events", "options", "explain")
        arguments: dict[str, object] = {"command": s.pick(commands)}
        if arguments["command"] == "explain":
            arguments |= {"mac": mac(s.below(6)).hex(":")} if s.flag() else {"address": _dotted(self._address(s))}
        refusal = ""
        try:
            json.dumps(self.api.answer(arguments))
        except ValueError as error:
            refusal = str(error)
        assert refusal.isprintable()

    def _address(self, s: Source) -> int:
        return self.offered[-1 - s.below(min(len(self.offered), 8))] if s.flag() else self.known.address(s)

    # --- what the API wants of a daemon ---------------------------------------------------------

    def feed_event(self, event: e.Event) -> None:
        self._feed(event)

    def statistics(self) -> dict[str, int]:
        return self.node.statistics()

    def facts(self) -> Facts:
        return Facts("server0", self.server_link, (LINK.name,), (), "sqlite", None, self.now)

    def drain(self) -> None:
        pass

    def reload(self) -> dict[str, object]:
        return {}

    # --- time, and what comes of everything -----------------------------------------------------

    def _pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        wakes = 0
        while (at := self.node.deadline()) is not None and at <= end:
            wakes = 0 if at > self.now else wakes + 1
            assert wakes < MAX_WAKES, "the node's time stands still"
            self.now = max(self.now, at)
            self._feed(e.Wake())
        self.now = end

    def _feed(self, event: e.Event) -> None:
        answers: list[tuple[Peer, bytes]] = []
        self.cause = event
        for effect in self.node.handle(event, self.now):
            if isinstance(effect, f.SaveLease) and effect.lease.state != "leased":
                self._ended(effect.lease.address)
            elif isinstance(effect, f.ForgetLease):
                self._ended(effect.address)
            keep(effect, self.blocks, self.leases)
            if isinstance(effect, f.SendDhcp):
                self._judge(effect)
            elif isinstance(effect, f.SendMulticast):
                self._sent(effect.data, swarm.MULTICAST_GROUP)
            elif isinstance(effect, f.SendUnicast):
                plain = self._sent(effect.data, effect.destination)
                for peer in self.peers:
                    answer = peer.answer_to(plain, NODE_ADDRESS) if peer.address == effect.destination else None
                    if answer is not None:
                        answers.append((peer, answer))
            elif isinstance(effect, f.ProbeAddress):
                self.probes.append(effect.address)
            elif isinstance(effect, f.RunHook):
                assert all(text.isascii() and text.isprintable() for text in effect.arguments)
            elif isinstance(effect, f.Log):
                self._log(effect)
        for peer, data in answers:
            self._feed(e.SwarmReceived(data, peer.address, False))

    def _sent(self, data: bytes, destination: bytes) -> bytes:
        assert len(data) <= swarm.MAX_DATAGRAM
        plain = self.peers[0].opened(data, NODE_ADDRESS, destination)
        learn(self.known, plain)
        return plain

    def _log(self, effect: f.Log) -> None:
        """As with debug logging: every line is formatted, in each form there is."""
        record = logging.LogRecord("", effect.level, "", 0, effect.event, (), None)
        record.fields = effect.fields
        for formatter in FORMATTERS[:2]:
            assert formatter.format(record).isprintable()
        self.recent.add(effect.level, effect.event, effect.fields)

    def _judge(self, effect: f.SendDhcp) -> None:
        """What a client gets is sound, and what it promises is on disk."""
        reply = dhcp.Message.decode(effect.payload)
        assert SMALLEST_REPLY <= len(effect.payload) <= LARGEST_REPLY
        assert reply.op == 2
        assert reply.message_type in REPLY_KINDS
        if effect.mac is not None and effect.mac != b"\xff" * 6:
            assert not effect.mac[0] & 1, "a raw frame goes to one station or to all"
        if reply.message_type in (11, 12, 13):
            return
        assert reply.server_identifier is not None
        if reply.message_type == c.NAK:
            assert (reply.yiaddr, reply.ciaddr, reply.siaddr, reply.lease_time_s) == (0, 0, 0, None)
            return
        address = reply.yiaddr
        if not address:
            return  # to an INFORM, or to who does without IPv4
        assert address in POOL
        assert address not in NEVER_LEASED
        self.offered.append(address)
        lease_s = reply.lease_time_s
        assert lease_s
        if reply.message_type == c.ACK:
            self._acknowledged(reply, address, self.now + lease_s, effect)
        elif self.is_quiet:
            holder = self.held.get(address)
            if holder is not None and holder.until > self.now:
                names = self.identities.get(reply.chaddr, set())
                assert any(_is_one(holder, name, reply.chaddr) for name in names), "offered to somebody else"

    def _acknowledged(self, reply: dhcp.Message, address: int, until: float, effect: f.SendDhcp) -> None:
        if not self.is_quiet:
            return  # another node may have granted it
        row = self.leases.get(address)
        assert row is not None, "acknowledged, and not on disk"
        assert (row.state, row.chaddr) == ("leased", reply.chaddr)
        assert row.latest_end(self.now) >= until, "the disk says a shorter time than the client was told"
        assert effect.durable, "it must not leave before the disk has it"
        former = self.held.get(address)
        if former is not None and former.until > self.now:
            assert former.identity == row.identity or former.chaddr == row.chaddr, "one address, two clients"
        self.held[address] = Held(row.identity, row.chaddr, until)

    def _ended(self, address: int) -> None:
        """A lease came to its end: by its time, or by its own client."""
        holder = self.held.pop(address, None)
        if holder is None or holder.until <= self.now or not self.is_quiet:
            return
        assert isinstance(self.cause, e.DhcpReceived), "nobody asked for it"
        assert _is_one(holder, *self.sender) or holder.chaddr == self.sender[1], "somebody else ended it"

    def _look(self) -> None:
        """What holds at any time."""
        statistics = self.node.statistics()
        assert all(value >= 0 for value in statistics.values())
        assert len(statistics) < MAX_COUNTERS
        assert len(self.node.leases()) <= POOL.address_count
        assert len(self.node.inspect.peers(self.now)) <= MAX_PEERS
        if self.is_quiet:
            for address, holder in self.held.items():
                if holder.until > self.now:
                    row = self.leases.get(address)
                    assert row is not None, "a running lease that the disk does not have"
                    assert row.chaddr == holder.chaddr


def _is_one(holder: Held, identity: bytes, chaddr: bytes) -> bool:
    """Whether that client is the holder, by the server's own rule."""
    return LeaseTable.belongs(StoredLease(0, holder.identity, holder.chaddr, "leased", 0.0), identity, chaddr)


def _dotted(address: int) -> str:
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def fuzz_session(data: bytes) -> None:
    """Play the story that the input tells."""
    source = Source(data)
    Session(source).play(source)
