"""One node under any order of what clients, peers, links and crashes do to it: promises are kept, whatever happens."""

from __future__ import annotations

import random
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.swarm import SwarmCodec, UpdateClaim
from segment import keep

POOL = Pool(0x0A000000, 26, 8)
GATEWAY = POOL.prefix + 1
CONFIG = NodeConfig(POOL, tentative_timeout_s=2, block_timeout_s=20, lease_time_s=60, learning_phase=False)
CODEC = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
MAC, ADDRESS, PEER = b"\x02" + bytes(5), b"\xfe\x80" + bytes(13) + b"\x01", b"\xfe\x80" + bytes(13) + b"\x02"
NEVER_LEASED = {POOL.prefix, POOL.broadcast, GATEWAY}
CLIENTS = st.integers(1, 4)
ADDRESSES = st.integers(POOL.prefix - 2, POOL.broadcast + 2)


@dataclass
class Held:
    """What a client was acknowledged: the address and the end of its lease."""

    address: int
    until: float


class ServerMachine(RuleBasedStateMachine):
    """``held`` and ``offered``: by client. ``promised``: by block, until when the swarm was told to keep off.
    ``blocks`` and ``leases``: the disk."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.now, self.xid, self.seed = 1000.0, 0, seed
        self.blocks: dict[int, StoredBlock] = {}
        self.leases: dict[int, StoredLease] = {}
        self.held: dict[int, Held] = {}
        self.offered: dict[int, int] = {}
        self.promised: dict[int, float] = {}
        self.link_up = True
        self.start()
        self.pass_time(3.0)

    def start(self) -> None:
        self.node = Node(CONFIG, random.Random(self.seed))
        self.feed(e.ClientLinkUp(e.ClientLink("client0", GATEWAY, POOL.prefix_len, bytes(6))))
        self.feed(e.Start(tuple(self.blocks.values()), tuple(self.leases.values())))
        if self.link_up:
            self.feed(e.ServerLinkUp(MAC, ADDRESS))

    def feed(self, event: e.Event) -> list[Message]:
        """Give the node an event, carry its effects out, judge and return its answers to clients."""
        answers = []
        for effect in self.node.handle(event, self.now):
            keep(effect, self.blocks, self.leases)
            if isinstance(effect, f.SendMulticast):
                self.note_promises(effect.data)
            elif isinstance(effect, f.SendDhcp):
                answer = Message.decode(effect.payload)
                self.judge(answer)
                answers.append(answer)
        return answers

    def note_promises(self, data: bytes) -> None:
        assert self.link_up, "nothing is sent to a link that is away"
        _, message = CODEC.decode(data)
        if isinstance(message, UpdateClaim):
            for claim in message.claims:
                until = self.now + claim.timeout_s
                self.promised[claim.index] = max(until, self.promised.get(claim.index, 0)) if claim.timeout_s else 0.0

    def judge(self, answer: Message) -> None:
        client, address = answer.chaddr[5], answer.yiaddr
        if answer.message_type == c.OFFER:
            assert address not in NEVER_LEASED
            others = {held.address for other, held in self.held.items() if other != client and held.until > self.now}
            assert address not in others, "an address that somebody holds is not offered"
            mine = self.held.get(client)
            if mine and mine.until > self.now:
                assert address == mine.address, "one client, one address"
            self.offered[client] = address
        elif answer.message_type == c.ACK and address:
            assert answer.lease_time_s is not None
            until = self.now + answer.lease_time_s
            for other, held in self.held.items():
                assert other == client or held.address != address or held.until <= self.now, "held by another (I1)"
            stored = self.leases.get(address)
            assert stored is not None, "stored before it is acknowledged"
            assert (stored.chaddr, stored.state) == (answer.chaddr, "leased")
            assert stored.latest_end(self.now) >= until
            assert self.promised[POOL.index_of(address)] > until, "no lease outlasts the promise (I2)"
            self.held[client] = Held(address, until)

    def send(self, client: int, kind: int, *, to_all: bool = True, **fields: int) -> list[Message]:
        self.xid += 1
        chaddr = (b"\x02\0\0\0\0" + bytes((client,))).ljust(16, b"\0")
        options = {c.OPT_MESSAGE_TYPE: bytes((kind,))}
        for name, code in (("requested", c.OPT_REQUESTED_ADDRESS), ("server", c.OPT_SERVER_ID)):
            if name in fields:
                options[code] = fields[name].to_bytes(4, "big")
        message = Message(xid=self.xid, chaddr=chaddr, ciaddr=fields.get("ciaddr", 0), options=options)
        return self.feed(e.DhcpReceived("client0", message.encode(), 0, c.BROADCAST_ADDRESS if to_all else GATEWAY))

    def owns(self, address: int) -> bool:
        index = POOL.index_of(address)
        return any(view.index == index and view.state == 4 for view in self.node.block_views(self.now))

    # -- clients ----------------------------------------------------------------------------------------------

    def wish(self, whose: int, other: int) -> int:
        """The address that a client has or was offered, as interesting ones are; else ``other``."""
        return self.held[whose].address if whose in self.held else self.offered.get(whose, other)

    @rule(client=CLIENTS)
    def discover(self, client: int) -> None:
        self.send(client, c.DISCOVER)

    @rule(client=CLIENTS, whose=CLIENTS, address=ADDRESSES)
    def discover_with_a_wish(self, client: int, whose: int, address: int) -> None:
        self.send(client, c.DISCOVER, requested=self.wish(whose, address))

    @rule(client=CLIENTS)
    def select(self, client: int) -> None:
        if address := self.offered.pop(client, 0):
            self.send(client, c.REQUEST, requested=address, server=GATEWAY)

    @rule(client=CLIENTS)
    def join(self, client: int) -> None:
        self.discover(client)
        self.select(client)

    @rule(client=CLIENTS, whose=CLIENTS, address=ADDRESSES, selecting=st.booleans())
    def request_anything(self, client: int, whose: int, address: int, selecting: bool) -> None:
        address = self.wish(whose, address)
        held = self.held.get(client)
        extra = {"server": GATEWAY} if selecting else {}
        answers = self.send(client, c.REQUEST, requested=address, **extra)
        if held and held.address == address and held.until > self.now and self.owns(address):
            assert all(answer.message_type == c.ACK for answer in answers), "a valid lease is not refused (I6)"

    @rule(client=CLIENTS, to_all=st.booleans())
    def renew(self, client: int, to_all: bool) -> None:
        held = self.held.get(client)
        if held is None or held.until <= self.now:
            return
        answers = self.send(client, c.REQUEST, to_all=to_all, ciaddr=held.address)
        if self.owns(held.address):
            assert all(answer.message_type == c.ACK for answer in answers), "a valid lease is not refused (I6)"
            if self.link_up:
                assert len(answers) == 1
                assert answers[0].lease_time_s == CONFIG.lease_time_s

    @rule(client=CLIENTS)
    def release(self, client: int) -> None:
        held = self.held.pop(client, None)
        if held is not None:
            self.send(client, c.RELEASE, to_all=False, ciaddr=held.address, server=GATEWAY)

    @rule(client=CLIENTS)
    def decline(self, client: int) -> None:
        held = self.held.pop(client, None)
        if held is not None:
            self.send(client, c.DECLINE, requested=held.address, server=GATEWAY)

    @rule(client=CLIENTS, whose=CLIENTS, address=ADDRESSES)
    def forge(self, client: int, whose: int, address: int) -> None:
        """RELEASE and DECLINE of what the sender does not hold."""
        address = self.wish(whose, address)
        held = self.held.get(client)
        if held is None or held.address != address:
            running = {at: lease for at, lease in self.leases.items() if lease.expires_at > self.now}
            before = {at: lease for at, lease in running.items() if lease.chaddr[5] != client}
            self.send(client, c.RELEASE, to_all=False, ciaddr=address, server=GATEWAY)
            self.send(client, c.DECLINE, requested=address, server=GATEWAY)
            assert {at: self.leases.get(at) for at in before} == before
            self.offered.pop(client, None)

    # -- the rest of the world --------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.1, 1.0, 5.0, 20.0, 59.0, 90.0)))
    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (at := self.node.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.feed(e.Wake())
        self.now = until

    @precondition(lambda self: self.link_up)
    @rule(index=st.integers(0, POOL.block_count - 1), timeout_s=st.sampled_from((0, 20, 300)))
    def peer_claims(self, index: int, timeout_s: int) -> None:
        self.feed(e.SwarmReceived(CODEC.update_claim([(index, timeout_s)]), PEER, True))

    @precondition(lambda self: self.link_up)
    @rule(index=st.integers(0, POOL.block_count))
    def peer_inquires(self, index: int) -> None:
        self.feed(e.SwarmReceived(CODEC.inquire([index]), PEER, True))

    @rule()
    def link_goes_or_comes(self) -> None:
        self.link_up = not self.link_up
        self.feed(e.ServerLinkUp(MAC, ADDRESS) if self.link_up else e.ServerLinkDown())

    @rule()
    def crash_and_restart(self) -> None:
        self.offered.clear()
        self.start()

    @rule()
    def stop_and_start(self) -> None:
        self.feed(e.Stop())
        self.pass_time(5.0)
        self.offered.clear()
        self.start()

    @invariant()
    def every_promise_is_kept_on_disk(self) -> None:
        for client, held in getattr(self, "held", {}).items():
            if held.until > self.now and POOL.index_of(held.address) in self.blocks:
                stored = self.leases.get(held.address)
                assert stored is not None
                assert stored.chaddr[5] == client


TestServer = ServerMachine.TestCase
TestServer.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
