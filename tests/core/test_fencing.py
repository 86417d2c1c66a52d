"""What a node that was silent, asleep or unheard may still do: nothing that it did not promise (S8, S13)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from test_node import CONFIG, PEER, POOL, STRONGER, claim_of, claimed, hears, lease, message, own_block, sent
from test_orphans import swarm_pool

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.blocks import BlockState
from ddhcp.core.remedies import Remedy
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import SwarmCodec, UpdateClaim


def state(swarm: VirtualSwarm, index: int) -> int:
    return {view.index: view.state for view in swarm.nodes[0].block_views(swarm.now)}.get(index, 0)


def fails_to_send(swarm: VirtualSwarm) -> None:
    """What node 0 just multicast did not leave."""
    swarm.feed(0, e.SendFailed())


WHOLE_POOL = NodeConfig(Pool(0x0A000000, 27, 32), tentative_timeout_s=3, learning_phase=False)  # one block


def test_an_announcement_that_did_not_leave_promises_nothing() -> None:
    swarm = claimed(1, WHOLE_POOL)
    index = own_block(swarm, 0)
    swarm.run_for(12)  # what was said first is on disk, and was heard
    address = lease(swarm, 0)
    fails_to_send(swarm)  # the announcement that raised the promise for this lease
    (view,) = [view for view in swarm.nodes[0].block_views(swarm.now) if view.index == index]
    assert view.timeout_s <= 60, "as if it had never been said"
    (ack,) = swarm.client_sends(0, message(c.REQUEST, ciaddr=address))
    assert (ack.lease_time_s or 0) < 60, "no more than what was heard"
    swarm.run_for(3)
    (ack,) = swarm.client_sends(0, message(c.REQUEST, xid=9, ciaddr=address))
    assert ack.lease_time_s == 300, "the next announcement left, as far as is known"


def until_claimed(swarm: VirtualSwarm, index: int) -> f.SendMulticast:
    """Let time pass until node 0 announces block ``index``; that announcement."""
    pool = swarm_pool(swarm)
    while True:
        swarm.now = max(swarm.now, swarm.nodes[0].deadline() or swarm.now)
        for effect in swarm.feed(0, e.Wake()):
            if isinstance(effect, f.SendMulticast):
                for told in sent([effect], pool):
                    if isinstance(told, UpdateClaim) and any(claim.index == index for claim in told.claims):
                        return effect


def test_a_shorter_promise_counts_at_once_even_if_it_is_in_doubt_whether_it_left() -> None:
    """Free blocks have become few, so a spare one is announced for T; a lease in it must not count on what was said
    before (I2)."""
    swarm = claimed(1, NodeConfig(Pool(0x0A000000, 27, 4), tentative_timeout_s=3, learning_phase=False, spare_leases=1))
    index = own_block(swarm, 0)
    swarm.run_for(12)
    others = [i for i in range(8) if i != index][:5]
    swarm.feed(
        0, e.SwarmReceived(SwarmCodec(bytes(8), 0x0A000000, 27, 4).update_claim([(i, 600) for i in others]), PEER, True)
    )
    until_claimed(swarm, index)
    fails_to_send(swarm)
    (before,) = [view.timeout_s for view in swarm.nodes[0].block_views(swarm.now) if view.index == index]
    until_claimed(swarm, index)
    (promised,) = [view.timeout_s for view in swarm.nodes[0].block_views(swarm.now) if view.index == index]
    assert promised <= 60 < before


def test_another_packet_that_does_not_leave_takes_nothing_back_that_left_long_ago() -> None:
    swarm = claimed(1, WHOLE_POOL)
    address = lease(swarm, 0)
    swarm.run_for(12)
    fails_to_send(swarm)
    (ack,) = swarm.client_sends(0, message(c.REQUEST, ciaddr=address))
    assert ack.lease_time_s == 300


def test_a_first_announcement_that_the_disk_held_up_until_the_link_was_gone_promises_nothing() -> None:
    """Nobody heard of the block; another node may take it."""
    swarm = VirtualSwarm(1, CONFIG, seed=1)
    effects: list[f.Effect] = []
    while not any(isinstance(told, UpdateClaim) for told in sent(effects)):
        swarm.now = swarm.nodes[0].deadline() or swarm.now
        effects = swarm.feed(0, e.Wake())
    assert [effect.durable for effect in effects if isinstance(effect, f.SendMulticast)] == [True]
    index = own_block(swarm, 0)
    swarm.feed(0, e.ServerLinkDown())
    swarm.run_for(3)
    fails_to_send(swarm)
    swarm.feed(0, e.Wake())
    assert state(swarm, index) != BlockState.OURS
    assert not swarm.client_sends(0, message(c.DISCOVER))


def test_a_lease_given_while_the_link_is_away_ends_before_the_promise_by_the_fastest_clock() -> None:
    """Nothing is refreshed, so a clock here that is slow is not made up for (I2)."""
    swarm = claimed(1, WHOLE_POOL)
    address = lease(swarm, 0)
    swarm.feed(0, e.ServerLinkDown())
    (view,) = [view for view in swarm.nodes[0].block_views(swarm.now) if view.state == BlockState.OURS]
    promised_s, promised_until = view.timeout_s, swarm.now + view.timeout_s
    swarm.run_for(promised_s - 200)
    (ack,) = swarm.client_sends(0, message(c.REQUEST, ciaddr=address))
    assert 150 < (ack.lease_time_s or 0) < promised_until - swarm.now - 0.02 * promised_s - 4
    swarm.run_for(178)
    assert swarm.client_sends(0, message(c.DISCOVER, xid=9)) == [], "what it could not lease it does not offer"


def test_own_blocks_stay_this_nodes_when_its_address_changes() -> None:
    swarm = claimed(1)
    swarm.feed(0, e.ServerLinkDown())
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x07\x07", b"\xfe\x80" + bytes(13) + b"\x77"))
    node = swarm.nodes[0]
    assert {view.owner for view in node.block_views(swarm.now) if view.state == BlockState.OURS} == {
        node.view().node_id
    }


def test_what_is_said_of_a_new_block_does_not_leave_before_its_first_announcement() -> None:
    """That waits for the disk; and the last word is believed, which would be the shorter one."""
    swarm = VirtualSwarm(1, replace(CONFIG, lease_time_s=3600), seed=1)
    effects: list[f.Effect] = []
    while not any(isinstance(told, UpdateClaim) for told in sent(effects)):
        swarm.now = swarm.nodes[0].deadline() or swarm.now
        effects = swarm.feed(0, e.Wake())
    swarm.client_sends(0, message(c.DISCOVER))
    swarm._last_xid[message(c.REQUEST).chaddr] = 7
    (offer,) = swarm.answers
    request = message(c.REQUEST, o50=offer.message.yiaddr, o54=0x0A000001).encode()
    effects = swarm.feed(0, e.DhcpReceived("client0", request, 0, 0xFFFFFFFF))
    assert [effect.durable for effect in effects if isinstance(effect, f.SendMulticast)] == [True]


def test_it_is_tried_again_soon_and_then_ever_less_often() -> None:
    swarm = claimed(1)
    attempts: list[float] = []
    for _ in range(1000):
        before = swarm.nodes[0].statistics()["mcast.send_pkg"]
        swarm.run_for(0.05)
        if swarm.nodes[0].statistics()["mcast.send_pkg"] != before:
            attempts.append(swarm.now)
            fails_to_send(swarm)
    gaps = [later - earlier for earlier, later in pairwise(attempts)]
    assert gaps[0] < 2
    assert 3 < len(attempts) < 15
    assert max(gaps) <= 31


def test_a_block_whose_announcements_never_leave_is_fenced_when_the_last_promise_ends() -> None:
    swarm = claimed(1, WHOLE_POOL)
    index = own_block(swarm, 0)
    fails_at = swarm.now
    while swarm.now < fails_at + 61:
        before = swarm.nodes[0].statistics()["mcast.send_pkg"]
        swarm.run_for(0.05)
        if swarm.nodes[0].statistics()["mcast.send_pkg"] != before:
            fails_to_send(swarm)
    assert state(swarm, index) == 3
    assert swarm.client_sends(0, message(c.DISCOVER)) == []


def test_the_announcement_of_a_block_that_was_fenced_waits_for_no_commit() -> None:
    """A renewal that an earlier row covers needs none, and would pass it."""
    swarm = claimed(1)
    lease(swarm, 0)
    swarm.feed(0, e.ServerLinkDown())
    swarm.run_for(800)
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    effects: list[f.Effect] = []
    while not any(isinstance(told, UpdateClaim) for told in sent(effects)):
        swarm.now = swarm.nodes[0].deadline() or swarm.now
        effects = swarm.feed(0, e.Wake())
    assert [effect.durable for effect in effects if isinstance(effect, f.SendMulticast)] == [False]


def test_what_counts_on_an_announcement_that_waits_for_the_disk_waits_too() -> None:
    """A block whose announcement failed is announced anew together with one that is new; a renewal whose row is on disk
    by then would leave before both."""
    pool = Pool(0x0A000000, 20, 2)
    swarm = VirtualSwarm(1, replace(CONFIG, pool=pool, spare_leases=0), seed=1)
    swarm.client_sends(0, message(c.DISCOVER))
    while not swarm.answers:
        swarm.now = swarm.nodes[0].deadline() or swarm.now
        swarm.feed(0, e.Wake())
    address = swarm.answers[0].message.yiaddr
    request = message(c.REQUEST, o50=address, o54=0x0A000001).encode()
    swarm.feed(0, e.DhcpReceived("client0", request, 0, 0xFFFFFFFF))
    for client in range(3, 6):
        swarm.client_sends(0, message(c.DISCOVER, client=client))
    fails_to_send(swarm)
    swarm.run_for(1.2)
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))  # all inquiries start over
    assert until_claimed(swarm, pool.index_of(address)).durable
    renewal = swarm.feed(0, e.DhcpReceived("client0", request, 0, 0xFFFFFFFF))
    assert [effect.after_claim for effect in renewal if isinstance(effect, f.ProlongLease)] > [1]
    swarm.run_for(20)
    renewal = swarm.feed(0, e.DhcpReceived("client0", request, 0, 0xFFFFFFFF))
    assert [effect.after_claim for effect in renewal if isinstance(effect, f.ProlongLease)] == [0]


@pytest.mark.parametrize("first", ["client", "swarm", "wake"])
def test_a_node_that_slept_notices_before_it_answers_anybody(first: str) -> None:
    """Whatever it is that wakes it."""
    swarm = claimed(1)
    address = lease(swarm, 0)
    index = POOL.index_of(address)
    swarm.now += 1000
    if first == "wake":
        swarm.feed(0, e.Wake())
    elif first == "swarm":
        hears(swarm, bytes(8), claim_of(3))
    assert swarm.client_sends(0, message(c.REQUEST, ciaddr=address)) == []
    assert state(swarm, index) == 3
    swarm.run_for(4)
    (ack,) = swarm.client_sends(0, message(c.REQUEST, xid=8, ciaddr=address))
    assert ack.message_type == c.ACK, "nobody objected, so it is ours again"


def test_without_fencing_it_does_not() -> None:
    config = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, without=frozenset({Remedy.FENCING}))
    swarm = claimed(1, config)
    address = lease(swarm, 0)
    swarm.now += 1000
    assert swarm.client_sends(0, message(c.REQUEST, ciaddr=address)) != []


def test_a_node_that_slept_between_inquiries_asks_all_three_again() -> None:
    """An objection may wait unread behind the alarm that woke it."""
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(2.5)
    (view,) = swarm.nodes[0].block_views(swarm.now)
    assert view.claim_count == 3
    swarm.now += 100
    effects = swarm.feed(0, e.Wake())
    assert state(swarm, view.index) == 3, "not ours yet"
    assert any(isinstance(effect, f.SendMulticast) for effect in effects)
    hears(swarm, STRONGER, claim_of(view.index))
    swarm.run_for(5)
    assert state(swarm, view.index) == 2


def test_an_inquiry_that_did_not_leave_does_not_count() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    (view,) = swarm.nodes[0].block_views(swarm.now)
    fails_to_send(swarm)
    swarm.run_for(3.5)
    assert state(swarm, view.index) == 3
    swarm.run_for(1)
    assert state(swarm, view.index) == 4


def test_a_link_that_was_down_between_inquiries_starts_them_over() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(2.5)
    (view,) = swarm.nodes[0].block_views(swarm.now)
    swarm.feed(0, e.ServerLinkDown())
    swarm.run_for(1)
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(2)
    assert state(swarm, view.index) == 3
    swarm.run_for(1.5)
    assert state(swarm, view.index) == 4


def test_a_deaf_rival_is_told_ever_less_often_and_the_block_is_held() -> None:
    """S10: it does not hear us, and claims our block at every refresh. We say so, but not for ever; and we give no new
    lease where it may give one."""
    swarm = claimed(1)
    index = own_block(swarm, 0)
    known = lease(swarm, 0)
    codec = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
    claim = e.SwarmReceived(codec.update_claim([(index, 60)]), PEER, True)
    for _ in range(200):
        swarm.feed(0, claim)
        swarm.run_for(20)
        swarm.client_sends(0, message(c.REQUEST, ciaddr=known))
    objections = swarm.nodes[0].statistics()["swarm.disputes_won"]
    assert 5 < objections < 20, "200 claims of the rival"
    assert state(swarm, index) == 4
    assert swarm.answers[-1].message.message_type == c.ACK, "whoever has a lease keeps it"
    for client in range(2, 12):
        for offer in swarm.client_sends(0, message(c.DISCOVER, client, o50=known + 1)):
            assert POOL.index_of(offer.yiaddr) != index
