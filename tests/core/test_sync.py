"""A newcomer learns who owns what within seconds, at a cost that does not grow with the square of the newcomers."""

from __future__ import annotations

import pytest
from test_node import lease

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.core.remedies import Remedy
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import SwarmCodec

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
STRANGER = b"\xfe\x80" + bytes(13) + b"\x99"


def owned(swarm: VirtualSwarm, numbers: range) -> set[int]:
    return {v.index for number in numbers for v in swarm.nodes[number].block_views(swarm.now) if v.state == 4}


def known(swarm: VirtualSwarm, number: int) -> set[int]:
    return {v.index for v in swarm.nodes[number].block_views(swarm.now) if v.state == 2}


def link_down(swarm: VirtualSwarm, number: int) -> None:
    swarm.cut = lambda sender, receiver: number in (sender, receiver)
    swarm.feed(number, e.ServerLinkDown())


def link_up(swarm: VirtualSwarm, number: int) -> None:
    swarm.cut = lambda sender, receiver: False
    swarm.feed(number, e.ServerLinkUp(b"\x02\0\0\0\x01" + bytes((number,)), swarm.addresses[number]))


def packets(swarm: VirtualSwarm) -> int:
    return sum(node.statistics()["mcast.send_pkg"] for node in swarm.nodes)


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_node_whose_link_returns_knows_all_owners_within_seconds(loss: float) -> None:
    swarm = VirtualSwarm(10, CONFIG, seed=3)
    link_down(swarm, 9)
    swarm.run_for(100)
    others = owned(swarm, range(9))
    assert len(others) == 9
    assert known(swarm, 9) == set(), "what it knew has lapsed"
    swarm.loss = loss
    link_up(swarm, 9)
    swarm.run_for(12 if loss else 3)
    assert known(swarm, 9) >= others


def test_without_the_remedy_it_waits_for_the_refreshes() -> None:
    swarm = VirtualSwarm(
        10, NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, without=frozenset({Remedy.SYNC}))
    )
    link_down(swarm, 9)
    swarm.run_for(100)
    others = owned(swarm, range(9))
    link_up(swarm, 9)
    swarm.run_for(3)
    assert not known(swarm, 9) >= others


def test_many_newcomers_at_once_cost_a_few_packets_each() -> None:
    """Mass reboot of half of a swarm: not newcomers times owners."""
    count = 40
    swarm = VirtualSwarm(count, CONFIG, seed=1)
    swarm.run_for(60)
    before = packets(swarm)
    for number in range(20):
        swarm.feed(number, e.ServerLinkUp(b"\x02\0\0\0\x01" + bytes((number,)), swarm.addresses[number]))
    swarm.run_for(15)
    assert packets(swarm) - before < 7 * count
    questions = sum(node.statistics().get("mcast.send_sync", 0) for node in swarm.nodes[:20])
    assert questions < 6 * 20


def test_a_flood_of_questions_is_answered_at_a_bounded_rate() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(10)
    question = SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size).inquire(())
    before = swarm.nodes[0].statistics()["mcast.send_updateclaim"]
    for _ in range(1000):
        swarm.feed(0, e.SwarmReceived(question, STRANGER, True))
        swarm.run_for(0.01)
    answers = swarm.nodes[0].statistics()["mcast.send_updateclaim"] - before
    assert 3 <= answers <= 6, "one in two seconds"


@pytest.mark.parametrize("is_newcomer", [False, True])
def test_a_node_without_blocks_says_that_it_is_there_unless_it_is_new_itself(is_newcomer: bool) -> None:
    config = NodeConfig(POOL, tentative_timeout_s=3, serves_clients=False, learning_phase=is_newcomer)
    swarm = VirtualSwarm(1, config)
    question = SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size).inquire(())
    swarm.run_for(15)
    before = swarm.nodes[0].statistics().get("mcast.send_hello", 0)
    for _ in range(3):
        swarm.feed(0, e.SwarmReceived(question, STRANGER, True))
    swarm.run_for(1)
    assert swarm.nodes[0].statistics()["mcast.send_hello"] - before == (0 if is_newcomer else 1)


def test_a_healed_link_is_noticed_by_a_claim_that_had_lapsed() -> None:
    """Both sides ask, because the first one heard is hardly the only one that was away."""
    swarm = VirtualSwarm(6, CONFIG, seed=5)
    swarm.run_for(30)
    swarm.cut = lambda sender, receiver: (sender < 3) != (receiver < 3)
    swarm.run_for(120)
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(25)
    for number in range(6):
        assert known(swarm, number) == owned(swarm, range(6)) - owned(swarm, range(number, number + 1))


OTHER_STRANGER = STRANGER[:-1] + b"\x98"


def hear_again(swarm: VirtualSwarm, *sources: bytes, question: bytes = b"") -> bool:
    """Owners whose claims had lapsed are heard again; whether node 0 asks everybody then. ``question``: what somebody
    says before that."""
    claims = [
        (SwarmCodec(source[-8:], POOL.prefix, POOL.prefix_len, POOL.block_size).update_claim([(70 + n, 60)]), source)
        for n, source in enumerate((STRANGER, OTHER_STRANGER))
    ]
    for claim, source in claims:
        swarm.feed(0, e.SwarmReceived(claim, source, True))
    swarm.run_for(100)
    before = swarm.nodes[0].statistics().get("mcast.send_sync", 0)
    if question:
        swarm.feed(0, e.SwarmReceived(question, STRANGER, True))
        swarm.run_for(5)
    for claim, source in claims:
        if source in sources:
            swarm.feed(0, e.SwarmReceived(claim, source, True))
    swarm.run_for(5)
    return swarm.nodes[0].statistics().get("mcast.send_sync", 0) > before


def test_one_owner_that_was_missed_for_long_is_no_reason_to_ask_everybody() -> None:
    """In a large swarm with some loss that happens to one node or another all the time (I8)."""
    swarm = VirtualSwarm(3, CONFIG)
    swarm.run_for(60)
    assert not hear_again(swarm, STRANGER)
    assert hear_again(swarm, STRANGER, OTHER_STRANGER), "but two were cut off"


@pytest.mark.parametrize(("returning", "asks"), [(3, False), (4, True)])
def test_a_few_owners_of_many_that_were_missed_for_long_are_no_reason_to_ask_everybody(
    returning: int, asks: bool
) -> None:
    """At high loss that happens to a few of hundreds within a minute, and each time all would announce."""
    pool = Pool(0x0A000000, 16, 32)
    swarm = VirtualSwarm(1, NodeConfig(pool, tentative_timeout_s=3, learning_phase=False))
    swarm.run_for(60)
    heard = []
    for owner in range(150):
        node_id = owner.to_bytes(8, "big")
        claim = SwarmCodec(node_id, pool.prefix, pool.prefix_len, pool.block_size).update_claim([(1000 + owner, 60)])
        heard.append(e.SwarmReceived(claim, b"\xfe\x80" + bytes(6) + node_id, True))
    for event in heard:
        swarm.feed(0, event)
    swarm.run_for(100)
    before = swarm.nodes[0].statistics().get("mcast.send_sync", 0)
    for event in heard[:returning]:
        swarm.feed(0, event)
    swarm.run_for(5)
    assert (swarm.nodes[0].statistics().get("mcast.send_sync", 0) > before) is asks


def test_what_another_node_asked_is_not_asked_again() -> None:
    """The answers were for all: many owners that return one after the other do not have all speak for each."""
    swarm = VirtualSwarm(3, CONFIG)
    swarm.run_for(60)
    question = SwarmCodec(b"\x77" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size).inquire(())
    assert not hear_again(swarm, STRANGER, OTHER_STRANGER, question=question)


def test_refreshes_come_often_enough_for_classic_newcomers_while_classic_nodes_are_about() -> None:
    """A classic node learns for T only. Peers of ours ask, so that among them blocks with leases are told rarely."""
    swarm = VirtualSwarm(1, NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False))
    swarm.run_for(65)
    lease(swarm, 0)
    node = swarm.nodes[0]
    claim = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size).update_claim([(90, 60)])
    gaps: list[float] = []
    last, sent = swarm.now, node.statistics()["mcast.send_updateclaim"]
    for step in range(600):
        if step % 15 == 0:
            swarm.feed(0, e.SwarmReceived(claim, STRANGER, True))
        swarm.run_for(1)
        now_sent = node.statistics()["mcast.send_updateclaim"]
        if now_sent != sent:
            gaps.append(swarm.now - last)
            last, sent = swarm.now, now_sent
    assert max(gaps) <= 60 / 2.4 + 1


@pytest.mark.parametrize(("silent_s", "asks"), [(10.0, True), (500.0, False)])
def test_a_block_of_a_silent_owner_that_another_node_adopts_is_no_sign_of_a_healed_link(
    silent_s: float, asks: bool
) -> None:
    """Else each adoption would have every node speak three times."""
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(60)
    heard = []
    for sender, wait_s in ((b"\x98", silent_s), (b"\x99", 10.0)):
        codec = SwarmCodec(sender * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
        data = codec.update_claim([(3, 700)])
        swarm.feed(0, e.SwarmReceived(data, b"\xfe\x80" + bytes(13) + sender, True))
        before = swarm.nodes[0].statistics().get("mcast.send_sync", 0)
        swarm.run_for(wait_s)
        heard.append(swarm.nodes[0].statistics().get("mcast.send_sync", 0) - before)
    assert bool(heard[1]) is asks
