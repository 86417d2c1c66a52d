"""Leases known to other nodes: replication, and what it is for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.remedies import Remedy
from ddhcp.core.replicas import Replicas
from ddhcp.core.replication import Replication
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import Extension, Hello, Replicate, Section, SwarmCodec, decode, read_extension

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
SERVER_ID = 0x0A000001
LEASE_S = CONFIG.lease_time_s


def chaddr(number: int) -> bytes:
    return (b"\x02\0\0\0" + number.to_bytes(2, "big")).ljust(16, b"\0")


def message(kind: int, client: int = 1, xid: int = 7, *, ciaddr: int = 0, **options: int) -> Message:
    encoded = {int(name[1:]): value.to_bytes(4, "big") for name, value in options.items()}
    return Message(
        xid=xid, chaddr=chaddr(client), ciaddr=ciaddr, options={c.OPT_MESSAGE_TYPE: bytes((kind,))} | encoded
    )


def claimed(count: int, config: NodeConfig = CONFIG, **faults: float) -> VirtualSwarm:
    swarm = VirtualSwarm(count, config, **faults)
    swarm.run_for(config.tentative_timeout_s + 1)
    return swarm


def lease(swarm: VirtualSwarm, node: int, client: int = 1) -> int:
    (offer,) = swarm.client_sends(node, message(c.DISCOVER, client))
    (ack,) = swarm.client_sends(node, message(c.REQUEST, client, o50=offer.yiaddr, o54=SERVER_ID))
    assert (ack.message_type, ack.yiaddr) == (c.ACK, offer.yiaddr)
    return ack.yiaddr


def replicas(swarm: VirtualSwarm, node: int) -> Replicas:
    return swarm.nodes[node]._extensions.replicas


def replication(swarm: VirtualSwarm, node: int) -> Replication:
    return swarm.nodes[node]._extensions.replication


def holders(swarm: VirtualSwarm, index: int) -> list[int]:
    """The nodes with a complete replica of a block."""
    return [number for number in range(len(swarm.nodes)) if replicas(swarm, number).is_complete(index)]


def last(swarm: VirtualSwarm) -> tuple[int, int | None, int]:
    answer = swarm.answers[-1]
    return answer.node, answer.message.message_type, answer.message.yiaddr


def crash(swarm: VirtualSwarm, number: int) -> None:
    """The node is silent from now on, without having said goodbye."""
    swarm.stopped.add(number)


def restart(swarm: VirtualSwarm, number: int, config: NodeConfig = CONFIG) -> None:
    """The node starts anew with nothing in its store."""
    swarm.nodes[number] = Node(config, swarm.rng)
    swarm.stopped.discard(number)
    swarm.feed(number, e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, b"\x02\0\0\0\0\x01")))
    swarm.feed(number, e.Start())
    swarm.feed(number, e.ServerLinkUp(b"\x02\0\0\0\x01" + bytes((number,)), swarm.addresses[number]))


def sent_kinds(swarm: VirtualSwarm) -> Counter[str]:
    """How many messages of each kind all nodes have sent."""
    total: Counter[str] = Counter()
    for node in swarm.nodes:
        total.update(
            {k: v for k, v in node.statistics().items() if ".send_" in k and "pkg" not in k and "byte" not in k}
        )
    return total


# -- who keeps what ------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "wanted"), [(0, 0), (1, 1), (2, 2), (9, 4)])
def test_a_lease_is_known_to_k_peers_as_soon_as_it_is_given(count: int, wanted: int) -> None:
    config = replace(CONFIG, replicas=count)
    swarm = claimed(5, config)
    address = lease(swarm, 0)
    swarm.run_for(0.1)
    index = POOL.index_of(address)
    keeping = holders(swarm, index)
    assert len(keeping) == wanted
    assert 0 not in keeping
    for number in keeping:
        (known,) = replicas(swarm, number).of_block(index)
        assert (known.address, known.chaddr, known.state) == (address, chaddr(1), "leased")
        assert known.expires_at == pytest.approx(swarm.now + config.lease_time_s, abs=7)
        assert replicas(swarm, number).of_client(known.identity, known.chaddr) == known


def test_switched_off_nothing_is_sent_and_nothing_kept() -> None:
    swarm = claimed(3, replace(CONFIG, without=frozenset({Remedy.REPLICATION})))
    index = POOL.index_of(lease(swarm, 0))
    swarm.run_for(1)
    assert holders(swarm, index) == []
    assert sent_kinds(swarm)["direct.send_replicate"] == 0


def test_nothing_is_sent_while_no_lease_changes() -> None:
    swarm = claimed(4)
    for client in range(1, 20):
        lease(swarm, client % 4, client)
    swarm.run_for(5)
    before = sent_kinds(swarm)
    swarm.run_for(100)
    sent = sent_kinds(swarm) - before
    assert set(sent) == {"mcast.send_updateclaim"}


def test_renewals_share_a_message() -> None:
    swarm = claimed(3)
    addresses = [lease(swarm, 0, client) for client in range(1, 11)]
    swarm.run_for(5)
    before = sent_kinds(swarm)["direct.send_replicate"]
    for client, address in enumerate(addresses, 1):
        swarm.client_sends(0, message(c.REQUEST, client, 50, ciaddr=address))
    swarm.run_for(3)
    assert sent_kinds(swarm)["direct.send_replicate"] - before == 2  # one to each replica
    for number in holders(swarm, POOL.index_of(addresses[0])):
        ends = [known.expires_at for known in replicas(swarm, number).of_block(POOL.index_of(addresses[0]))]
        assert min(ends) > swarm.now + CONFIG.lease_time_s - 5


def test_what_ended_is_forgotten_and_what_was_declined_is_known() -> None:
    swarm = claimed(3)
    released, declined = lease(swarm, 0, 1), lease(swarm, 0, 2)
    index = POOL.index_of(released)
    swarm.client_sends(0, message(c.RELEASE, 1, ciaddr=released, o54=SERVER_ID))
    swarm.client_sends(0, message(c.DECLINE, 2, o50=declined, o54=SERVER_ID))
    swarm.run_for(1)
    assert holders(swarm, index) == [1, 2]
    for number in (1, 2):
        assert {known.address: known.state for known in replicas(swarm, number).of_block(index)} == {
            declined: "declined"
        }


def test_a_block_too_large_for_one_message_arrives_whole() -> None:
    config = NodeConfig(Pool(0x0A000000, 20, 128), tentative_timeout_s=3, learning_phase=False, replicas=0)
    swarm = claimed(2, config)
    for client in range(1, 110):
        lease(swarm, 0, client)
    index = config.pool.index_of(0x0A000000)
    swarm.nodes[0]._context.config = replace(config, replicas=1)
    restart(swarm, 1, config)
    swarm.run_for(3)
    ours = Counter(config.pool.index_of(x.address) for x in swarm.nodes[0].leases())
    assert sum(ours.values()) == 109
    for index, count in ours.items():
        assert replicas(swarm, 1).is_complete(index)
        assert len(list(replicas(swarm, 1).of_block(index))) == count


# -- change --------------------------------------------------------------------------------------


def test_a_replica_that_starts_anew_is_told_everything_again() -> None:
    swarm = claimed(2)
    addresses = {lease(swarm, 0, client) for client in range(1, 6)}
    swarm.run_for(1)
    crash(swarm, 1)
    swarm.run_for(5)
    restart(swarm, 1)
    swarm.run_for(1)
    index = POOL.index_of(min(addresses))
    assert holders(swarm, index) == [1]
    assert {known.address for known in replicas(swarm, 1).of_block(index)} == addresses


def test_another_peer_takes_the_place_of_a_silent_one_and_it_is_taken_back() -> None:
    swarm = claimed(4)
    address = lease(swarm, 0)
    index = POOL.index_of(address)
    swarm.run_for(1)
    before = holders(swarm, index)
    gone = before[0]
    crash(swarm, gone)
    lease(swarm, 0, 2)
    swarm.run_for(15)
    after = [number for number in holders(swarm, index) if number != gone]
    assert len(after) == 2
    restart(swarm, gone)
    swarm.run_for(5)
    assert holders(swarm, index) == before  # and the one that stood in has forgotten


def test_an_owner_that_starts_anew_tells_everything_again() -> None:
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.run_for(1)
    stored = swarm.nodes[0].leases()
    index = POOL.index_of(address)
    promised_until = swarm.now + 600
    swarm.nodes[0] = Node(CONFIG, swarm.rng)
    swarm.feed(0, e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, b"\x02\0\0\0\0\x01")))
    from ddhcp.core.records import StoredBlock

    swarm.feed(0, e.Start((StoredBlock(index, promised_until),), tuple(stored)))
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    assert not replicas(swarm, 1).is_complete(index) or swarm.now  # it is told in the same instant or after
    swarm.run_for(1)
    assert holders(swarm, index) == [1]
    lease(swarm, 0, 2)
    swarm.run_for(1)
    assert len(list(replicas(swarm, 1).of_block(index))) == 2


def test_a_block_that_changes_hands_is_replicated_by_its_new_owner() -> None:
    swarm = claimed(4)
    address = lease(swarm, 0)
    index = POOL.index_of(address)
    swarm.run_for(1)
    swarm.feed(0, e.Stop())
    swarm.run_for(10)  # the node that stopped may be tried first
    assert 0 in swarm.stopped
    (owner,) = [
        n for n in (1, 2, 3) if index in [b.index for b in swarm.nodes[n].block_views(swarm.now) if b.state == 4]
    ]
    assert set(holders(swarm, index)) == {1, 2, 3} - {owner}
    for number in holders(swarm, index):
        assert [known.address for known in replicas(swarm, number).of_block(index)] == [address]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.4), st.floats(0, 0.5))
def test_replicas_agree_with_the_owner_whatever_is_lost_doubled_or_late(
    seed: int, loss: float, jitter_s: float
) -> None:
    swarm = claimed(4, seed=seed)
    swarm.loss, swarm.jitter_s = loss, jitter_s
    held: dict[int, int] = {}
    for step in range(40):
        client = swarm.rng.randrange(1, 12)
        if client in held and swarm.rng.random() < 0.4:
            swarm.client_sends(0, message(c.RELEASE, client, 100 + step, ciaddr=held.pop(client), o54=SERVER_ID))
        else:
            held[client] = lease(swarm, 0, client)
        swarm.run_for(swarm.rng.random())
    swarm.loss = 0.0
    swarm.run_for(90)  # enough to find a peer again that was taken for gone
    for client, address in held.items():  # what ended meanwhile is out of the way
        swarm.client_sends(0, message(c.REQUEST, client, 99, ciaddr=address))
    swarm.run_for(5)
    owner = {x.address: x.chaddr for x in swarm.nodes[0].leases() if x.state in ("leased", "kept")}
    index = POOL.index_of(next(iter(owner)))
    keeping = holders(swarm, index)
    assert len(keeping) >= 2
    for number in keeping:
        assert {x.address: x.chaddr for x in replicas(swarm, number).of_block(index)} == owner


# -- what comes from outside ---------------------------------------------------------------------


def told_to(node: Node, section: Section, source: bytes, now: float) -> list[object]:
    codec = SwarmCodec(b"\x09" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    effects = node.handle(e.SwarmReceived(codec.write(Replicate((section,))), source, False), now)
    answers: list[object] = []
    for effect in effects:
        if isinstance(effect, f.SendUnicast):
            extension = decode(effect.data)[1]
            assert isinstance(extension, Extension)
            answer = read_extension(extension)
            if not isinstance(answer, Hello):  # the node asks who that is besides
                answers.append(answer)
    return answers


def test_a_replica_takes_news_in_their_order_only() -> None:
    from ddhcp.swarm import LEASE_LEASED, LeaseRecord, Progress, ReplicateAck

    swarm = claimed(1)
    node, now, source = swarm.nodes[0], swarm.now, b"\xfe\x80" + bytes(13) + b"\x77"
    index = 99
    first = POOL.first_address(index)

    def section(sequence: int, offset: int, *, stream: int = 5, **flags: bool) -> Section:
        record = LeaseRecord(first + offset, LEASE_LEASED, 300, 0, 0, chaddr(offset), b"\1\1" + bytes((offset,)))
        return Section(index, stream, sequence, (record,), is_reset=sequence == 1, **flags)

    def progress(sequence: int, **flags: bool) -> list[object]:
        return [ReplicateAck((Progress(index, 5, sequence, **flags),))]

    assert told_to(node, section(2, 2), source, now) == progress(0, is_unknown=True)
    assert told_to(node, section(1, 1, has_more=True), source, now) == progress(1)
    assert not replicas(swarm, 0).is_complete(index)
    assert told_to(node, section(2, 2), source, now) == progress(2)
    assert replicas(swarm, 0).is_complete(index)
    assert told_to(node, section(1, 1), source, now) == progress(2)  # late: not taken for a new beginning
    assert told_to(node, section(4, 4), source, now) == progress(2, is_unknown=True)
    assert {known.address - first for known in replicas(swarm, 0).of_block(index)} == {1, 2}
    told_to(node, section(0, 0, is_dropped=True), source, now)
    assert list(replicas(swarm, 0).of_block(index)) == []


def test_leases_outside_the_block_are_not_taken_and_our_own_block_is_refused() -> None:
    from ddhcp.swarm import LEASE_LEASED, LeaseRecord, ReplicateAck

    swarm = claimed(1)
    source = b"\xfe\x80" + bytes(13) + b"\x77"
    (ours,) = [view.index for view in swarm.nodes[0].block_views(swarm.now) if view.state == 4]
    stray = LeaseRecord(POOL.first_address(50), LEASE_LEASED, 300, 0, 0, chaddr(1), b"\1\1x")
    told_to(swarm.nodes[0], Section(60, 1, 1, (stray,), is_reset=True), source, swarm.now)
    assert list(replicas(swarm, 0).of_block(60)) == []
    (answer,) = told_to(swarm.nodes[0], Section(ours, 1, 1, (), is_reset=True), source, swarm.now)
    assert isinstance(answer, ReplicateAck)
    assert answer.blocks[0].is_refused
    (answer,) = told_to(swarm.nodes[0], Section(10**6, 1, 1, (), is_reset=True), source, swarm.now)
    assert isinstance(answer, ReplicateAck)
    assert answer.blocks[0].is_refused


def test_a_block_that_everybody_refuses_is_kept_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No exception, and nobody is asked for ever (I10)."""
    monkeypatch.setattr("ddhcp.core.replicas.MAX_REPLICA_LEASES", -1)
    swarm = claimed(12)
    first = lease(swarm, 0)
    swarm.run_for(30)
    assert POOL.index_of(lease(swarm, 0, client=2)) == POOL.index_of(first)
    swarm.run_for(30)
    assert len(replication(swarm, 0).targets(POOL.index_of(first))) < CONFIG.replicas


def test_memory_for_replicas_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddhcp.swarm import LEASE_LEASED, LeaseRecord, ReplicateAck

    monkeypatch.setattr("ddhcp.core.replicas.MAX_REPLICA_LEASES", 64)
    swarm = claimed(1)
    source = b"\xfe\x80" + bytes(13) + b"\x77"
    refused = 0
    for index in range(20, 40):
        first = POOL.first_address(index)
        records = tuple(
            LeaseRecord(first + n, LEASE_LEASED, 300, 0, 0, chaddr(index * 32 + n), b"\1" + bytes((index, n)))
            for n in range(20)
        )
        (answer,) = told_to(swarm.nodes[0], Section(index, 1, 1, records, is_reset=True), source, swarm.now)
        assert isinstance(answer, ReplicateAck)
        refused += answer.blocks[0].is_refused
    assert len(replicas(swarm, 0)) <= 64
    assert refused == 17


# -- before the acknowledgement --------------------------------------------------------------------


def requested(swarm: VirtualSwarm, client: int = 1) -> int:
    """A client asks for the address it is offered; the answer may be on its way."""
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, client))
    assert swarm.client_sends(0, message(c.REQUEST, client, o50=offer.yiaddr, o54=SERVER_ID)) == []
    return offer.yiaddr


def is_acked(swarm: VirtualSwarm, address: int) -> bool:
    return any(a.message.message_type == c.ACK and a.message.yiaddr == address for a in swarm.answers)


CAREFUL = replace(CONFIG, replicas_before_ack=1)


def test_an_ack_waits_for_a_replica_that_knows_the_lease() -> None:
    """M6."""
    swarm = claimed(3, CAREFUL)
    address = requested(swarm)
    swarm.run_for(0.005)
    assert last(swarm) == (0, c.ACK, address)
    assert holders(swarm, POOL.index_of(address))
    swarm.run_for(5)
    assert swarm.client_sends(0, message(c.REQUEST, 1, 9, ciaddr=address)) == []  # a renewal waits as well
    swarm.run_for(0.005)
    assert last(swarm) == (0, c.ACK, address)
    assert "swarm.acks_unreplicated" not in swarm.nodes[0].statistics()


def test_one_repetition_is_waited_for_and_no_longer() -> None:
    swarm = claimed(3, CAREFUL)
    lease_before = requested(swarm, 1)
    swarm.run_for(1)
    swarm.cut = lambda sender, receiver: True
    address = requested(swarm, 2)
    assert address != lease_before
    swarm.run_for(0.59)
    assert not is_acked(swarm, address)
    swarm.run_for(0.02)
    assert is_acked(swarm, address)
    assert swarm.nodes[0].statistics()["swarm.acks_unreplicated"] == 1


def test_a_node_alone_does_not_wait() -> None:
    swarm = claimed(1, CAREFUL)
    lease(swarm, 0)


def test_stopping_answers_those_who_wait() -> None:
    swarm = claimed(2, CAREFUL)
    requested(swarm, 1)
    swarm.run_for(1)
    swarm.cut = lambda sender, receiver: True
    address = requested(swarm, 2)
    swarm.feed(0, e.Stop())
    assert last(swarm) == (0, c.ACK, address)


def test_a_killed_owners_last_lease_is_known_if_it_was_acknowledged() -> None:
    for seed in range(10):
        swarm = claimed(3, CAREFUL, seed=seed)
        requested(swarm, 1)
        swarm.run_for(2)
        swarm.loss = 0.5
        address = requested(swarm, 2)
        while not is_acked(swarm, address):
            swarm.run_for(0.001)
        crash(swarm, 0)
        if "swarm.acks_unreplicated" in swarm.nodes[0].statistics():
            continue
        known = [n for n in (1, 2) if replicas(swarm, n).at(address) is not None]
        assert known


def replicates(effects: list[f.Effect]) -> list[f.SendUnicast]:
    """The REPLICATE messages among these effects."""
    sent = [effect for effect in effects if isinstance(effect, f.SendUnicast)]
    codec = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
    told = [(effect, codec.decode(effect.data)[1]) for effect in sent]
    return [
        effect for effect, text in told if isinstance(text, Extension) and isinstance(read_extension(text), Replicate)
    ]


def test_a_replica_is_told_of_a_new_lease_when_it_is_on_disk_and_before_its_client() -> None:
    """Else a replica could grant the lease again in the place of an owner that ended before its commit, and that would
    come back without knowing it."""
    swarm = claimed(2)
    (offer,) = swarm.client_sends(0, message(c.DISCOVER))
    request = message(c.REQUEST, o50=offer.yiaddr, o54=SERVER_ID)
    effects = swarm.feed(0, e.DhcpReceived("client0", request.encode(), 0, 0xFFFFFFFF))
    (told,) = replicates(effects)
    (row,) = [effect for effect in effects if isinstance(effect, f.SaveLease)]
    (ack,) = [effect for effect in effects if isinstance(effect, f.SendDhcp)]
    assert told.durable
    assert effects.index(row) < effects.index(told) < effects.index(ack)


def test_a_lease_of_a_client_that_comes_back_when_all_had_ended_is_a_new_one() -> None:
    """Its address was anybody's meanwhile, and the block announced for less: a replica is told when it is on disk, and
    after the swarm was."""
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.run_for(LEASE_S + swarm.nodes[0]._context.keep_s + 60)
    (state,) = (known.state for known in swarm.nodes[0].leases() if known.address == address)
    assert state == "expired"
    request = message(c.REQUEST, xid=9, o50=address)
    effects = swarm.feed(0, e.DhcpReceived("client0", request.encode(), 0, 0xFFFFFFFF))
    (told,) = replicates(effects)
    assert told.durable


def test_a_renewal_is_told_whether_or_not_the_disk_works() -> None:
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.run_for(100)
    renewal = message(c.REQUEST, xid=9, ciaddr=address)
    effects = swarm.feed(0, e.DhcpReceived("client0", renewal.encode(), address, SERVER_ID))
    while not replicates(effects):
        swarm.now = swarm.nodes[0].deadline() or swarm.now
        effects = swarm.feed(0, e.Wake())
    assert not any(effect.durable for effect in replicates(effects))
