"""A node's behaviour towards clients and other nodes, in virtual time."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import LEASEACK, LEASENAK, RENEWLEASE, Inquire, LeaseMessage, SwarmCodec, UpdateClaim

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
SERVER_ID = 0x0A000001
EMPTY_S, FULL_S = 399, 700  # what blocks without and with leases are announced for, while most blocks are free
STRONGER, WEAKER = b"\xff" * 8, bytes(8)
PEER = b"\xfe\x80" + bytes(13) + b"\x99"


def chaddr(number: int) -> bytes:
    return (b"\x02\0\0\0\x02" + bytes((number,))).ljust(16, b"\0")


def message(kind: int, client: int = 1, xid: int = 7, *, ciaddr: int = 0, **options: int | bytes) -> Message:
    """A client's message; option keywords are named o50, o54 and so on, integers being 4 bytes long."""
    encoded = {
        int(name[1:]): value if isinstance(value, bytes) else value.to_bytes(4, "big")
        for name, value in options.items()
    }
    return Message(
        xid=xid, chaddr=chaddr(client), ciaddr=ciaddr, options={c.OPT_MESSAGE_TYPE: bytes((kind,))} | encoded
    )


def lease(swarm: VirtualSwarm, node: int, client: int = 1) -> int:
    """Have a client in the realm of ``node`` lease an address."""
    (offer,) = swarm.client_sends(node, message(c.DISCOVER, client))
    (ack,) = swarm.client_sends(node, message(c.REQUEST, client, o50=offer.yiaddr, o54=SERVER_ID))
    assert (ack.message_type, ack.yiaddr) == (c.ACK, offer.yiaddr)
    return ack.yiaddr


def claimed(count: int = 3, config: NodeConfig = CONFIG) -> VirtualSwarm:
    """A swarm in which every node owns a block."""
    swarm = VirtualSwarm(count, config)
    swarm.run_for(config.tentative_timeout_s + 1)
    return swarm


def sent(effects: list[f.Effect], pool: Pool = POOL) -> list[UpdateClaim | Inquire | LeaseMessage]:
    """The messages among ``effects``, but for extensions and the questions of a newcomer (empty INQUIREs)."""
    codec = SwarmCodec(bytes(8), pool.prefix, pool.prefix_len, pool.block_size)
    messages = [codec.decode(x.data)[1] for x in effects if isinstance(x, f.SendMulticast | f.SendUnicast)]
    return [m for m in messages if isinstance(m, UpdateClaim | Inquire | LeaseMessage) and m != Inquire(())]


def own_block(swarm: VirtualSwarm, node: int) -> int:
    (index,) = [view.index for view in swarm.nodes[node].block_views(swarm.now) if view.state == 4]
    return index


def hears(
    swarm: VirtualSwarm, node_id: bytes, data: UpdateClaim | Inquire
) -> list[UpdateClaim | Inquire | LeaseMessage]:
    """Node 0 receives a multicast from a peer that is not simulated."""
    codec = SwarmCodec(node_id, POOL.prefix, POOL.prefix_len, POOL.block_size)
    if isinstance(data, Inquire):
        packet = codec.inquire(data.indices)
    else:
        packet = codec.update_claim([(claim.index, claim.timeout_s) for claim in data.claims])
    return sent(swarm.feed(0, e.SwarmReceived(packet, PEER, True)))


def claim_of(index: int, timeout_s: int = 60) -> UpdateClaim:
    from ddhcp.swarm import Claim

    return UpdateClaim((Claim(index, timeout_s),))


# -- claiming ------------------------------------------------------------------------------------------------


def test_three_inquiries_spread_over_t_then_the_claim() -> None:
    node = Node(CONFIG, random.Random(1))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, bytes(6))), 0)
    node.handle(e.Start(), 0)
    heard = [(0.0, m) for m in sent(node.handle(e.ServerLinkUp(b"\x02" + bytes(5), PEER), 0))]
    while len(heard) < 4:
        now = node.deadline()
        assert now is not None
        heard += [(now, m) for m in sent(node.handle(e.Wake(), now))]
    assert [at for at, _ in heard] == pytest.approx([0, 1, 2, 3])
    assert [type(m) for _, m in heard] == [Inquire, Inquire, Inquire, UpdateClaim]


def test_every_node_owns_a_block_of_its_own() -> None:
    swarm = claimed(5)
    assert len({own_block(swarm, number) for number in range(5)}) == 5


@pytest.mark.parametrize(("hears_classic", "lasts_s"), [(True, 60), (False, 24)])
def test_learning_phase_is_for_listening(hears_classic: bool, lasts_s: int) -> None:
    """For T; where nobody is heard that does not answer questions, for as long as a classic node may be silent."""
    swarm = VirtualSwarm(1, NodeConfig(POOL, tentative_timeout_s=3))
    for _ in range(lasts_s - 1):
        if hears_classic:
            hears(swarm, WEAKER, claim_of(7))
        swarm.run_for(1)
    assert swarm.nodes[0].statistics()["mcast.send_inquire"] == 0
    swarm.run_for(5)
    assert own_block(swarm, 0) >= 0
    assert swarm.hooks == [(0, ("endlearning",))]


def test_even_a_short_learning_phase_leaves_time_for_questions_and_answers() -> None:
    swarm = VirtualSwarm(1, NodeConfig(POOL, tentative_timeout_s=2, block_timeout_s=6))
    swarm.run_for(4.9)
    assert swarm.nodes[0].statistics()["mcast.send_inquire"] == 0
    swarm.run_for(0.2)
    assert swarm.nodes[0].statistics()["mcast.send_inquire"] == 1


def test_the_learning_phase_ends_once() -> None:
    swarm = VirtualSwarm(1, NodeConfig(POOL, tentative_timeout_s=2, block_timeout_s=4))
    swarm.run_for(20)
    assert swarm.hooks == [(0, ("endlearning",))]


@pytest.mark.parametrize(("node_id", "yields"), [(STRONGER, True), (WEAKER, False)])
def test_contention_is_settled_by_node_id(node_id: bytes, yields: bool) -> None:
    swarm = VirtualSwarm(1, CONFIG)
    (view,) = swarm.nodes[0].block_views(swarm.now)
    hears(swarm, node_id, Inquire((view.index,)))
    states = {v.index: v.state for v in swarm.nodes[0].block_views(swarm.now)}
    assert states[view.index] == (1 if yields else 3)


def test_an_objection_counts_until_the_moment_of_owning() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(2.9)
    (view,) = swarm.nodes[0].block_views(swarm.now)
    assert view.claim_count == 3
    hears(swarm, WEAKER, claim_of(view.index))
    swarm.run_for(0.2)
    assert {v.index: v.state for v in swarm.nodes[0].block_views(swarm.now)}[view.index] == 2


def test_an_inquired_own_block_is_claimed_at_once_but_not_for_a_flood() -> None:
    swarm = claimed(1)
    index = own_block(swarm, 0)
    assert hears(swarm, STRONGER, Inquire((index,))) == [claim_of(index, EMPTY_S)]
    answers = sum(len(hears(swarm, STRONGER, Inquire((index,)))) for _ in range(100))
    assert answers < 5


def test_a_weaker_claim_of_our_block_is_answered_a_stronger_one_obeyed() -> None:
    swarm = claimed(1)
    index = own_block(swarm, 0)
    assert hears(swarm, WEAKER, claim_of(index))[0] == claim_of(index, EMPTY_S)
    assert own_block(swarm, 0) == index
    hears(swarm, STRONGER, claim_of(index))
    assert {v.index: (v.state, v.owner) for v in swarm.nodes[0].block_views(swarm.now)}[index] == (2, STRONGER)


def test_equal_ids_are_told_apart_by_source_address() -> None:
    swarm = claimed(1)
    index = own_block(swarm, 0)
    same_id = swarm.nodes[0].view().node_id
    hears(swarm, same_id, claim_of(index))  # PEER's address is the higher one
    assert {v.index: v.state for v in swarm.nodes[0].block_views(swarm.now)}[index] == 2


def test_a_claim_lapses_unless_refreshed_and_timeout_0_ends_it_at_once() -> None:
    swarm = claimed(1)
    index = (own_block(swarm, 0) + 1) % POOL.block_count
    hears(swarm, WEAKER, claim_of(index, 20))
    hears(swarm, STRONGER, Inquire((index,)))
    swarm.run_for(19)
    assert index in {v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 2}
    swarm.run_for(2)
    assert index not in {v.index for v in swarm.nodes[0].block_views(swarm.now) if v.state == 2}
    hears(swarm, WEAKER, claim_of(index, 20))
    hears(swarm, WEAKER, claim_of(index, 0))
    assert index not in {v.index for v in swarm.nodes[0].block_views(swarm.now)}


def refreshes(swarm: VirtualSwarm, seconds: float) -> int:
    """How many announcements node 1 hears meanwhile."""
    before = swarm.nodes[1].statistics()["mcast.recv_updateclaim"]
    swarm.run_for(seconds)
    return swarm.nodes[1].statistics()["mcast.recv_updateclaim"] - before


@pytest.mark.parametrize(
    ("prefix_len", "timeout_s"),
    [pytest.param(25, 60, id="most blocks are taken"), pytest.param(20, EMPTY_S, id="most blocks are free")],
)
def test_blocks_without_leases_are_refreshed_so_that_two_may_be_lost(prefix_len: int, timeout_s: int) -> None:
    """While free blocks abound that is as seldom as with leases: nobody needs them soon if their owner dies."""
    pool = Pool(POOL.prefix, prefix_len, 32)
    swarm = claimed(2, replace(CONFIG, pool=pool, spare_leases=40))
    swarm.run_for(120)  # the first ones come in quick succession
    assert all(view.timeout_s <= timeout_s for view in swarm.nodes[0].block_views(swarm.now))
    assert 3 * 1800 / timeout_s <= refreshes(swarm, 1800) <= 6 * 1800 / timeout_s


def announced(effects: list[f.Effect], pool: Pool = POOL) -> list[int]:
    """For how long the blocks in these effects are announced."""
    return [claim.timeout_s for told in sent(effects, pool) if isinstance(told, UpdateClaim) for claim in told.claims]


def test_the_first_lease_of_a_block_that_is_promised_for_long_enough_is_told_within_a_second() -> None:
    """Who has leases may be asked about clients, so the others are to know it soon; several such blocks are told of
    together."""
    swarm = claimed(2)
    (offer,) = swarm.client_sends(0, message(c.DISCOVER))
    request = message(c.REQUEST, o50=offer.yiaddr, o54=SERVER_ID)
    effects = swarm.feed(0, e.DhcpReceived("client0", request.encode(), 0, 0xFFFFFFFF))
    assert any(isinstance(effect, f.SendDhcp) for effect in effects)
    assert announced(effects) == []
    swarm.run_for(1.1)
    (view,) = [view for view in swarm.nodes[1].block_views(swarm.now) if view.index == own_block(swarm, 0)]
    assert FULL_S - 2 <= view.timeout_s <= FULL_S


def test_a_block_whose_leases_ended_is_promised_for_no_longer_than_was_said_last() -> None:
    """Else a new lease in it could outlast what the others were told."""
    pool = Pool(POOL.prefix, 27, 32)
    swarm = claimed(1, replace(CONFIG, pool=pool))
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.client_sends(0, message(c.RELEASE, ciaddr=address))
    swarm.run_for(140)
    (view,) = swarm.nodes[0].block_views(swarm.now)
    assert view.timeout_s <= 60
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, 2))
    request = message(c.REQUEST, 2, o50=offer.yiaddr, o54=SERVER_ID)
    effects = swarm.feed(0, e.DhcpReceived("client0", request.encode(), 0, 0xFFFFFFFF))
    assert announced(effects, pool) == [FULL_S]


def test_a_needless_block_is_given_up() -> None:
    config = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, spare_leases=40, needless_timeout_s=30)
    swarm = claimed(1, config)
    assert [v.state for v in swarm.nodes[0].block_views(swarm.now)] == [4, 4]
    address = lease(swarm, 0)
    swarm.run_for(10)
    swarm.client_sends(0, message(c.RELEASE, ciaddr=address))
    swarm.run_for(120)
    assert [v.state for v in swarm.nodes[0].block_views(swarm.now)] == [4, 4], "the spares are kept"


def test_a_silent_link_ends_serving_when_the_promise_ends_and_leases_survive() -> None:
    """SAFETY S8: others may have taken the block meanwhile, so it is inquired anew before anything is granted."""
    swarm = claimed(1)
    address = lease(swarm, 0)
    swarm.feed(0, e.ServerLinkDown())
    swarm.run_for(800)
    assert swarm.client_sends(0, message(c.REQUEST, ciaddr=address)) == []
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(4)
    (ack,) = swarm.client_sends(0, message(c.REQUEST, ciaddr=address))
    assert ack.message_type == c.ACK


def test_nothing_is_offered_that_could_not_be_acknowledged() -> None:
    """With the server link away nothing can be promised anew; in the last seconds no lease can be granted any more."""
    swarm = claimed(1)
    lease(swarm, 0)
    swarm.feed(0, e.ServerLinkDown())
    left_s = swarm.nodes[0].block_views(swarm.now)[0].timeout_s
    swarm.run_for(left_s - 34)
    assert swarm.client_sends(0, message(c.DISCOVER, 2))[0].message_type == c.OFFER
    swarm.run_for(12)
    assert swarm.client_sends(0, message(c.DISCOVER, 3)) == []
    assert swarm.client_sends(0, message(c.DISCOVER, 1)) == []
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    assert {a.message.chaddr for a in swarm.answers if a.at == swarm.now} == {chaddr(1), chaddr(3)}


# -- clients -------------------------------------------------------------------------------------------------


def test_one_client_one_address() -> None:
    swarm = claimed(1)
    address = lease(swarm, 0)
    for xid in range(5):
        (offer,) = swarm.client_sends(0, message(c.DISCOVER, xid=xid))
        assert offer.yiaddr == address


def test_a_waiting_client_is_offered_an_address_as_soon_as_there_is_one() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    assert swarm.client_sends(0, message(c.DISCOVER)) == []
    swarm.run_for(3.1)
    assert [a.message.message_type for a in swarm.answers] == [c.OFFER]


@pytest.mark.parametrize("address", [POOL.prefix, POOL.broadcast, SERVER_ID], ids=["network", "broadcast", "server"])
def test_some_addresses_are_never_handed_out(address: int) -> None:
    config = NodeConfig(Pool(0x0A000000, 20, 128), tentative_timeout_s=3, learning_phase=False, spare_leases=4000)
    swarm = claimed(1, config)
    assert all(offer.yiaddr != address for offer in swarm.client_sends(0, message(c.DISCOVER, o50=address)))


def test_request_for_an_address_in_use_is_refused_and_its_holder_keeps_it() -> None:
    swarm = claimed(1)
    address = lease(swarm, 0, client=1)
    (nak,) = swarm.client_sends(0, message(c.REQUEST, client=2, o50=address))
    assert nak.message_type == c.NAK
    (ack,) = swarm.client_sends(0, message(c.REQUEST, client=1, o50=address))
    assert ack.message_type == c.ACK


def test_request_that_names_another_server_is_left_alone_and_frees_our_offer() -> None:
    """RFC 2131 4.3.2, rule D2."""
    swarm = claimed(1)
    (offer,) = swarm.client_sends(0, message(c.DISCOVER))
    assert swarm.client_sends(0, message(c.REQUEST, o50=offer.yiaddr, o54=0x0A0000FE)) == []
    (other,) = swarm.client_sends(0, message(c.DISCOVER, client=2, o50=offer.yiaddr))
    assert other.yiaddr == offer.yiaddr


def test_init_reboot_from_another_network_is_refused() -> None:
    """RFC 2131 3.2 step 2, rule D5."""
    swarm = claimed(1)
    (nak,) = swarm.client_sends(0, message(c.REQUEST, o50=0xC0A80105))
    assert (nak.message_type, nak.yiaddr, nak.lease_time_s) == (c.NAK, 0, None)


def test_request_for_an_address_whose_owner_is_unknown_is_not_refused() -> None:
    """Rule D5's second half: silence, because another node may hold the binding."""
    swarm = claimed(1)
    index = (own_block(swarm, 0) + 1) % (POOL.block_count - 1) + 1
    assert swarm.client_sends(0, message(c.REQUEST, o50=POOL.first_address(index) + 3)) == []


def test_release_is_believed_from_the_holder_only_and_the_client_gets_its_address_back() -> None:
    swarm = claimed(1)
    address = lease(swarm, 0)
    swarm.client_sends(0, message(c.RELEASE, client=2, ciaddr=address))
    assert swarm.client_sends(0, message(c.REQUEST, client=3, o50=address))[0].message_type == c.NAK
    swarm.client_sends(0, message(c.RELEASE, client=1, ciaddr=address))
    assert lease(swarm, 0, client=2) != address, "least recently used first"
    assert lease(swarm, 0, client=1) == address


def test_a_declined_address_is_not_offered_to_anybody_for_a_while() -> None:
    swarm = claimed(1)
    address = lease(swarm, 0)
    swarm.client_sends(0, message(c.DECLINE, client=2, o50=address, o54=SERVER_ID))
    assert swarm.client_sends(0, message(c.DISCOVER))[0].yiaddr == address, "believed from the holder only"
    swarm.client_sends(0, message(c.DECLINE, o50=address, o54=SERVER_ID))
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, o50=address))
    assert offer.yiaddr != address


def test_inform_is_answered_without_a_lease() -> None:
    """RFC 2131 4.3.5."""
    swarm = claimed(1)
    (ack,) = swarm.client_sends(0, message(c.INFORM, ciaddr=0x0A000205))
    assert ack.message_type == c.ACK
    assert ack.yiaddr == 0
    assert not {c.OPT_LEASE_TIME, c.OPT_T1, c.OPT_T2} & set(ack.options)


def test_nothing_is_acknowledged_before_it_is_to_be_stored() -> None:
    """H1, RFC 2131 2.1."""
    swarm = claimed(1)
    (offer,) = swarm.client_sends(0, message(c.DISCOVER))
    request = message(c.REQUEST, o50=offer.yiaddr, o54=SERVER_ID)
    effects = swarm.feed(0, e.DhcpReceived("client0", request.encode(), 0, 0xFFFFFFFF))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(f.SaveLease) < kinds.index(f.SendDhcp)
    assert all(effect.durable for effect in effects if isinstance(effect, f.SendDhcp))


def test_no_lease_outlasts_what_is_promised_for_its_block() -> None:
    """Invariant I2."""
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.run_for(0.1)
    seen = {v.index: v.timeout_s for v in swarm.nodes[1].block_views(swarm.now)}
    assert seen[POOL.index_of(address)] > 300


def test_after_a_restart_blocks_and_leases_are_there_at_once() -> None:
    """H2."""
    swarm = claimed(1)
    address = lease(swarm, 0)
    index = POOL.index_of(address)
    node = Node(NodeConfig(POOL, tentative_timeout_s=3), random.Random(5))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, bytes(6))), swarm.now)
    from ddhcp.core.records import StoredBlock

    blocks = (StoredBlock(index, swarm.now + 50),)
    node.handle(e.Start(blocks, tuple(swarm.nodes[0].leases())), swarm.now)
    announced = sent(node.handle(e.ServerLinkUp(b"\x02" + bytes(5), PEER), swarm.now))
    assert [claim.index for m in announced if isinstance(m, UpdateClaim) for claim in m.claims] == [index]
    request = message(c.REQUEST, ciaddr=address)
    effects = node.handle(e.DhcpReceived("client0", request.encode(), 0, 0xFFFFFFFF), swarm.now)
    (reply,) = [Message.decode(effect.payload) for effect in effects if isinstance(effect, f.SendDhcp)]
    assert (reply.message_type, reply.ciaddr) == (c.ACK, address)


def test_a_declined_address_prolongs_no_promise_and_is_not_its_clients_lease_after_a_restart() -> None:
    from ddhcp.core.records import StoredBlock

    swarm = claimed(1)
    declined = lease(swarm, 0)
    swarm.client_sends(0, message(c.DECLINE, o50=declined, o54=SERVER_ID))
    address = lease(swarm, 0)
    node = Node(NodeConfig(POOL, tentative_timeout_s=3), random.Random(5))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, bytes(6))), swarm.now)
    blocks = (StoredBlock(POOL.index_of(address), swarm.now + 50),)
    node.handle(e.Start(blocks, tuple(swarm.nodes[0].leases())), swarm.now)
    request = message(c.DISCOVER).encode()
    effects = node.handle(e.DhcpReceived("client0", request, 0, 0xFFFFFFFF), swarm.now)
    (offer,) = [Message.decode(effect.payload) for effect in effects if isinstance(effect, f.SendDhcp)]
    assert offer.yiaddr == address
    assert node.block_views(swarm.now)[0].timeout_s == CONFIG.lease_time_s + 5, "the lease's end and the margin"


# -- roaming -------------------------------------------------------------------------------------------------


def test_a_client_that_moves_keeps_its_address_there_and_back() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0)
    for number, xid in ((1, 20), (2, 21), (0, 22)):
        swarm.client_sends(number, message(c.REQUEST, xid=xid, o50=address))
        swarm.run_for(1)
        last = swarm.answers[-1]
        assert (last.node, last.message.message_type, last.message.yiaddr) == (number, c.ACK, address)


def test_a_client_that_moves_and_starts_over_is_offered_its_address() -> None:
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.client_sends(1, message(c.DISCOVER, xid=30, o50=address))
    swarm.run_for(0.3)
    assert [a.message.yiaddr for a in swarm.answers if a.node == 1] == [address]


def test_a_client_that_asks_for_anothers_address_elsewhere_is_refused() -> None:
    swarm = claimed(2)
    address = lease(swarm, 0, client=1)
    swarm.client_sends(1, message(c.REQUEST, client=2, o50=address))
    swarm.run_for(1)
    assert swarm.answers[-1].message.message_type == c.NAK
    assert swarm.duplicates == []


def test_an_unanswered_renewal_is_retried_a_bounded_number_of_times() -> None:
    swarm = claimed(2, replace(CONFIG, replicas=0))
    address = lease(swarm, 0)
    swarm.cut = lambda sender, receiver: True
    swarm.client_sends(1, message(c.REQUEST, xid=9, o50=address))
    swarm.run_for(30)
    statistics = swarm.nodes[1].statistics()
    assert statistics["direct.send_renewlease"] == 5
    assert statistics["swarm.forwards"] == 0


def renewals_sent(effects: list[f.Effect]) -> list[bytes]:
    return [m.address_field for m in sent(effects) if isinstance(m, LeaseMessage) and m.command == RENEWLEASE]


@pytest.mark.parametrize(
    ("pool", "address", "orders"),
    [(POOL, 0x0A000305, ["little", "big", "little", "big"]), (Pool(0x0A000000, 8, 32), 0x0A00000A, ["little"] * 4)],
    ids=["misread outside the pool", "misread inside the pool"],
)
def test_an_owner_of_unknown_byte_order_is_asked_in_both_unless_that_could_mean_another_address(
    pool: Pool, address: int, orders: list[str]
) -> None:
    """A big-endian classic node reads a little-endian question as one about another address."""
    node = Node(NodeConfig(pool, tentative_timeout_s=3, learning_phase=False), random.Random(1))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, pool.prefix_len, bytes(6))), 0)
    node.handle(e.Start(), 0)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), bytes(15) + b"\1"), 0)
    codec = SwarmCodec(WEAKER, pool.prefix, pool.prefix_len, pool.block_size)
    claim = codec.update_claim([(pool.index_of(address), 60)])
    node.handle(e.SwarmReceived(claim, PEER, True), 0)
    request = message(c.REQUEST, o50=address).encode()
    asked = node.handle(e.DhcpReceived("client0", request, 0, 0xFFFFFFFF), 0)
    for instant in (0.25, 0.75, 1.75):
        asked += node.handle(e.Wake(), instant)
    fields = [codec.decode(x.data)[1].address_field for x in asked if isinstance(x, f.SendUnicast)]
    assert fields == [address.to_bytes(4, order) for order in orders]


def test_the_byte_order_that_an_owner_answered_to_is_used_for_it_from_then_on() -> None:
    swarm = claimed(1)
    index = (own_block(swarm, 0) + 1) % POOL.block_count
    hears(swarm, WEAKER, claim_of(index))
    address = POOL.first_address(index) + 3
    swarm.client_sends(0, message(c.REQUEST, o50=address))
    swarm.run_for(0.3)
    codec = SwarmCodec(WEAKER, POOL.prefix, POOL.prefix_len, POOL.block_size)
    ack = codec.lease_message(LEASEACK, address.to_bytes(4, "big"), 7, 0, chaddr(1))
    swarm.feed(0, e.SwarmReceived(ack, PEER, False))
    assert swarm.answers[-1].message.message_type == c.ACK
    again = e.DhcpReceived("client0", message(c.REQUEST, xid=8, o50=address).encode(), 0, 0xFFFFFFFF)
    assert renewals_sent(swarm.feed(0, again)) == [address.to_bytes(4, "big")]


def test_release_in_another_realm_reaches_the_owner() -> None:
    """F1, M2. Nobody else gets the address while a peer may stand in for its client."""
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.client_sends(1, message(c.RELEASE, ciaddr=address))
    swarm.run_for(1)
    assert [stored.state for stored in swarm.nodes[0].leases()] == ["kept"]


@pytest.mark.parametrize(("client", "answer"), [(1, LEASEACK), (2, LEASENAK)])
def test_the_owner_checks_who_asks(client: int, answer: int) -> None:
    """SAFETY S5: a classic owner acknowledges anybody."""
    swarm = claimed(1)
    address = lease(swarm, 0, client=1)
    codec = SwarmCodec(WEAKER, POOL.prefix, POOL.prefix_len, POOL.block_size)
    ask = codec.lease_message(RENEWLEASE, address.to_bytes(4, "little"), 5, 0, chaddr(client))
    (reply,) = sent(swarm.feed(0, e.SwarmReceived(ask, PEER, False)))
    assert reply == LeaseMessage(answer, address.to_bytes(4, "little"), 5, 0, chaddr(client))


def test_stopping_hands_the_block_over_and_renewals_go_on() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.feed(0, e.Stop())
    swarm.run_for(1)
    assert 0 in swarm.stopped
    swarm.client_sends(1, message(c.REQUEST, xid=40, o50=address))
    swarm.run_for(1)
    assert (swarm.answers[-1].message.message_type, swarm.answers[-1].message.yiaddr) == (c.ACK, address)


def test_a_taker_whose_claim_outruns_its_acknowledgement_is_no_cause_for_alarm() -> None:
    """The two arrive at different sockets."""
    swarm = claimed(2)
    index = POOL.index_of(lease(swarm, 0))
    swarm.run_for(1)
    swarm.feed(0, e.Stop())
    codec = SwarmCodec(STRONGER, POOL.prefix, POOL.prefix_len, POOL.block_size)
    claim = e.SwarmReceived(codec.update_claim([(index, 700)]), swarm.addresses[1], True)
    logged = [effect for effect in swarm.feed(0, claim) if isinstance(effect, f.Log)]
    assert logged
    assert all(effect.level < logging.WARNING for effect in logged)


def test_stopping_alone_gives_empty_blocks_up_and_promises_the_others_a_last_time() -> None:
    swarm = claimed(1)
    index = POOL.index_of(lease(swarm, 0))
    effects = swarm.feed(0, e.Stop())
    (last,) = [m for m in sent(effects) if isinstance(m, UpdateClaim)]
    assert [(claim.index, claim.timeout_s) for claim in last.claims] == [(index, 305)]
    assert isinstance(effects[-1], f.Stopped)
    empty = claimed(1)
    (given_up,) = sent(empty.feed(0, e.Stop()))
    assert isinstance(given_up, UpdateClaim)
    assert [claim.timeout_s for claim in given_up.claims] == [0]


# -- whatever comes ------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_any_swarm_datagram_is_survived(data: bytes, is_multicast: bool) -> None:
    """Invariant I10, with and without a header of this swarm in front."""
    swarm = claimed(1)
    head = bytes(8) + POOL.prefix.to_bytes(4, "big") + bytes((POOL.prefix_len, POOL.block_size))
    for packet in (data, head + data):
        swarm.feed(0, e.SwarmReceived(packet, PEER, is_multicast))
    assert own_block(swarm, 0) >= 0 or swarm.nodes[0].block_views(swarm.now)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0.0, 0.1, 0.3)), st.sampled_from((0.0, 0.5)))
def test_no_address_is_held_twice_whatever_is_lost(seed: int, loss: float, jitter_s: float) -> None:
    """Invariant I1 for clients that come, move, renew and release in a lossy swarm."""
    config = NodeConfig(Pool(0x0A000000, 24, 4), tentative_timeout_s=2, learning_phase=False, lease_time_s=60)
    swarm = VirtualSwarm(4, config, seed=seed, loss=loss, jitter_s=jitter_s)
    rng = random.Random(seed)
    held: dict[int, int] = {}
    for xid in range(120):
        client, node = rng.randrange(20), rng.randrange(4)
        address = held.get(client)
        if address is None:
            swarm.client_sends(node, message(c.DISCOVER, client, xid))
        elif rng.random() < 0.15:
            swarm.client_sends(node, message(c.RELEASE, client, xid, ciaddr=address))
            swarm.release(address)
            del held[client]
        else:
            swarm.client_sends(node, message(c.REQUEST, client, xid, o50=address))
        seen = len(swarm.answers)
        swarm.run_for(rng.random() * 6)
        for answer in swarm.answers[max(0, seen - 1) :]:
            number = answer.message.chaddr[5]
            if answer.message.message_type == c.OFFER and number not in held and swarm.is_awaited(answer.message):
                request = message(c.REQUEST, number, answer.message.xid, o50=answer.message.yiaddr, o54=SERVER_ID)
                swarm.client_sends(answer.node, request)
        for answer in swarm.answers[max(0, seen - 1) :]:
            if not swarm.is_awaited(answer.message):
                continue
            if answer.message.message_type == c.ACK:
                held[answer.message.chaddr[5]] = answer.message.yiaddr
            elif answer.message.message_type == c.NAK:
                held.pop(answer.message.chaddr[5], None)
    assert swarm.duplicates == []
