"""An owner that cannot be reached costs its clients nothing: peers prolong their leases, and the owner, wherever it is,
keeps the addresses for them meanwhile."""

from __future__ import annotations

import pytest
from test_replication import CONFIG, crash, lease, message, replicas, restart

from ddhcp.core import Node, NodeConfig
from ddhcp.core import events as e
from ddhcp.core.policy import Conflicts
from ddhcp.core.records import StoredBlock
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm

LEASE_S = CONFIG.lease_time_s
PROMISE_S = 2 * LEASE_S + 100


def swarm_of(count: int, config: NodeConfig = CONFIG) -> VirtualSwarm:
    swarm = VirtualSwarm(count, config, seed=11)
    swarm.run_for(40)
    return swarm


def renews(swarm: VirtualSwarm, node: int, address: int, xid: int) -> int | None:
    """A client asks node ``node`` to renew ``address``; the seconds it gets, None for silence."""
    before = len(swarm.answers)
    swarm.client_sends(node, message(c.REQUEST, xid=xid, ciaddr=address), source=address)
    swarm.run_for(5)
    acks = [a.message for a in swarm.answers[before:] if a.message.xid == xid and a.message.message_type == c.ACK]
    return acks[0].lease_time_s if acks else None


def lives_on(swarm: VirtualSwarm, node: int, address: int, seconds: float) -> float:
    """A client at ``node`` renews at half of its lease, as it should, for ``seconds``, and starts over when its lease
    ends. It never gets another address; returns for how long it was without."""
    until, xid, without_s = swarm.now + seconds, 1000, 0.0
    ends_at = swarm.now + LEASE_S / 2
    while swarm.now < until:
        xid += 1
        asked_at = swarm.now
        granted_s = renews(swarm, node, address, xid) if asked_at < ends_at else starts_over(swarm, node, address, xid)
        without_s += max(0.0, min(swarm.now, asked_at + 5) - max(asked_at, ends_at))
        if granted_s is not None:
            ends_at = max(ends_at, asked_at + granted_s)
        swarm.run_for(max(1.0, min(LEASE_S / 2, (ends_at - swarm.now) / 2)))
    return without_s


def starts_over(swarm: VirtualSwarm, node: int, address: int, xid: int) -> int | None:
    """A client whose lease ended asks for any address; the seconds it gets the former one for, None for silence."""
    before = len(swarm.answers)
    swarm.client_sends(node, message(c.DISCOVER, xid=xid, o50=address))
    swarm.run_for(4)
    offers = [a.message.yiaddr for a in swarm.answers[before:] if a.message.xid == xid]
    if not offers:
        return None
    assert set(offers) == {address}
    swarm.client_sends(node, message(c.REQUEST, xid=xid, o50=address, o54=0x0A000001))
    swarm.run_for(4)
    answers = [a.message for a in swarm.answers[before:] if a.message.xid == xid]
    assert c.NAK not in {answer.message_type for answer in answers}, "what was offered is not refused"
    return next((answer.lease_time_s for answer in answers if answer.message_type == c.ACK), None)


def test_a_client_of_a_dead_owner_keeps_its_address_for_good() -> None:
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(5)
    crash(swarm, 0)
    without_s = lives_on(swarm, 1, address, 3 * PROMISE_S)
    assert without_s < 30, "once, when the owner's promise ends and a guardian adopts the block"
    assert not swarm.duplicates


def test_an_owner_beyond_a_cut_keeps_an_address_that_its_peers_prolong() -> None:
    """Shorter than the promise: the owner hears nothing of its client, and gives the address to nobody."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(5)
    swarm.cut = lambda sender, receiver: 0 in (sender, receiver)
    assert not lives_on(swarm, 1, address, LEASE_S + 100)
    others = {lease(swarm, 0, client) for client in range(2, 20)}
    assert address not in others
    assert not swarm.duplicates
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(30)
    assert renews(swarm, 1, address, 5000) == LEASE_S, "its owner knows it still"


def test_the_address_is_free_again_in_the_end() -> None:
    config = NodeConfig(CONFIG.pool, tentative_timeout_s=3, learning_phase=False)
    swarm = swarm_of(2, config)
    address = lease(swarm, 0)
    swarm.run_for(LEASE_S + 1)
    (kept,) = (known for known in swarm.nodes[0].leases() if known.address == address)
    assert kept.state == "kept"
    swarm.run_for(1.5 * LEASE_S + 100)
    (kept,) = (known for known in swarm.nodes[0].leases() if known.address == address)
    assert kept.state == "expired"


def test_its_client_gets_a_kept_address_again_at_once() -> None:
    swarm = swarm_of(2)
    address = lease(swarm, 0)
    swarm.run_for(LEASE_S + 1)
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, xid=9))
    assert offer.yiaddr == address
    swarm.run_for(60)
    (state,) = (known.state for known in swarm.nodes[0].leases() if known.address == address)
    assert state == "kept", "an offer that was not taken up does not end the keeping"
    assert lease(swarm, 0) == address


def test_a_client_that_gave_its_address_back_leaves_nothing_to_keep() -> None:
    swarm = swarm_of(2)
    address = lease(swarm, 0)
    swarm.run_for(LEASE_S + 1)
    swarm.client_sends(0, message(c.RELEASE, xid=10, ciaddr=address), source=address)
    swarm.run_for(0.1)  # its replica hears of it
    assert state_of(swarm, address) == "released"


def state_of(swarm: VirtualSwarm, address: int) -> str:
    (state,) = (known.state for known in swarm.nodes[0].leases() if known.address == address)
    return state


def test_an_address_given_back_is_nobody_elses_while_a_replica_does_not_know() -> None:
    """It may stand in for its client yet."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.update((1, 2))
    swarm.client_sends(0, message(c.RELEASE, xid=10, ciaddr=address), source=address)
    swarm.run_for(20)
    assert state_of(swarm, address) == "kept"
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, xid=11))
    assert offer.yiaddr == address, "but its client has it again at once"
    (refusal,) = swarm.client_sends(0, message(c.REQUEST, client=2, xid=12, o50=address))
    assert refusal.message_type == c.NAK
    swarm.run_for(LEASE_S * 2.5 + 200)
    assert state_of(swarm, address) == "expired", "not for ever"


def test_an_address_declined_once_too_often_is_nobody_elses_while_a_replica_does_not_know() -> None:
    """Beyond the cap a declined address counts as given back."""
    swarm = swarm_of(3)
    for _ in range(Conflicts().declines_per_client):
        swarm.client_sends(0, message(c.DECLINE, o50=lease(swarm, 0)))
    address = lease(swarm, 0)
    swarm.run_for(1)
    swarm.stopped.update((1, 2))
    swarm.client_sends(0, message(c.DECLINE, o50=address))
    swarm.run_for(20)
    assert swarm.nodes[0].statistics()["dhcp.drop.too-many-declines"] == 1
    assert state_of(swarm, address) == "kept"


def test_a_replica_that_stood_in_before_it_heard_of_a_release_is_not_let_down() -> None:
    """It granted the address to the same client anew: then the owner gives it to nobody else, and renews the lease."""
    swarm = swarm_of(2)
    address = lease(swarm, 0)
    swarm.run_for(2)
    swarm.cut = lambda sender, receiver: True
    swarm.client_sends(0, message(c.RELEASE, xid=10, ciaddr=address), source=address)
    assert starts_over(swarm, 1, address, 11) is not None
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(45)  # it was taken for gone, and is asked again
    (offer,) = swarm.client_sends(0, message(c.DISCOVER, client=2, xid=12, o50=address))
    assert offer.yiaddr != address
    assert renews(swarm, 1, address, 13) == LEASE_S


def test_replicas_know_that_an_address_is_kept_whose_release_one_of_them_heard_late() -> None:
    """So that whoever takes the owner's place keeps it too."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(2)
    swarm.cut = lambda sender, receiver: {sender, receiver} == {0, 1}
    swarm.client_sends(0, message(c.RELEASE, xid=10, ciaddr=address), source=address)
    assert starts_over(swarm, 1, address, 11) is not None
    swarm.run_for(2)
    (known,) = replicas(swarm, 2).of_block(CONFIG.pool.index_of(address))
    assert known.address == address
    assert known.kept_s > LEASE_S


def test_an_address_given_back_elsewhere_is_kept() -> None:
    """Nobody knows how long ago that was, and who has stood in for its owner since."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(2)
    swarm.client_sends(1, message(c.RELEASE, xid=10, ciaddr=address), source=address)
    swarm.run_for(5)
    assert state_of(swarm, address) == "kept"
    assert starts_over(swarm, 2, address, 11) == LEASE_S, "but for its client"


def test_after_a_restart_it_is_not_known_who_knows() -> None:
    swarm = swarm_of(2)
    address = lease(swarm, 0)
    swarm.run_for(1)
    (view,) = (view for view in swarm.nodes[0].block_views(swarm.now) if view.state == 4 and view.leased)
    swarm.cut = lambda sender, receiver: True
    leases = tuple(swarm.nodes[0].leases())
    swarm.nodes[0] = Node(CONFIG, swarm.rng)
    swarm.feed(0, e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, b"\x02\0\0\0\0\x01")))
    swarm.feed(0, e.Start((StoredBlock(view.index, swarm.now + view.timeout_s - 1),), leases))
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.client_sends(0, message(c.RELEASE, xid=10, ciaddr=address), source=address)
    swarm.run_for(30)
    assert state_of(swarm, address) == "kept"


@pytest.mark.parametrize("peers", [1, 2])
def test_without_anybody_who_could_stand_in_nothing_is_kept(peers: int) -> None:
    config = NodeConfig(CONFIG.pool, tentative_timeout_s=3, learning_phase=False, replicas=0)
    swarm = swarm_of(peers, config)
    address = lease(swarm, 0)
    swarm.run_for(LEASE_S + 1)
    (state,) = (known.state for known in swarm.nodes[0].leases() if known.address == address)
    assert state == "expired"


def test_after_a_restart_an_address_is_kept_as_long_as_before() -> None:
    """While it was away, peers may have prolonged a lease."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(10)
    crash(swarm, 0)
    swarm.run_for(LEASE_S + 50)
    restart(swarm, 0)
    swarm.run_for(5)
    found = [known.state for known in swarm.nodes[0].leases() if known.address == address]
    assert found in ([], ["kept"])
    others = {lease(swarm, 0, client) for client in range(2, 20)}
    assert address not in others


def test_a_restart_long_after_the_last_word_keeps_what_peers_may_have_prolonged() -> None:
    """The owner died just after it had granted the lease: its disk knows of no promise that still runs. Who stood in
    for it is gone as well when it comes back (I1)."""
    swarm = swarm_of(2)
    address = lease(swarm, 0)
    swarm.run_for(1)
    index = CONFIG.pool.index_of(address)
    leases, known_promise = tuple(swarm.nodes[0].leases()), StoredBlock(index, swarm.now + 60)
    crash(swarm, 0)
    swarm.run_for(LEASE_S / 2)
    assert renews(swarm, 1, address, 20) == LEASE_S, "from a replica"
    crash(swarm, 1)
    swarm.run_for(LEASE_S / 2 + 30)
    swarm.nodes[0] = Node(CONFIG, swarm.rng)
    swarm.stopped.discard(0)
    swarm.feed(0, e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, b"\x02\0\0\0\0\x01")))
    swarm.feed(0, e.Start((known_promise,), leases))
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(20)
    assert state_of(swarm, address) in ("leased", "kept"), "not every renewal is written"
    assert address not in {lease(swarm, 0, client) for client in range(2, 20)}
    assert renews(swarm, 0, address, 21) == LEASE_S, "but for its client"


def test_an_owner_that_lost_its_memory_refuses_nobody() -> None:
    """It does not know of the block any more; its clients' leases run all the same."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(5)
    crash(swarm, 0)
    assert renews(swarm, 1, address, 20) == LEASE_S, "from a replica"
    restart(swarm, 0)
    before = len(swarm.answers)
    renews(swarm, 1, address, 21)
    assert c.NAK not in {answer.message.message_type for answer in swarm.answers[before:]}


def test_nothing_is_granted_from_a_replica_once_the_promise_has_ended() -> None:
    """Another node may have taken the block: the client waits until a guardian has it (invariant I2)."""
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(5)
    crash(swarm, 0)
    lives_on(swarm, 1, address, LEASE_S)
    swarm.run_for(PROMISE_S - LEASE_S)
    before = len(swarm.answers)
    swarm.client_sends(1, message(c.REQUEST, xid=30, ciaddr=address), source=address)
    swarm.run_for(20)
    granted = [a for a in swarm.answers[before:] if a.message.message_type == c.ACK]
    blocks = [view for view in swarm.nodes[1].block_views(swarm.now) if view.index == CONFIG.pool.index_of(address)]
    assert not granted or blocks[0].owner != swarm.nodes[0].view().node_id


def test_a_kept_address_goes_along_when_the_node_stops() -> None:
    swarm = swarm_of(3)
    address = lease(swarm, 0)
    swarm.run_for(LEASE_S + 1)
    swarm.feed(0, e.Stop())
    swarm.run_for(10)
    states = [known.state for node in swarm.nodes[1:] for known in node.leases() if known.address == address]
    assert states == ["kept"]


def test_a_node_that_knows_nothing_finds_one_that_stands_in() -> None:
    swarm = swarm_of(8)
    address = lease(swarm, 0)
    swarm.run_for(5)
    crash(swarm, 0)
    assert [renews(swarm, node, address, 40 + node) for node in range(1, 8)] == [LEASE_S] * 7


def test_nobody_stands_in_for_a_client_that_does_not_hold_the_address() -> None:
    swarm = swarm_of(8)
    address = lease(swarm, 0)
    swarm.run_for(5)
    crash(swarm, 0)
    before = len(swarm.answers)
    for node in range(1, 8):
        swarm.client_sends(node, message(c.REQUEST, client=9, xid=60 + node, ciaddr=address), source=address)
        swarm.run_for(5)
    assert {answer.message.message_type for answer in swarm.answers[before:]} <= {c.NAK}
    assert not swarm.duplicates
