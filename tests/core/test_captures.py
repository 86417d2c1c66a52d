"""Replay of what real classic nodes and clients sent: what a node of ours in that place does."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from scapy.all import IP, UDP, IPv6, rdpcap

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.dhcp import Message, hardware_identity
from ddhcp.dhcp import constants as c
from ddhcp.swarm import LEASEACK, RENEWLEASE, DecodeError, Inquire, LeaseMessage, SwarmCodec, UpdateClaim

CAPTURES = Path(__file__).parent.parent / "captures"
POOL = Pool(0x0A008000, 17, 4)
CONFIG = NodeConfig(POOL, tentative_timeout_s=4, block_timeout_s=20, learning_phase=False)
CODEC = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
LEASE_FIELDS = ("address_field", "xid", "lease_time_s", "chaddr")
NODE_IDS = {bytes.fromhex(text) for text in ("8E535CCB97440000", "F2843F5154EE0000", "622E9730E4090000")}


MIXED_POOL = Pool(0x0A000000, 20, 8)
MIXED_CODEC = SwarmCodec(bytes(8), MIXED_POOL.prefix, MIXED_POOL.prefix_len, MIXED_POOL.block_size)
OURS, LITTLE, BIG = (socket.inet_pton(socket.AF_INET6, f"fe80::dd:c0ff:fe02:{number}") for number in range(3))


def swarm_datagrams(name: str = "classic-swarm.pcap") -> Iterator[tuple[float, bytes, int, bytes]]:
    """(instant, source, port, payload) of the server link."""
    for packet in rdpcap(str(CAPTURES / name)):
        if UDP in packet and IPv6 in packet:
            source = socket.inet_pton(socket.AF_INET6, packet[IPv6].src)
            yield float(packet.time), source, packet[UDP].dport, bytes(packet[UDP].payload)


def watcher(now: float, pool: Pool = POOL) -> Node:
    """A node that serves nobody and only watches the swarm."""
    node = Node(NodeConfig(pool, tentative_timeout_s=4, block_timeout_s=20, serves_clients=False), random.Random(1))
    node.handle(e.Start(), now)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), b"\xfe\x80" + bytes(13) + b"\x01"), now)
    return node


def claims_heard(node: Node, now: float) -> dict[int, bytes]:
    return {view.index: view.owner for view in node.block_views(now) if view.state == 2}


def advance(node: Node, now: float) -> None:
    while (at := node.deadline()) is not None and at <= now:
        node.handle(e.Wake(), at)


def test_a_watching_node_sees_who_owns_what_at_every_moment() -> None:
    node: Node | None = None
    announced: dict[int, tuple[bytes, float]] = {}
    seen_owners = 0
    for now, source, port, data in swarm_datagrams():
        node = node or watcher(now)
        advance(node, now)
        effects = node.handle(e.SwarmReceived(data, source, port == 1234), now)
        assert not any(isinstance(effect, f.SendMulticast) for effect in effects), "a watcher does not disturb"
        try:
            owner, message = CODEC.decode(data)
        except DecodeError:
            continue
        if isinstance(message, UpdateClaim) and port == 1234:
            for claim in message.claims:
                announced[claim.index] = (owner, now + claim.timeout_s)
        expected = {index: owner for index, (owner, until) in announced.items() if until > now}
        assert claims_heard(node, now) == expected
        seen_owners = max(seen_owners, len(expected))
    assert seen_owners >= 3


def test_every_datagram_is_counted_once_as_taken_or_with_a_reason() -> None:
    node: Node | None = None
    total = 0
    for now, source, port, data in swarm_datagrams():
        node = node or watcher(now)
        node.handle(e.SwarmReceived(data, source, port == 1234), now)
        total += 1
    assert node is not None
    statistics = node.statistics()
    dropped = sum(value for name, value in statistics.items() if name.startswith("swarm.drop."))
    taken = sum(
        statistics[name]
        for name in ("mcast.recv_updateclaim", "mcast.recv_inquire", "direct.recv_renewlease", "direct.recv_release")
    )
    answers = statistics["direct.recv_leaseack"] + statistics["direct.recv_leasenak"]
    assert statistics["swarm.drop.unasked-answer"] == answers > 0
    reasons = ("outside-pool", "release-of-no-lease", "not-owner")  # taken as a message, then dropped for what it says
    both = sum(statistics.get(f"swarm.drop.{reason}", 0) for reason in reasons)
    assert taken + dropped - both == total
    assert statistics["swarm.drop.length-mismatch"] == 3, "the probe's datagrams that are a byte short"


def test_a_node_that_wants_a_block_takes_none_that_the_classic_nodes_have() -> None:
    datagrams = list(swarm_datagrams())
    start = datagrams[0][0]
    node = Node(CONFIG, random.Random(2))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 16, bytes(6))), start)
    node.handle(e.Start(), start)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), b"\xfe\x80" + bytes(13) + b"\x01"), start)
    for now, source, port, data in datagrams:
        advance(node, now)
        node.handle(e.SwarmReceived(data, source, port == 1234), now)
        ours = {view.index for view in node.block_views(now) if view.state == 4}
        assert not ours & set(claims_heard(node, now))
    assert ours
    assert node.statistics().get("swarm.blocks_lost", 0) == 0


def test_classic_inquiries_and_claims_carry_the_nodes_known_ids() -> None:
    ids = set()
    for _, _, port, data in swarm_datagrams():
        if port == 1234:
            owner, message = CODEC.decode(data)
            assert isinstance(message, UpdateClaim | Inquire)
            ids.add(owner)
    assert ids > NODE_IDS


# -- a swarm of one node of ours and two classic ones ---------------------------------------------------------


def lease_messages() -> list[tuple[float, bytes, bytes, LeaseMessage]]:
    """(instant, source, destination, message) of every lease message in the mixed swarm."""
    found = []
    for packet in rdpcap(str(CAPTURES / "mixed-swarm.pcap")):
        message = MIXED_CODEC.decode(bytes(packet[UDP].payload))[1]
        if isinstance(message, LeaseMessage):
            ends = (socket.inet_pton(socket.AF_INET6, end) for end in (packet[IPv6].src, packet[IPv6].dst))
            found.append((float(packet.time), *ends, message))
    return found


def test_a_watching_node_sees_the_owners_in_a_mixed_swarm() -> None:
    node: Node | None = None
    for now, source, port, data in swarm_datagrams("mixed-swarm.pcap"):
        node = node or watcher(now, MIXED_POOL)
        advance(node, now)
        node.handle(e.SwarmReceived(data, source, port == 1234), now)
    assert node is not None
    views, _ = node.inspect.blocks(0, MIXED_POOL.block_count, now)
    assert {view.index: view.owner_address for view in views} == {456: OURS, 60: LITTLE, 427: BIG}


def test_between_us_and_classic_nodes_every_question_is_answered_in_its_own_byte_order() -> None:
    messages = lease_messages()
    asked = [(a, b, m) for _, a, b, m in messages if m.command == RENEWLEASE and OURS in (a, b)]
    answers = [(b, a, m) for _, a, b, m in messages if m.command == LEASEACK]
    assert len(asked) == 6
    for source, destination, question in asked:
        echo = LeaseMessage(LEASEACK, *(getattr(question, name) for name in LEASE_FIELDS))
        assert (source, destination, echo) in answers
        order = "big" if BIG in (source, destination) else "little"
        assert int.from_bytes(question.address_field, order) in MIXED_POOL


def test_classic_nodes_of_different_byte_orders_do_not_understand_each_other() -> None:
    messages = lease_messages()
    between = [m.command for _, a, b, m in messages if OURS not in (a, b)]
    assert set(between) == {RENEWLEASE}, "questions without an answer: what our nodes are spared by reading both orders"


def test_our_node_answers_the_recorded_questions_of_either_byte_order() -> None:
    """In our node's place: the address leased, asked about by the little-endian node and by the big-endian one."""
    questions = [(at, a, m) for at, a, b, m in lease_messages() if m.command == RENEWLEASE and b == OURS]
    start = questions[0][0] - 10
    config = NodeConfig(MIXED_POOL, tentative_timeout_s=2, block_timeout_s=20, learning_phase=False)
    node = Node(config, random.Random(3))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, bytes(6))), start)
    address, chaddr = int.from_bytes(questions[0][2].address_field, "little"), questions[0][2].chaddr
    lease = StoredLease(address, hardware_identity(1, chaddr[:6]), chaddr, "leased", start + 200)
    node.handle(e.Start((StoredBlock(456, start + 300),), (lease,)), start)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), OURS), start)
    for at, source, question in questions:
        advance(node, at)
        body = (getattr(question, name) for name in LEASE_FIELDS)
        data = MIXED_CODEC.lease_message(RENEWLEASE, *body)
        sent = node.handle(e.SwarmReceived(data, source, False), at)
        (answer,) = [x for x in sent if isinstance(x, f.SendUnicast) and x.data[14] == LEASEACK]
        assert answer.destination == source
        assert MIXED_CODEC.decode(answer.data)[1] == LeaseMessage(
            LEASEACK, *(getattr(question, n) for n in LEASE_FIELDS)
        )


def client_requests(name: str) -> Iterator[tuple[float, bytes]]:
    for packet in rdpcap(str(CAPTURES / name)):
        if UDP in packet and IP in packet and packet[UDP].dport == 67:
            yield float(packet.time), bytes(packet[UDP].payload)


def replies(effects: list[f.Effect]) -> list[Message]:
    return [Message.decode(effect.payload) for effect in effects if isinstance(effect, f.SendDhcp)]


def test_the_recorded_dhclient_gets_its_lease_from_us() -> None:
    requests = list(client_requests("classic-realm0.pcap"))
    start = requests[0][0] - 10
    node = Node(CONFIG, random.Random(3))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 16, bytes(6))), start)
    node.handle(e.Start(), start)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), b"\xfe\x80" + bytes(13) + b"\x01"), start)
    answers: list[Message] = []
    for now, data in requests:
        advance(node, now)
        if answers:  # the recorded REQUEST names the classic node's offer; this client takes ours
            request = Message.decode(data)
            request.options[c.OPT_REQUESTED_ADDRESS] = answers[0].yiaddr.to_bytes(4, "big")
            data = request.encode()
        answers += replies(node.handle(e.DhcpReceived("client0", data, 0, 0xFFFFFFFF), now))
    assert [answer.message_type for answer in answers] == [c.OFFER, c.ACK]
    assert answers[0].yiaddr == answers[1].yiaddr
    assert answers[1].options[c.OPT_SUBNET_MASK] == b"\xff\xff\x00\x00"
    asked = Message.decode(requests[1][1]).options[c.OPT_PARAMETER_LIST]
    assert set(answers[1].options) <= set(asked) | {
        c.OPT_MESSAGE_TYPE,
        c.OPT_SERVER_ID,
        c.OPT_LEASE_TIME,
        c.OPT_T1,
        c.OPT_T2,
        c.OPT_SUBNET_MASK,
    }


def test_the_recorded_client_that_moved_is_asked_about_at_the_classic_owner() -> None:
    ((now, data),) = list(client_requests("classic-realm1.pcap"))
    owner = b"\xfe\x80" + bytes(13) + b"\x63"
    node = Node(CONFIG, random.Random(4))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 16, bytes(6))), now)
    node.handle(e.Start(), now)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), b"\xfe\x80" + bytes(13) + b"\x01"), now)
    index = POOL.index_of(0x0A00A1A0)
    claim = SwarmCodec(b"\x8e" + bytes(7), POOL.prefix, POOL.prefix_len, POOL.block_size).update_claim([(index, 20)])
    node.handle(e.SwarmReceived(claim, owner, True), now)
    effects = node.handle(e.DhcpReceived("client0", data, 0, 0xFFFFFFFF), now)
    (ask,) = [effect for effect in effects if isinstance(effect, f.SendUnicast)]
    assert ask.destination == owner
    assert ask.data[14] == 16
    assert ask.data[16:20] == bytes.fromhex("a0a1000a"), "a classic node's byte order"
    answer = ask.data[:14] + b"\x11" + ask.data[15:]
    (ack,) = replies(node.handle(e.SwarmReceived(answer, owner, False), now + 0.01))
    assert (ack.message_type, ack.yiaddr) == (c.ACK, 0x0A00A1A0)
