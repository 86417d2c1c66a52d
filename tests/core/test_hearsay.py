"""A node that never heard of a silent owner is told about its blocks by those who did (S12)."""

from __future__ import annotations

import random

from test_node import PEER, lease, message
from test_orphans import ADDRESS, BLOCK, LEASE_S, POOL, classic_claims, states, swarm_of

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.records import StoredBlock
from ddhcp.core.remedies import Remedy
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import HeardClaim, Hearsay, LookupMessage, SwarmCodec, read_extension

CHADDR = b"\x02\0\0\0\x09\x01".ljust(16, b"\0")


def deaf_while_claimed(*without: Remedy, timeout_s: int = 600) -> VirtualSwarm:
    """Three nodes of ours, the last of which does not hear that an owner claims BLOCK; then that owner is silent."""
    swarm = swarm_of(3, *without)
    swarm.feed(2, e.ServerLinkDown())
    swarm.stopped.add(2)
    classic_claims(swarm, timeout_s)
    swarm.stopped.discard(2)
    swarm.run_for(timeout_s * 0.7)
    return swarm


def link_up(swarm: VirtualSwarm) -> None:
    swarm.feed(2, e.ServerLinkUp(b"\x02\0\0\0\x01\x02", swarm.addresses[2]))


def test_a_newcomer_is_told_of_owners_that_are_silent() -> None:
    swarm = deaf_while_claimed()
    assert states(swarm) == [2, 2, 0]
    link_up(swarm)
    swarm.run_for(10)
    assert states(swarm) == [2, 2, 2]
    told = [v for v in swarm.nodes[2].block_views(swarm.now) if v.index == BLOCK]
    known = [v for v in swarm.nodes[0].block_views(swarm.now) if v.index == BLOCK]
    assert abs(told[0].timeout_s - known[0].timeout_s) <= 2


def test_it_is_told_when_it_inquires_such_a_block() -> None:
    swarm = deaf_while_claimed(Remedy.SYNC)
    link_up(swarm)
    swarm.run_for(5)
    assert states(swarm) == [2, 2, 0]
    inquiry = swarm.nodes[2]._context.codec.inquire([BLOCK])
    for number in (0, 1):
        swarm.feed(number, e.SwarmReceived(inquiry, swarm.addresses[2], True))
    swarm.run_for(1)
    assert states(swarm) == [2, 2, 2]


def test_hearsay_ends_with_the_time_it_tells() -> None:
    swarm = deaf_while_claimed()
    link_up(swarm)
    swarm.run_for(400)
    assert states(swarm) == [0, 0, 0]


def test_what_a_node_knows_itself_it_knows_better() -> None:
    swarm = swarm_of(2)
    own = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
    before = [(v.index, v.state, v.owner) for v in swarm.nodes[0].block_views(swarm.now)]
    codec = SwarmCodec(swarm.nodes[1].view().node_id, POOL.prefix, POOL.prefix_len, POOL.block_size)
    others = [v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 2]
    claims = (own, *others, POOL.block_count, 2**32 - 1)
    said = codec.write(Hearsay(tuple(HeardClaim(index, 500, b"\xff" * 8, b"\xfe" * 16) for index in claims)))
    swarm.feed(0, e.SwarmReceived(said, swarm.addresses[1], False))
    assert [(v.index, v.state, v.owner) for v in swarm.nodes[0].block_views(swarm.now)] == before


def heard_twice(timeout_s: int) -> tuple[VirtualSwarm, VirtualSwarm]:
    """Two swarms in which one owner claims BLOCK, the second time unheard by node 1, and falls silent. In the latter
    nodes 0 and 1 then ask each other about it again and again."""
    swarms = []
    for tells in (False, True):
        swarm = swarm_of(2)
        classic_claims(swarm, timeout_s)
        swarm.nodes[0]._peers.get(PEER).is_ours = swarm.nodes[1]._peers.get(PEER).is_ours = True
        swarm.run_for(60)
        swarm.stopped.add(1)
        classic_claims(swarm, timeout_s)
        swarm.stopped.discard(1)
        swarm.run_for(timeout_s // 2)
        for asker in (1, 0) * (20 if tells else 0):
            question = LookupMessage(ADDRESS, 7, CHADDR, b"\x01" + CHADDR[:6])
            said = swarm.nodes[asker]._context.codec.write(question)
            swarm.feed(1 - asker, e.SwarmReceived(said, swarm.addresses[asker], False))
            swarm.run_for(0.01)
        swarms.append(swarm)
    return swarms[0], swarms[1]


def remaining_s(swarm: VirtualSwarm) -> list[int]:
    return [next(v.timeout_s for v in node.block_views(swarm.now) if v.index == BLOCK) for node in swarm.nodes]


def test_who_missed_an_announcement_takes_anothers_word_for_how_long_a_block_is_promised() -> None:
    alone, told = heard_twice(2 * LEASE_S + 100)
    assert remaining_s(alone) == [350, 290]
    assert remaining_s(told)[0] == 350
    assert 348 <= remaining_s(told)[1] <= 350


def test_two_nodes_do_not_make_a_silence_longer_by_telling_each_other() -> None:
    """With each end a quarantine is told, to which each would add its own."""
    alone, told = heard_twice(199)
    assert remaining_s(told) == remaining_s(alone)


def test_an_address_of_an_owner_that_was_never_heard_is_asked_of_those_who_may_know() -> None:
    swarm = swarm_of(4)
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, 1))
    swarm.client_sends(0, message(c.REQUEST, 1, o50=offer.yiaddr, o54=0x0A000001))
    swarm.run_for(30)
    swarm.stopped.add(0)
    index = POOL.index_of(offer.yiaddr)
    swarm.nodes[3]._claims.heard._on_given_up(index, swarm.nodes[3]._peers.get(swarm.addresses[0]), swarm.now)
    assert states(swarm, index) == [2, 2, 0]
    swarm.run_for(400)
    swarm.client_sends(3, message(c.REQUEST, 1, xid=9, ciaddr=offer.yiaddr))
    swarm.run_for(2)
    ack = swarm.answers[-1]
    assert (ack.node, ack.message.xid, ack.message.message_type) == (3, 9, c.ACK)
    assert states(swarm, index) == [2, 2, 2]


def test_who_asks_for_a_silent_owners_word_tells_the_replicas_that_missed_it_how_long_it_holds() -> None:
    swarm = swarm_of(4)
    address = lease(swarm, 0, 1)
    index = POOL.index_of(address)
    swarm.run_for(60)
    swarm.stopped.add(0)
    keepers = [n for n in (1, 2, 3) if swarm.nodes[n]._server.replicas.at(address) is not None]
    (asker,) = {1, 2, 3} - set(keepers)
    swarm.run_for(230)
    for number in keepers:  # as if they had not heard its latest announcements
        table = swarm.nodes[number]._claims.table
        table.set_lapse(table.get(index), swarm.now + 20)
    swarm.client_sends(asker, message(c.REQUEST, 1, xid=9, ciaddr=address))
    swarm.run_for(4)
    ack = swarm.answers[-1]
    assert (ack.node, ack.message.xid, ack.message.message_type) == (asker, 9, c.ACK)


def test_an_owner_objects_to_a_node_of_ours_directly_too() -> None:
    """All its multicasts are lost there, as in a burst on a radio link; the inquirer yields all the same."""
    swarm = swarm_of(2)
    own = next(v for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
    inquiry = swarm.nodes[1]._context.codec.inquire([own.index])
    effects = swarm.nodes[0].handle(e.SwarmReceived(inquiry, swarm.addresses[1], True), swarm.now)
    directly = [effect for effect in effects if isinstance(effect, f.SendUnicast)]
    newcomer = Node(NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False), random.Random(1))
    newcomer.handle(e.ServerLinkUp(b"\x02\0\0\0\x01\x01", swarm.addresses[1]), swarm.now)
    (said,) = (effect.data for effect in directly if effect.destination == swarm.addresses[1])
    newcomer.handle(e.SwarmReceived(said, swarm.addresses[0], False), swarm.now)
    ((state, owner),) = ((v.state, v.owner) for v in newcomer.block_views(swarm.now) if v.index == own.index)
    assert (state, owner) == (2, swarm.nodes[0].view().node_id)


def test_of_a_block_that_was_taken_over_nothing_is_told_before_it_is_promised() -> None:
    """Its announcement waits for the disk; whoever speaks of it meanwhile gets no answer."""
    swarm = swarm_of(2)
    node, peer = swarm.nodes[0], swarm.nodes[0]._peers.get(swarm.addresses[1])
    node._claims.take_over(BLOCK, swarm.now)
    node._context.effects.clear()
    node._claims.heard.object_directly(BLOCK, peer, swarm.now + 2)
    assert not any(isinstance(effect, f.SendUnicast) for effect in node._context.effects)


def test_a_node_that_says_directly_that_it_owns_our_block_is_answered_however_often_it_was() -> None:
    """It asks whether anybody objects before it leases from a block that it adopted: silence would be consent."""
    answered = []
    for number in (0, 1):
        swarm = swarm_of(2)
        rival, address = swarm.nodes[1 - number].view().node_id, swarm.addresses[1 - number]
        index = next(v.index for v in swarm.nodes[number].block_views(swarm.now) if v.state == 4)
        codec = SwarmCodec(rival, POOL.prefix, POOL.prefix_len, POOL.block_size)
        for _ in range(40):  # all that is said against it is lost, as far as this node can tell
            swarm.nodes[number].handle(e.SwarmReceived(codec.update_claim([(index, 60)]), address, True), swarm.now)
            swarm.now += 1
        if states(swarm, index)[number] != 4:
            continue  # it is the weaker one, and gave way
        said = codec.write(Hearsay((HeardClaim(index, 60, rival, address),)))
        effects = swarm.nodes[number].handle(e.SwarmReceived(said, address, False), swarm.now)
        told = [codec.decode(effect.data)[1] for effect in effects if isinstance(effect, f.SendUnicast)]
        answered.append([claim.index for m in told for claim in read_extension(m).claims])
    assert answered == [[index]]


def test_who_is_told_that_the_inquired_block_is_taken_inquires_another() -> None:
    """At once: clients wait."""
    swarm = swarm_of(2)
    for client in range(POOL.block_size + 1):
        swarm.client_sends(0, message(c.DISCOVER, client))
    swarm.run_for(0.5)
    inquired = [v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 3]
    assert inquired
    codec = SwarmCodec(swarm.nodes[1].view().node_id, POOL.prefix, POOL.prefix_len, POOL.block_size)
    said = codec.write(Hearsay(tuple(HeardClaim(index, 500, b"\xff" * 8, b"\xfe" * 16) for index in inquired)))
    swarm.feed(0, e.SwarmReceived(said, swarm.addresses[1], False))
    states = {v.index: v.state for v in swarm.nodes[0].block_views(swarm.now)}
    assert [states[index] for index in inquired] == [2] * len(inquired)
    assert [v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 3]


def test_a_node_that_lost_its_memory_is_told_what_it_promised() -> None:
    """Its clients' leases run; it must not hand their addresses out again (S2)."""
    swarm = swarm_of(2)
    own = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
    leased = lease(swarm, 0)
    assert POOL.index_of(leased) == own
    swarm.run_for(5)
    swarm.nodes[0] = Node(NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False), random.Random(5))
    swarm.feed(0, e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, b"\x02\0\0\0\0\x01")))
    swarm.feed(0, e.Start())
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(5)
    inquiry = swarm.nodes[0]._context.codec.inquire([own])
    swarm.feed(1, e.SwarmReceived(inquiry, swarm.addresses[0], True))
    swarm.run_for(1)
    ((state, timeout_s),) = ((v.state, v.timeout_s) for v in swarm.nodes[0].block_views(swarm.now) if v.index == own)
    assert state in (1, 2)
    assert timeout_s > 600, "closed for as long as it had promised"


def test_an_owner_is_not_told_to_keep_off_a_block_for_as_long_as_it_might_be_at_work() -> None:
    """Others do, for as long as it may promise what they do not hear: it asks, so it is not out of hearing. Of leases
    it is told: it may have lost its memory."""
    told_s = []
    for asker in (0, 2):
        swarm = swarm_of(3, pool=Pool(0x0A000000, 29, 2))
        own = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
        swarm.stopped.update((0, 2))
        swarm.run_for(120)
        assert states(swarm, own) == [1], "an orphan"
        codec = swarm.nodes[asker]._context.codec
        inquiry = e.SwarmReceived(codec.inquire([own]), swarm.addresses[asker], True)
        effects = swarm.nodes[1].handle(inquiry, swarm.now)
        (said,) = (effect.data for effect in effects if isinstance(effect, f.SendUnicast))
        (claim,) = read_extension(codec.decode(said)[1]).claims
        told_s.append(claim.closed_s)
    assert told_s[0] <= LEASE_S < told_s[1]


def test_a_node_that_lost_its_memory_is_told_as_soon_as_it_asks_who_owns_what() -> None:
    """Not only when it inquires the block: a few answers get lost easily."""
    told = []
    for has_lost_memory in (False, True):
        swarm = swarm_of(2)
        own = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
        lease(swarm, 0)
        promised_until = swarm.now + 600
        swarm.stopped.add(0)
        swarm.run_for(30)
        swarm.nodes[0] = Node(NodeConfig(POOL, tentative_timeout_s=3), random.Random(5))
        swarm.stopped.discard(0)
        swarm.feed(0, e.Start(() if has_lost_memory else (StoredBlock(own, promised_until),)))
        swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
        swarm.run_for(4)
        assert states(swarm, own) == ([2, 2] if has_lost_memory else [4, 2])
        told.append(swarm.nodes[1].statistics().get("direct.send_hearsay", 0))
    assert told[0] == 0 < told[1]


def test_a_fenced_owner_takes_its_block_back() -> None:
    """It knows its leases: that others still hold the block for it is no reason to leave it."""
    swarm = swarm_of(2)
    node = swarm.nodes[0]
    own = next(v.index for v in node.block_views(swarm.now) if v.state == 4)
    lease(swarm, 0)
    swarm.stopped.add(1)
    swarm.feed(0, e.ServerLinkDown())
    swarm.run_for(2 * LEASE_S + 101)
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    codec = SwarmCodec(swarm.nodes[1].view().node_id, POOL.prefix, POOL.prefix_len, POOL.block_size)
    said = codec.write(Hearsay((HeardClaim(own, 50, node.view().node_id, swarm.addresses[0]),)))
    swarm.feed(0, e.SwarmReceived(said, swarm.addresses[1], False))
    swarm.run_for(10)
    assert next(v.state for v in node.block_views(swarm.now) if v.index == own) == 4


def test_others_object_for_an_owner_that_the_inquirer_does_not_hear() -> None:
    """The owner is there and objects, but the two do not hear each other: a third node tells when it is asked again."""
    swarm = swarm_of(3)
    own = next(v for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
    codec = swarm.nodes[2]._context.codec
    inquiry = e.SwarmReceived(codec.inquire([own.index]), swarm.addresses[2], True)

    def told() -> bool:
        """Whether what the third node says to this inquiry keeps a node that knows nothing off the block."""
        newcomer = Node(NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False), random.Random(1))
        newcomer.handle(e.ServerLinkUp(b"\x02\0\0\0\x01\x01", swarm.addresses[2]), swarm.now)
        for effect in swarm.nodes[1].handle(inquiry, swarm.now):
            if isinstance(effect, f.SendUnicast) and effect.destination == swarm.addresses[2]:
                newcomer.handle(e.SwarmReceived(effect.data, swarm.addresses[1], False), swarm.now)
        return any(v.index == own.index and v.state == 2 for v in newcomer.block_views(swarm.now))

    assert not told()
    assert told()
    swarm.run_for(60)
    assert not told(), "long after the first it is a first one again"


def test_nobody_objects_for_an_owner_that_goes_on_announcing_others() -> None:
    """It gave the block up, and that was not heard here: else its former block would be nobody's as long as it had been
    announced for, and each try to claim it would have the swarm speak."""
    for is_given_up in (False, True):
        swarm = swarm_of(2)
        codec = SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
        for _ in range(8):
            swarm.feed(1, e.SwarmReceived(codec.update_claim([(BLOCK, 600), (BLOCK + 1, 600)]), PEER, True))
            swarm.run_for(60)
        for _ in range(8):
            kept = [(BLOCK + 1, 600)] if is_given_up else [(BLOCK, 600), (BLOCK + 1, 600)]
            swarm.feed(1, e.SwarmReceived(codec.update_claim(kept), PEER, True))
            swarm.run_for(60)
        assert states(swarm)[1] == 2
        inquiry = e.SwarmReceived(swarm.nodes[0]._context.codec.inquire([BLOCK]), swarm.addresses[0], True)
        told = [
            effect
            for _ in range(2)
            for effect in swarm.nodes[1].handle(inquiry, swarm.now)
            if isinstance(effect, f.SendUnicast) and effect.destination == swarm.addresses[0]
        ]
        assert bool(told) is not is_given_up


def test_who_asks_for_consent_to_what_another_is_known_to_own_is_told_so() -> None:
    """Even if that one goes on without it: consent is refused as long as the block is closed, and who is not told asks
    on and on."""
    swarm = swarm_of(2)
    codec = SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    for claims in ([(BLOCK, 600), (BLOCK + 1, 600)], [(BLOCK + 1, 600)], [(BLOCK + 1, 600)]):
        swarm.feed(1, e.SwarmReceived(codec.update_claim(claims), PEER, True))
        swarm.run_for(190)
    asking = swarm.nodes[0]
    asking._claims.want(BLOCK, swarm.now)
    swarm.feed(0, e.Wake())
    swarm.run_for(0.5)
    assert states(swarm) == [3, 2]
    asking._extensions.greeting.probe(swarm.addresses[1], (BLOCK,))
    swarm.feed(0, e.Wake())
    swarm.run_for(0.5)
    assert states(swarm) == [2, 2]


def test_who_asks_for_consent_to_a_block_that_was_its_own_is_told_so_by_everybody() -> None:
    """It gave the block up, which was not heard everywhere: whoever refuses says why, whether the claim still holds or
    has lapsed. When only the first few that are to tell said it, it asked on and on if those had heard it."""
    for silent_s, known in ((0, 2), (100, 1)):
        swarm = swarm_of(5, pool=Pool(0x0A000000, 28, 2))
        own = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
        last = max(range(1, 5), key=lambda number: swarm.nodes[number]._claims.orphans.rank(own, swarm.now))
        swarm.stopped.add(0)
        swarm.run_for(silent_s)
        knowing = swarm.nodes[last]
        assert states(swarm, own)[last - 1] == known
        codec = swarm.nodes[0]._context.codec
        asked = codec.write(swarm.nodes[0]._extensions.greeting._hello(wants_answer=True, blocks=(own,)))
        effects = knowing.handle(e.SwarmReceived(asked, swarm.addresses[0], False), swarm.now)
        said = [codec.decode(effect.data)[1] for effect in effects if isinstance(effect, f.SendUnicast)]
        told = [message for message in map(read_extension, said) if isinstance(message, Hearsay)]
        assert [claim.index for message in told for claim in message.claims] == [own]


def test_a_claim_that_is_about_to_end_is_told_no_longer_than_it_holds() -> None:
    """Else two nodes that tell each other in turns what they were told would keep a dead owner's block closed."""
    swarm = deaf_while_claimed(Remedy.SYNC)
    link_up(swarm)
    (known,) = [v for v in swarm.nodes[0].block_views(swarm.now) if v.index == BLOCK]
    swarm.run_for(known.timeout_s - 0.6)
    inquiry = swarm.nodes[2]._context.codec.inquire([BLOCK])
    for number in (0, 1):
        swarm.feed(number, e.SwarmReceived(inquiry, swarm.addresses[2], True))
    swarm.run_for(0.2)
    assert swarm.nodes[2].statistics().get("swarm.hearsay_taken", 0) == 0


def test_who_starts_with_a_block_that_another_won_meanwhile_is_told_by_those_who_hear_both() -> None:
    """Its disk failed when it lost the block, and now the two do not hear each other: it gives out none of the
    addresses that the owner may give out too. Whoever has one of them keeps it."""
    for without in ((), (Remedy.DISPUTES,)):
        swarm = swarm_of(3, *without)
        own = next(v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 4)
        held = lease(swarm, 0)
        swarm.run_for(5)
        swarm.nodes[2] = Node(swarm.nodes[2]._context.config, random.Random(5))
        swarm.cut = lambda sender, receiver: {sender, receiver} == {0, 2}
        swarm.feed(2, e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, b"\x02\0\0\0\0\x01")))
        swarm.feed(2, e.Start((StoredBlock(own, swarm.now + 600),)))
        swarm.feed(2, e.ServerLinkUp(b"\x02\0\0\0\x01\x02", swarm.addresses[2]))
        swarm.run_for(0.5)
        assert states(swarm, own)[::2] == [4, 4]
        swarm.client_sends(2, message(c.DISCOVER, 2))
        swarm.run_for(6)
        offer = swarm.answers[-1]
        assert (offer.node, offer.message.message_type) == (2, c.OFFER)
        assert (POOL.index_of(offer.message.yiaddr) == own) is bool(without)
        if not without:
            (ack,) = swarm.client_sends(2, message(c.REQUEST, 1, xid=9, ciaddr=held))
            assert (ack.message_type, ack.yiaddr) == (c.ACK, held)
