"""Blocks whose owner fell silent: closed while leases may run in them, kept by one survivor, free again in the end."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from test_node import PEER, claim_of, lease, message, own_block, sent

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.blocks import BlockEvent
from ddhcp.core.hello import CAPABILITIES
from ddhcp.core.records import StoredLease, StoredPeer
from ddhcp.core.remedies import Remedy
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import HeardClaim, Hearsay, Hello, LeaseMessage, SwarmCodec, UpdateClaim, decode
from ddhcp.swarm import constants as sc

POOL = Pool(0x0A000000, 20, 32)
CLASSIC_ID = b"\x01" * 8
BLOCK = 77
ADDRESS = POOL.first_address(BLOCK) + 9
LEASE_S = 300


def swarm_of(count: int, *without: Remedy, pool: Pool = POOL) -> VirtualSwarm:
    config = NodeConfig(pool, tentative_timeout_s=3, learning_phase=False, without=frozenset(without))
    swarm = VirtualSwarm(count, config, seed=4)
    swarm.run_for(100)
    return swarm


def all_hear(swarm: VirtualSwarm, data: bytes, source: bytes = PEER) -> None:
    for number in range(len(swarm.nodes)):
        if number not in swarm.stopped:
            swarm.feed(number, e.SwarmReceived(data, source, True))


def classic_claims(swarm: VirtualSwarm, timeout_s: int = 60, index: int = BLOCK) -> None:
    codec = SwarmCodec(CLASSIC_ID, swarm_pool(swarm).prefix, swarm_pool(swarm).prefix_len, swarm_pool(swarm).block_size)
    all_hear(swarm, codec.update_claim([(index, timeout_s)]))


def swarm_pool(swarm: VirtualSwarm) -> Pool:
    view = swarm.nodes[0].view()
    return Pool(view.prefix, view.prefix_len, view.block_size)


def states(swarm: VirtualSwarm, index: int = BLOCK) -> list[int]:
    """The state of a block at each node, 0 if it is free."""
    return [
        next((v.state for v in node.block_views(swarm.now) if v.index == index), 0)
        for number, node in enumerate(swarm.nodes)
        if number not in swarm.stopped
    ]


def test_a_lapsed_claim_leaves_the_block_closed_until_the_last_lease_has_ended() -> None:
    """S1: a classic owner announces T, far less than its leases run; its last one began just before it fell silent."""
    swarm = swarm_of(2, Remedy.GUARDIAN)
    classic_claims(swarm)
    died_at = swarm.now
    swarm.run_for(61)
    assert states(swarm) == [1, 1], "closed, and to classic tools not to be had yet"
    assert swarm.nodes[0].statistics()["ddhcp.blocks.orphan"] == 1
    swarm.run_until(died_at + 60 / 4 + LEASE_S)
    assert states(swarm) == [1, 1]
    swarm.run_until(died_at + 60 / 2.4 + LEASE_S + 6)
    assert states(swarm) == [0, 0], "no block is lost for good (invariant I7)"


def test_a_claim_that_outlasts_the_leases_leaves_nothing_to_wait_for() -> None:
    """A node of ours announces a block with leases for 2 L + 100."""
    swarm = swarm_of(2)
    classic_claims(swarm, 2 * LEASE_S + 100)
    swarm.run_for(2 * LEASE_S + 101)
    assert states(swarm) == [0, 0]


def test_without_quarantine_the_block_is_free_at_once() -> None:
    swarm = swarm_of(2, Remedy.QUARANTINE)
    classic_claims(swarm)
    swarm.run_for(61)
    assert states(swarm) == [0, 0]


def test_a_full_pool_does_not_tempt_anybody_to_use_an_orphan() -> None:
    swarm = swarm_of(1, Remedy.GUARDIAN, pool=Pool(0x0A000000, 28, 4))
    for index in range(4):
        if index not in {v.index for v in swarm.nodes[0].block_views(swarm.now)}:
            classic_claims(swarm, index=index)
    swarm.run_for(61)
    for client in range(1, 9):
        swarm.client_sends(0, message(c.DISCOVER, client))
    swarm.run_for(60)
    assert swarm.nodes[0].statistics()["ddhcp.blocks.ours"] == 1


def test_given_up_by_its_owner_it_is_free_at_once() -> None:
    swarm = swarm_of(2, Remedy.GUARDIAN)
    classic_claims(swarm)
    swarm.run_for(61)
    classic_claims(swarm, 0)
    assert states(swarm) == [0, 0]


def test_one_survivor_adopts_it_and_renews_what_it_does_not_know() -> None:
    swarm = swarm_of(5)
    classic_claims(swarm)
    swarm.run_for(75)
    assert sorted(states(swarm)) == [2, 2, 2, 2, 4], "newcomers and classic nodes see it taken (S12)"
    guardian = states(swarm).index(4)
    for number in range(5):
        swarm.client_sends(number, message(c.REQUEST, client=number + 1, xid=number, ciaddr=ADDRESS + number))
        swarm.run_for(1)
        assert (swarm.answers[-1].message.message_type, swarm.answers[-1].node) == (c.ACK, number)
    assert swarm.nodes[guardian].statistics()["ddhcp.blocks.held"] == 1


def test_a_held_block_gives_nothing_to_clients_that_have_no_lease_in_it() -> None:
    swarm = swarm_of(1)
    classic_claims(swarm)
    swarm.run_for(75)
    assert states(swarm) == [4]
    for client in range(1, 60):
        (offer,) = swarm.client_sends(0, message(c.DISCOVER, client, o50=ADDRESS)) or [None]
        if offer is not None:
            assert POOL.index_of(offer.yiaddr) != BLOCK
    (nak,) = swarm.client_sends(0, message(c.REQUEST, 99, o50=ADDRESS, o54=0x0A000001))
    assert nak.message_type == c.NAK, "it never was offered this one"


def test_an_adopted_block_is_used_or_given_up_in_the_end() -> None:
    swarm = swarm_of(2)
    classic_claims(swarm)
    swarm.run_for(LEASE_S + 60)
    assert swarm.nodes[states(swarm).index(4)].statistics()["ddhcp.blocks.held"] == 0
    swarm.run_for(400)
    ours = [[v.index for v in node.block_views(swarm.now) if v.state == 4] for node in swarm.nodes]
    assert [len(blocks) for blocks in ours] == [1, 1]


def test_a_client_that_renews_in_an_orphan_keeps_its_address_without_waiting_for_the_guardians_turn() -> None:
    swarm = swarm_of(4)
    classic_claims(swarm)
    swarm.run_for(60.01)
    swarm.client_sends(2, message(c.REQUEST, xid=50, o50=ADDRESS))
    swarm.run_for(0.5)
    (ack,) = [answer for answer in swarm.answers if answer.message.xid == 50]
    assert (ack.node, ack.message.message_type, ack.message.yiaddr) == (2, c.ACK, ADDRESS)
    swarm.run_for(30)
    assert states(swarm) == [2, 2, 4, 2]


def test_an_owner_that_is_alive_after_all_objects() -> None:
    swarm = swarm_of(3)
    classic_claims(swarm)
    swarm.run_for(61.5)
    assert 3 in states(swarm)
    classic_claims(swarm)
    assert states(swarm) == [2, 2, 2]
    swarm.run_for(20)
    assert states(swarm) == [2, 2, 2]


@pytest.mark.parametrize("after_s", [61, 100])
def test_a_newcomer_that_never_heard_of_the_dead_owner_is_told_by_a_claim(after_s: int) -> None:
    """S12. Classic nodes understand nothing but an UPDATECLAIM."""
    swarm = swarm_of(3)
    classic_claims(swarm)
    swarm.run_for(after_s)
    codec = SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    heard: list[int] = []
    for _ in range(3):
        before = sum(node.statistics()["mcast.send_updateclaim"] for node in swarm.nodes)
        all_hear(swarm, codec.inquire([BLOCK]), b"\xfe\x80" + bytes(13) + b"\x98")
        swarm.run_for(1)
        heard.append(sum(node.statistics()["mcast.send_updateclaim"] for node in swarm.nodes) - before)
    assert sum(heard) >= 1
    assert 4 in states(swarm)


class AllTold:
    """What a node knows whom the owner of BLOCK told that ADDRESS was all it had leased there."""

    def __init__(self, swarm: VirtualSwarm) -> None:
        self._swarm = swarm

    def of_block(self, index: int) -> Iterable[StoredLease]:
        chaddr = b"\x02\0\0\0\x09\x01".ljust(16, b"\0")
        return [StoredLease(ADDRESS, b"\x01" + chaddr[:6], chaddr, "leased", self._swarm.now + 200)]

    def is_complete(self, index: int) -> bool:
        return True

    def drop_block(self, index: int) -> None:
        pass


def test_known_leases_are_brought_back_and_when_all_are_known_the_block_is_not_held() -> None:
    swarm = swarm_of(1)
    swarm.nodes[0]._claims.orphans.known_leases = AllTold(swarm)
    classic_claims(swarm)
    swarm.run_for(75)
    assert states(swarm) == [4]
    assert swarm.nodes[0].statistics()["ddhcp.blocks.held"] == 0
    assert [stored.address for stored in swarm.nodes[0].leases()] == [ADDRESS]
    (nak,) = swarm.client_sends(0, message(c.REQUEST, client=3, ciaddr=ADDRESS))
    assert nak.message_type == c.NAK, "it is another's"


@pytest.mark.parametrize("is_forwarded", [False, True])
def test_in_an_adopted_block_a_client_is_believed_that_had_another_address_before(is_forwarded: bool) -> None:
    """Its owner may have leased it the one that it asks for since; what it holds now it knows best (I6)."""
    swarm = swarm_of(1)
    lease(swarm, 0, 3)
    classic_claims(swarm)
    swarm.run_for(75)
    assert states(swarm) == [4]
    assert swarm.nodes[0].statistics()["ddhcp.blocks.held"] == 1
    renewal = message(c.REQUEST, client=3, ciaddr=ADDRESS + 1)
    if not is_forwarded:
        assert [answer.message_type for answer in swarm.client_sends(0, renewal)] == [c.ACK]
        return
    codec = SwarmCodec(CLASSIC_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    asked = codec.lease_message(sc.RENEWLEASE, (ADDRESS + 1).to_bytes(4), renewal.xid, LEASE_S, renewal.chaddr)
    answers = sent(swarm.feed(0, e.SwarmReceived(asked, PEER, False)), POOL)
    assert [answer.command for answer in answers if isinstance(answer, LeaseMessage)] == [sc.LEASEACK]


def test_word_of_an_owner_that_may_be_at_work_makes_who_adopts_careful_but_does_not_stop_it() -> None:
    """Whoever says so has no leases to bring back; who gives way to it lets the clients' leases end."""
    swarm = swarm_of(2)
    swarm.nodes[0]._claims.orphans.known_leases = AllTold(swarm)
    swarm.stopped.add(1)
    classic_claims(swarm)
    while states(swarm) != [3]:
        swarm.run_for(0.5)
    codec = SwarmCodec(swarm.nodes[1].view().node_id, POOL.prefix, POOL.prefix_len, POOL.block_size)
    said = codec.write(Hearsay((HeardClaim(BLOCK, 400, bytes(8), bytes(16)),)))
    swarm.feed(0, e.SwarmReceived(said, swarm.addresses[1], False))
    swarm.run_for(10)
    assert states(swarm) == [4]
    assert [stored.address for stored in swarm.nodes[0].leases()] == [ADDRESS]
    (ack,) = swarm.client_sends(0, message(c.REQUEST, client=3, ciaddr=ADDRESS + 1))
    assert ack.message_type == c.ACK, "the owner may have leased it since, out of sight"


def test_leases_kept_in_a_fenced_block_survive_a_stranger_that_only_inquires() -> None:
    """S8: whoever asks and does not claim takes nothing."""
    swarm = swarm_of(1)
    address = lease(swarm, 0)
    index = own_block(swarm, 0)
    swarm.feed(0, e.ServerLinkDown())
    swarm.run_for(800)
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    all_hear(swarm, SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size).inquire([index]))
    assert states(swarm, index) == [1]
    assert [stored.address for stored in swarm.nodes[0].leases()] == [address]
    swarm.run_for(10)
    assert [stored.address for stored in swarm.nodes[0].leases()] == [address]


def test_a_claim_of_an_orphan_by_anybody_ends_its_quarantine() -> None:
    swarm = swarm_of(1, Remedy.GUARDIAN)
    classic_claims(swarm)
    swarm.run_for(61)
    assert isinstance(claim_of(BLOCK), UpdateClaim)
    codec = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
    all_hear(swarm, codec.update_claim([(BLOCK, 60)]), b"\xfe\x80" + bytes(13) + b"\x97")
    assert states(swarm) == [2]


def test_what_a_former_owner_promised_is_no_promise_of_the_one_that_adopts() -> None:
    """A classic newcomer inquires the block of an owner that is missing, whose promise has long to run."""
    swarm = swarm_of(1)
    classic_claims(swarm, 6000)
    swarm.run_for(5500)
    newcomer = SwarmCodec(b"\x05" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    all_hear(swarm, newcomer.inquire([BLOCK]), b"\xfe\x80" + bytes(13) + b"\x66")
    assert states(swarm) == [4]
    effects = swarm.feed(0, e.DhcpReceived("client0", message(c.REQUEST, 1, o50=ADDRESS).encode(), 0, 0xFFFFFFFF))
    swarm.now += 1.0
    effects += swarm.feed(0, e.Wake())
    promised = [
        claim.timeout_s
        for effect in effects
        if isinstance(effect, f.SendMulticast) and isinstance(told := decode(effect.data)[1], UpdateClaim)
        for claim in told.claims
        if claim.index == BLOCK
    ]
    assert promised
    assert max(promised) > LEASE_S


def test_a_client_that_asks_again_and_again_for_a_dying_owners_address_waits_once() -> None:
    swarm = swarm_of(1)
    classic_claims(swarm, 2 * LEASE_S + 100)
    swarm.run_for(2 * LEASE_S + 80)
    for xid in range(100, 115):
        assert swarm.client_sends(0, message(c.DISCOVER, xid=xid, o50=ADDRESS)) == []
    orphans = swarm.nodes[0]._claims.orphans
    assert (orphans._waiting_count, len(orphans._waits_end)) == (1, 1)
    swarm.run_for(60)
    assert [answer.message.xid for answer in swarm.answers] == [114], "one answer, to what it asked last"
    assert (orphans._waiting_count, len(orphans._waits_end)) == (0, 0)


def test_a_client_does_not_wait_on_while_peers_tell_again_and_again_that_the_owner_lives() -> None:
    """A node that started anew did not hear the owner since. Each time it is about to adopt the block, one objects who
    did."""
    swarm = VirtualSwarm(0, NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False))
    swarm.addresses, swarm.nodes = [b"\xfe\x80" + bytes(13) + b"\x01"], [Node(NodeConfig(POOL), random.Random(5))]
    owner = b"\xfe\x80" + bytes(13) + b"\x77"
    swarm.feed(0, e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, b"\x02\0\0\0\0\x01")))
    swarm.feed(0, e.Start(peers=(StoredPeer(owner, CLASSIC_ID, swarm.now + 400),)))
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(60)
    codec = SwarmCodec(CLASSIC_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    said = codec.write(Hearsay((HeardClaim(BLOCK, 18, CLASSIC_ID, owner),)))
    swarm.feed(0, e.SwarmReceived(said, PEER, False))
    asked_at, objections = swarm.now, 0
    while not swarm.answers and swarm.now < asked_at + 200:
        if (swarm.now - asked_at) % 30 == 0:
            swarm.client_sends(0, message(c.DISCOVER, xid=100, o50=ADDRESS))
        swarm.run_for(0.125)
        if BLOCK in swarm.nodes[0]._claims.table.claiming:
            objections += 1
            swarm.feed(0, e.SwarmReceived(said, PEER, False))
    assert objections
    assert [answer.message.message_type for answer in swarm.answers] == [c.OFFER]
    assert swarm.now < asked_at + 60
    orphans = swarm.nodes[0]._claims.orphans
    assert (orphans._waiting_count, len(orphans._waits_end)) == (0, 0)


# -- a link that loses multicasts only -----------------------------------------------------------


def owner_unheard(count: int = 3) -> tuple[VirtualSwarm, int]:
    """Node 0 leases its first address just when the link begins to lose multicasts; the block of that address."""
    swarm = swarm_of(count)
    swarm.run_for(60)
    swarm.loses_multicasts = True
    return swarm, POOL.index_of(lease(swarm, 0, 1))


def test_who_knows_an_owners_leases_knows_that_its_claim_holds_as_long() -> None:
    swarm, index = owner_unheard()
    swarm.run_for(LEASE_S / 2 - 1)  # far longer than what the owner announced before it had leases
    assert states(swarm, index) == [4, 2, 2]


def test_two_owners_that_hear_each_others_unicasts_only_settle_it() -> None:
    swarm, index = owner_unheard()
    for number in (1, 2):  # as if what the owner told these had been lost too
        swarm.nodes[number]._server.replicas.drop_block(index)
        block = swarm.nodes[number]._claims.table.get(index)
        swarm.nodes[number]._claims.table.set_lapse(block, swarm.now + 1)
    swarm.run_for(60)
    assert sorted(states(swarm, index)) == [2, 2, 4]
    assert swarm.duplicates == []


SMALL = Pool(0x0A000000, 27, 4)


def parted_survivors(*, leases: bool) -> VirtualSwarm:
    """Node 0 is dead, what it promised has ended, and nodes 1 and 2 have not heard each other for a while."""
    config = NodeConfig(
        SMALL, tentative_timeout_s=3, block_timeout_s=20, spare_leases=1, learning_phase=False, needless_timeout_s=3600
    )
    swarm = VirtualSwarm(3, config, seed=5)
    swarm.run_for(30)
    for client in range(6 if leases else 0):
        (offer,) = swarm.client_sends(client % 3, message(c.DISCOVER, client))
        swarm.client_sends(client % 3, message(c.REQUEST, client, o50=offer.yiaddr, o54=0x0A000001))
    swarm.run_for(30)
    swarm.stopped.add(0)
    swarm.run_for(600 if leases else 0)
    swarm.cut = lambda sender, receiver: True
    swarm.run_for(140)
    return swarm


def crowd(swarm: VirtualSwarm, seconds: int) -> None:
    """More clients than the pool has addresses come to both survivors, and ask again and again."""
    for second in range(seconds):
        for client in range(20 + second % 4, 60, 4):
            for offer in swarm.client_sends(1 + client % 2, message(c.DISCOVER, client)):
                swarm.client_sends(1 + client % 2, message(c.REQUEST, client, o50=offer.yiaddr, o54=0x0A000001))
        swarm.run_for(1)


def test_what_both_sides_of_a_parted_link_adopt_is_leased_from_when_it_has_healed() -> None:
    swarm = parted_survivors(leases=True)
    adopters = [node for node in swarm.nodes[1:] if node.statistics().get("swarm.blocks_adopted")]
    assert len(adopters) == 2
    crowd(swarm, 60)
    assert swarm.duplicates == []
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(LEASE_S + 60)  # each side's leases in what both own have ended
    crowd(swarm, 60)
    assert swarm.duplicates == []
    leased = {SMALL.index_of(lease.address) for node in swarm.nodes[1:] for lease in node.leases()}
    assert leased == set(range(SMALL.block_count))


def test_a_spare_block_of_a_silent_node_stays_closed_although_it_was_promised_for_less() -> None:
    """In a crowded pool it is announced for T alone, but its owner may live beyond a parted link and lease from it."""
    swarm = parted_survivors(leases=False)
    spares = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
    crowd(swarm, 60)
    assert swarm.duplicates == []
    assert {SMALL.index_of(lease.address) for lease in swarm.nodes[1].leases()} >= spares[1]
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(700)
    crowd(swarm, 60)
    leased = {SMALL.index_of(lease.address) for node in swarm.nodes[1:] for lease in node.leases()}
    assert leased >= spares[0], "what a dead node's promise kept closed is leased from in the end"


def test_a_spare_block_of_a_silent_node_is_adopted_by_nobody_and_its_owner_has_it_back() -> None:
    """There is no lease in it to guard. The owner may only be unheard: whoever adopted its block would dispute it."""
    swarm = swarm_of(3)
    index = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
    swarm.stopped.add(0)
    swarm.run_for(500)
    assert states(swarm, index) == [1, 1], "closed"
    assert [node.statistics().get("swarm.blocks_adopted", 0) for node in swarm.nodes] == [0, 0, 0]
    swarm.stopped.discard(0)
    swarm.run_for(10)
    assert states(swarm, index) == [4, 2, 2]


def test_who_would_adopt_a_block_asks_an_owner_that_only_its_announcements_do_not_arrive_from() -> None:
    """In a crowded pool empty blocks are announced for T alone; while multicasts are lost all would be adopted."""
    config = NodeConfig(
        Pool(0x0A000000, 28, 4), tentative_timeout_s=3, block_timeout_s=20, spare_leases=1, learning_phase=False
    )
    swarm = VirtualSwarm(3, config, seed=5)
    swarm.run_for(60)
    owned = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
    assert all(owned)
    swarm.loses_multicasts = True
    for _ in range(30):
        swarm.run_for(5)
        for node in swarm.nodes:
            for address in swarm.addresses:
                node._extensions.greeting.probe(address)  # they hear each other now and then
    assert [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes] == owned
    assert [node.statistics().get("swarm.blocks_adopted", 0) for node in swarm.nodes] == [0, 0, 0]


def test_an_empty_block_of_an_owner_that_is_heard_is_adopted_by_nobody() -> None:
    """There is no lease in it to guard, and the owner has it still: only what it announces is lost."""
    swarm = VirtualSwarm(2, NodeConfig(Pool(0x0A000000, 29, 4), tentative_timeout_s=3, block_timeout_s=20), seed=5)
    swarm.run_for(90)
    index = own_block(swarm, 0)
    swarm.stopped.add(0)
    greeting = swarm.nodes[0]._context.codec.write(Hello(False, CAPABILITIES, swarm.nodes[0]._context.incarnation))
    for _ in range(20):
        swarm.run_for(5)
        swarm.feed(1, e.SwarmReceived(greeting, swarm.addresses[0], False))
    assert states(swarm, index) == [1], "closed"
    assert swarm.nodes[1].statistics().get("swarm.blocks_adopted", 0) == 0


def test_in_a_large_swarm_that_loses_multicasts_an_adopted_block_is_not_leased_from_before_its_owner_agrees() -> None:
    """Everybody is heard, by unicasts, but that the block was adopted was told to all, and the owner missed it."""
    pool = Pool(0x0A000000, 24, 4)
    config = NodeConfig(pool, tentative_timeout_s=3, spare_leases=1, learning_phase=False)
    swarm = VirtualSwarm(36, config, seed=5)
    swarm.run_for(60)
    index = pool.index_of(min([lease(swarm, 0, client) for client in range(1, 5)]))
    swarm.run_for(10)
    swarm.loses_multicasts = True
    swarm.cut = lambda sender, receiver: 0 in (sender, receiver)
    adopter = next(n for n in range(1, 36) if swarm.nodes[n]._claims.orphans.rank(index, swarm.now) > 5)
    claims = swarm.nodes[adopter]._claims
    block = claims.table.apply(index, BlockEvent.LAPSED)  # as if what the owner promised had ended for this node
    block.orphan_until = swarm.now + 10
    claims.orphans._begin(block, swarm.now, is_urgent=True)
    swarm.run_for(15)
    assert states(swarm, index)[adopter] == 4
    swarm.cut = lambda sender, receiver: False
    for second in range(60):
        for node in swarm.nodes[second % 4 :: 4]:
            node._extensions.greeting.probe(swarm.addresses[adopter])  # so it is heard
        for client in range(10 + second % 4, 14 + 4 * second, 4):  # ever more
            for offer in swarm.client_sends(adopter, message(c.DISCOVER, client)):
                swarm.client_sends(adopter, message(c.REQUEST, client, o50=offer.yiaddr, o54=0x0A000001))
        swarm.run_for(1)
    assert swarm.duplicates == []


def test_agreement_is_noted_for_adopted_blocks_only() -> None:
    """Anybody may send it for any block, from any address."""
    swarm = swarm_of(1)
    index = own_block(swarm, 0)
    codec = SwarmCodec(CLASSIC_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    unasked = codec.write(Hello(False, CAPABILITIES, bytes(8), blocks=(index,)))
    swarm.feed(0, e.SwarmReceived(unasked, PEER, False))
    assert not swarm.nodes[0]._claims.table.ours[index].consents


def test_in_a_large_swarm_an_adopted_block_whose_leases_have_ended_is_not_held_for_ever() -> None:
    """Nobody waits for an address, and yet the others are asked whether they agree: else it could not be given up."""
    config = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, lease_time_s=60)
    swarm = VirtualSwarm(36, config, seed=5)
    swarm.run_for(60)
    index = POOL.index_of(lease(swarm, 0))
    swarm.run_for(10)
    swarm.stopped.add(0)
    swarm.run_for(225)
    (adopter,) = [node for node in swarm.nodes if node.statistics().get("swarm.blocks_adopted")]
    assert adopter.statistics()["ddhcp.blocks.held"] == 1
    swarm.run_for(200)
    assert states(swarm, index).count(4) == 1
    assert adopter.statistics()["ddhcp.blocks.held"] == 0
