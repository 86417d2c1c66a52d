"""A client away from the owner of its address: it keeps it, whatever became of the owner."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.lookup import LOCATE_BURST
from ddhcp.core.remedies import Remedy
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import (
    LEASEACK,
    LEASENAK,
    RENEWLEASE,
    Extension,
    LeaseMessage,
    Redirect,
    SwarmCodec,
    decode,
    write_extension,
)

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
ALONE = replace(CONFIG, replicas=0)
SERVER_ID = 0x0A000001
HELLO = 32
CLASSIC = b"\xfe\x80" + bytes(13) + b"\x99"


def chaddr(number: int) -> bytes:
    return (b"\x02\0\0\0" + number.to_bytes(2, "big")).ljust(16, b"\0")


def message(kind: int, client: int = 1, xid: int = 7, *, ciaddr: int = 0, **options: int) -> Message:
    encoded = {int(name[1:]): value.to_bytes(4, "big") for name, value in options.items()}
    return Message(
        xid=xid, chaddr=chaddr(client), ciaddr=ciaddr, options={c.OPT_MESSAGE_TYPE: bytes((kind,))} | encoded
    )


def claimed(count: int, config: NodeConfig = CONFIG, seed: int = 0) -> VirtualSwarm:
    swarm = VirtualSwarm(count, config, seed=seed)
    swarm.run_for(config.tentative_timeout_s + 1)
    return swarm


def lease(swarm: VirtualSwarm, node: int, client: int = 1) -> int:
    before = len(swarm.answers)
    swarm.client_sends(node, message(c.DISCOVER, client, 1))
    swarm.run_for(0.3)
    offer = swarm.answers[before].message
    (ack,) = swarm.client_sends(node, message(c.REQUEST, client, 2, o50=offer.yiaddr, o54=SERVER_ID))
    assert ack.message_type == c.ACK
    return ack.yiaddr


def asks(swarm: VirtualSwarm, node: int, request: Message, within_s: float) -> list[tuple[int | None, int, int | None]]:
    """What a node answers a client within a time: (type, address, lease time)."""
    before = len(swarm.answers)
    swarm.client_sends(node, request)
    swarm.run_for(within_s)
    return [(a.message.message_type, a.message.yiaddr, a.message.lease_time_s) for a in swarm.answers[before:]]


def sent(swarm: VirtualSwarm, kind: str) -> int:
    return sum(node.statistics().get(kind, 0) for node in swarm.nodes)


# -- renewals ------------------------------------------------------------------------------------


def test_a_crashed_owners_client_renews_for_as_long_as_its_lease_runs() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.add(0)
    swarm.run_for(100)
    ((kind, granted, seconds),) = asks(swarm, 1, message(c.REQUEST, xid=9, ciaddr=address), 0.6)
    assert (kind, granted) == (c.ACK, address)
    assert seconds is not None
    assert seconds == 300  # the owner, wherever it is, keeps the address for so long after the lease that it knows
    swarm.run_for(445)
    ((kind, granted, seconds),) = asks(swarm, 1, message(c.REQUEST, xid=10, ciaddr=address), 0.6)
    assert (kind, granted) == (c.ACK, address)
    assert seconds is not None
    assert seconds < 155  # not past the owner's promise
    swarm.run_for(seconds)
    assert all(kind != c.NAK for kind, _, _ in asks(swarm, 1, message(c.REQUEST, xid=11, ciaddr=address), 10))
    assert swarm.duplicates == []


def test_a_renewal_across_a_partition_is_not_longer_than_the_owner_holds_the_address() -> None:
    """M7."""
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.cut = lambda sender, receiver: (sender == 0) != (receiver == 0)
    swarm.run_for(50)
    ((kind, _, seconds),) = asks(swarm, 2, message(c.REQUEST, xid=9, ciaddr=address), 1)
    assert kind == c.ACK
    assert seconds is not None
    (owned,) = swarm.nodes[0].leases()
    kept_s = 1.5 * 300 + 100
    assert swarm.now + seconds <= owned.expires_at + kept_s
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(1)
    ((kind, _, seconds),) = asks(swarm, 2, message(c.REQUEST, xid=10, ciaddr=address), 1)
    assert (kind, seconds) == (c.ACK, CONFIG.lease_time_s)  # the owner is back


def test_a_crashed_owners_client_finds_its_address_by_discover_where_nothing_is_known_of_it() -> None:
    swarm = claimed(8)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.add(0)
    strangers = [number for number in range(1, 8) if swarm.nodes[number]._server.replicas.at(address) is None]
    assert strangers
    for xid, number in enumerate(strangers, 100):
        offers = asks(swarm, number, message(c.DISCOVER, xid=xid, o50=address), 0.3)
        assert [(kind, offered) for kind, offered, _ in offers] == [(c.OFFER, address)]
        selecting = message(c.REQUEST, xid=xid, o50=address, o54=SERVER_ID)
        assert [(kind, granted) for kind, granted, _ in asks(swarm, number, selecting, 2)] == [(c.ACK, address)]
    assert swarm.duplicates == []


def test_another_clients_request_is_not_granted_on_a_replicas_word() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0, 1)
    swarm.run_for(1)
    swarm.stopped.add(0)
    assert asks(swarm, 1, message(c.REQUEST, 2, 9, o50=address), 10) == []


def test_a_release_or_decline_is_known_to_the_replicas_too() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0, 1)
    swarm.client_sends(0, message(c.RELEASE, 1, ciaddr=address, o54=SERVER_ID))
    swarm.run_for(1)
    swarm.stopped.add(0)
    assert asks(swarm, 1, message(c.REQUEST, 1, 9, o50=address), 10) == []


def test_without_replication_nobody_speaks_for_a_silent_owner() -> None:
    swarm = claimed(3, replace(CONFIG, without=frozenset({Remedy.REPLICATION})))
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.add(0)
    assert asks(swarm, 1, message(c.REQUEST, xid=9, ciaddr=address), 10) == []


@pytest.mark.parametrize("is_ours", [True, False])
def test_who_asks_the_wrong_node_is_told_the_owner_if_it_is_of_ours(is_ours: bool) -> None:
    swarm = claimed(2)
    address = lease(swarm, 0)
    codec = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
    if is_ours:
        from ddhcp.core.hello import CAPABILITIES
        from ddhcp.swarm import Hello

        hello = codec.write(Hello(False, CAPABILITIES, b"whatever"))
        swarm.feed(1, e.SwarmReceived(hello, CLASSIC, False))
    ask = codec.lease_message(RENEWLEASE, address.to_bytes(4, "little"), 5, 0, chaddr(1))
    effects = swarm.feed(1, e.SwarmReceived(ask, CLASSIC, False))
    answers = [codec.decode(x.data)[1] for x in effects if hasattr(x, "destination")]
    answers = [x for x in answers if not (isinstance(x, Extension) and x.command == HELLO)]
    assert not [x for x in answers if isinstance(x, LeaseMessage) and x.command in (LEASEACK, LEASENAK)]
    redirect = write_extension(Redirect(address, 5, chaddr(1), swarm.addresses[0]))[2]
    assert [getattr(x, "payload", None) for x in answers] == ([redirect] if is_ours else [])


@pytest.mark.parametrize("began_at", [1000.0, 100.0])
def test_a_node_that_may_have_forgotten_a_block_refuses_nothing_to_a_peer_of_unknown_kind(began_at: float) -> None:
    """Its store does not say how long it had promised the block for, or was lost (I6)."""
    node = Node(CONFIG, random.Random(1))
    node.handle(e.Start(), began_at)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), b"\xfe\x80" + bytes(13) + b"\x01"), 1000.0)
    while (at := node.deadline()) is not None and at < 1060:
        node.handle(e.Wake(), at)
    codec = SwarmCodec(b"\x01" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    question = codec.lease_message(RENEWLEASE, bytes((10, 0, 15, 5)), 9, 300, chaddr(1))
    refused = []
    for now in (1060.0, 1100.0, 1140.0, 1180.0, 1220.0):
        effects = node.handle(e.SwarmReceived(question, CLASSIC, False), now)
        messages = [decode(x.data)[1] for x in effects if isinstance(x, f.SendUnicast)]
        refused.append([m.command for m in messages if isinstance(m, LeaseMessage)] == [LEASENAK])
    is_new = began_at == 1000.0
    assert refused == ([False] * 4 + [True] if is_new else [True] * 5), "asked four times, it is classic"


def test_a_question_to_a_former_owner_reaches_the_new_one() -> None:
    """Node 2 missed that node 0 handed its block to node 1."""
    swarm = claimed(3, ALONE)
    address = lease(swarm, 0)
    index = POOL.index_of(address)
    swarm.run_for(1)
    swarm.cut = lambda sender, receiver: receiver == 2 or (sender == 0 and receiver == 2)
    block = swarm.nodes[0]._claims.table.ours[index]
    swarm.nodes[0]._extensions.handover.give_all(swarm.now)
    for effect in swarm.nodes[0]._context.take_effects():
        swarm._perform(0, effect)
    swarm.run_for(1)
    assert block.index not in swarm.nodes[0]._claims.table.ours
    swarm.cut = lambda sender, receiver: False
    answers = asks(swarm, 2, message(c.REQUEST, xid=9, ciaddr=address), 0.5)
    assert [(kind, granted) for kind, granted, _ in answers] == [(c.ACK, address)]


# -- starting over -------------------------------------------------------------------------------


def test_a_client_that_starts_over_without_naming_its_address_gets_it_from_the_replicas_knowledge() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    ((kind, offered, _),) = asks(swarm, 1, message(c.DISCOVER, xid=30), 0.29)
    assert (kind, offered) == (c.OFFER, address)
    ((kind, granted, _),) = asks(swarm, 1, message(c.REQUEST, xid=30, o50=address, o54=SERVER_ID), 0.5)
    assert (kind, granted) == (c.ACK, address)
    assert sent(swarm, "mcast.send_locate") == 0


def test_the_same_when_the_owner_has_crashed() -> None:
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.add(0)
    ((kind, offered, _),) = asks(swarm, 1, message(c.DISCOVER, xid=30), 0.29)
    assert (kind, offered) == (c.OFFER, address)
    ((kind, granted, _),) = asks(swarm, 1, message(c.REQUEST, xid=30, o50=address, o54=SERVER_ID), 0.7)
    assert (kind, granted) == (c.ACK, address)


@pytest.mark.parametrize("replicas", [0, 1])
def test_the_same_where_no_replica_is_kept(replicas: int) -> None:
    swarm = claimed(8, replace(CONFIG, replicas=replicas))
    address = lease(swarm, 0)
    swarm.run_for(1)
    ignorant = next(
        n for n in range(1, 8) if not swarm.nodes[n]._extensions.replicas.is_complete(POOL.index_of(address))
    )
    ((kind, offered, _),) = asks(swarm, ignorant, message(c.DISCOVER, xid=30), 0.29)
    assert (kind, offered) == (c.OFFER, address)


def test_a_client_that_nobody_knows_is_offered_an_address_in_time_and_looked_for_once() -> None:
    swarm = claimed(8, ALONE)
    lease(swarm, 0, 1)
    swarm.run_for(1)
    ((kind, _, _),) = asks(swarm, 3, message(c.DISCOVER, 2, 30), 0.29)
    assert kind == c.OFFER
    asks(swarm, 3, message(c.DISCOVER, 2, 31), 5)
    assert sent(swarm, "mcast.send_locate") == 1


def test_five_hundred_new_phones_cause_no_storm() -> None:
    config = replace(NodeConfig(Pool(0x0A000000, 16, 128), tentative_timeout_s=3, learning_phase=False), replicas=0)
    swarm = claimed(3, replace(config, spare_leases=600))
    lease(swarm, 0, 1)
    swarm.run_for(10)
    before = len(swarm.answers)
    for client in range(2, 502):
        swarm.client_sends(2, message(c.DISCOVER, client, client))
    swarm.run_for(0.3)
    assert len(swarm.answers) - before == 500
    assert sent(swarm, "mcast.send_locate") <= LOCATE_BURST


def test_where_everything_is_known_the_swarm_is_not_asked() -> None:
    """M4."""
    swarm = claimed(3)
    lease(swarm, 0, 1)
    swarm.run_for(1)
    (offer,) = swarm.client_sends(1, message(c.DISCOVER, 2, 30))
    assert offer.message_type == c.OFFER
    assert sent(swarm, "mcast.send_locate") == 0


# -- giving back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [(c.RELEASE, "kept"), (c.DECLINE, "declined")])
def test_what_a_client_gives_back_elsewhere_reaches_the_owner_through_loss(kind: int, state: str) -> None:
    for seed in range(10):
        swarm = claimed(2, seed=seed)
        address = lease(swarm, 0)
        swarm.run_for(1)
        swarm.loss = 0.4
        if kind == c.RELEASE:
            swarm.client_sends(1, message(kind, ciaddr=address, o54=SERVER_ID))
        else:
            swarm.client_sends(1, message(kind, o50=address, o54=SERVER_ID))
        swarm.run_for(3)
        swarm.loss = 0.0
        swarm.run_for(6)
        assert [stored.state for stored in swarm.nodes[0].leases()] == [state]


def test_nobody_gives_back_what_is_anothers() -> None:
    swarm = claimed(2)
    address = lease(swarm, 0, 1)
    swarm.client_sends(1, message(c.RELEASE, 2, ciaddr=address, o54=SERVER_ID))
    swarm.client_sends(1, message(c.DECLINE, 2, o50=address, o54=SERVER_ID))
    swarm.run_for(5)
    assert [stored.state for stored in swarm.nodes[0].leases()] == ["leased"]


@pytest.mark.parametrize("kind", [c.RELEASE, c.DECLINE])
def test_who_was_told_that_an_address_was_given_back_speaks_for_nobody(kind: int) -> None:
    """Its owner cannot say so just then."""
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.cut = lambda sender, receiver: True
    given_back = message(c.RELEASE, ciaddr=address) if kind == c.RELEASE else message(c.DECLINE, o50=address)
    given_back.options[c.OPT_SERVER_ID] = SERVER_ID.to_bytes(4, "big")
    swarm.client_sends(1, given_back)
    assert asks(swarm, 1, message(c.REQUEST, 1, 9, o50=address), 10) == []


def test_a_declined_address_that_its_client_got_again_from_a_peer_is_its_own() -> None:
    """The peer had not heard that it was declined; for the client that is a lease like any other (I6)."""
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.cut = lambda sender, receiver: (sender == 0) != (receiver == 0)
    swarm.client_sends(0, message(c.DECLINE, o50=address, o54=SERVER_ID))
    ((kind, granted, _),) = asks(swarm, 1, message(c.REQUEST, xid=9, ciaddr=address), 1)
    assert (kind, granted) == (c.ACK, address)
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(20)
    for node in (1, 0):
        ((kind, granted, _),) = asks(swarm, node, message(c.REQUEST, xid=20 + node, ciaddr=address), 1)
        assert (kind, granted) == (c.ACK, address)


def test_telling_an_owner_that_is_gone_ends() -> None:
    swarm = claimed(2)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.add(0)
    swarm.client_sends(1, message(c.RELEASE, ciaddr=address, o54=SERVER_ID))
    swarm.run_for(20)
    statistics = swarm.nodes[1].statistics()
    assert statistics["direct.send_surrender"] == 5
    assert statistics["swarm.surrenders_unanswered"] == 1


def test_a_gateway_on_the_same_network_that_was_not_chosen_takes_its_offer_back() -> None:
    """Both have one address, so the client cannot name the one that it chose."""
    swarm = claimed(2)
    offers = [asks(swarm, node, message(c.DISCOVER), 1)[0][1] for node in (0, 1)]
    for node in (0, 1):
        swarm.client_sends(node, message(c.REQUEST, o50=offers[0], o54=0x0A000001))
    swarm.run_for(1)
    held = [(lease.address, lease.state) for node in swarm.nodes for lease in node.leases()]
    assert held == [(offers[0], "leased")]
