"""Leases given to a peer: with their blocks when a node stops, without when the peer won a dispute."""

from __future__ import annotations

from collections import Counter

import pytest

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.handover import MAX_UNDER_WAY
from ddhcp.core.records import StoredLease
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import Extension, HandoverMessage, decode, read_extension

HANDOVER_ACK = 34
POOL = Pool(0x0A000000, 20, 4)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, replicas=0)
SERVER_ID = 0x0A000001


def chaddr(number: int) -> bytes:
    return (b"\x02\0\0\0" + number.to_bytes(2, "big")).ljust(16, b"\0")


def message(kind: int, client: int = 1, xid: int = 7, **options: int) -> Message:
    encoded = {int(name[1:]): value.to_bytes(4, "big") for name, value in options.items()}
    return Message(xid=xid, chaddr=chaddr(client), options={c.OPT_MESSAGE_TYPE: bytes((kind,))} | encoded)


def with_leases(nodes: int, clients: int, *, seed: int = 0) -> tuple[VirtualSwarm, dict[int, int]]:
    """A swarm whose first node has many blocks of four addresses, and what its clients have."""
    swarm = VirtualSwarm(nodes, CONFIG, seed=seed)
    swarm.run_for(4)
    held = {}
    for client in range(1, clients + 1):
        before = len(swarm.answers)
        swarm.client_sends(0, message(c.DISCOVER, client, client))
        while not any(a.message.chaddr == chaddr(client) for a in swarm.answers[before:]):
            swarm.run_for(0.5)
        offer = next(a.message for a in swarm.answers[before:] if a.message.chaddr == chaddr(client))
        swarm.client_sends(0, message(c.REQUEST, client, client, o50=offer.yiaddr, o54=SERVER_ID))
        assert swarm.answers[-1].message.message_type == c.ACK
        held[client] = offer.yiaddr
    return swarm, held


def owners(swarm: VirtualSwarm, addresses: list[int]) -> Counter[int]:
    """How many of the addresses each node owns the block of, with the lease."""
    return Counter(
        number
        for number, node in enumerate(swarm.nodes)
        if number not in swarm.stopped
        for stored in node.leases()
        if stored.address in addresses and stored.state == "leased"
    )


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_many_blocks_are_handed_over_and_spread(loss: float) -> None:
    swarm, held = with_leases(4, 100, seed=4)
    assert len({POOL.index_of(address) for address in held.values()}) > MAX_UNDER_WAY
    swarm.loss = loss
    swarm.feed(0, e.Stop())
    swarm.run_for(5)
    assert 0 in swarm.stopped
    took = owners(swarm, list(held.values()))
    assert len(took) >= (2 if loss else 3)  # a peer whose HELLO was lost is given nothing
    assert min(took.values()) > 15
    if not loss:
        assert sum(took.values()) == 100
    else:
        assert sum(took.values()) > 90  # the rest is announced a last time instead
    swarm.loss = 0.0
    for client, address in held.items():
        swarm.client_sends(1 + client % 3, message(c.REQUEST, client, 1000 + client, o50=address))
    swarm.run_for(5)
    acks = {a.message.yiaddr for a in swarm.answers if a.message.xid >= 1000 and a.message.message_type == c.ACK}
    assert len(acks) == sum(took.values())
    assert not any(a.message.message_type == c.NAK for a in swarm.answers)


def test_a_block_is_given_to_one_peer_only_and_to_none_that_is_silent() -> None:
    """Whether a peer that does not acknowledge has the block cannot be known: nobody else may have it too."""
    swarm, held = with_leases(3, 100)
    swarm.stopped.add(2)  # silently
    offered: dict[int, set[bytes]] = {}
    perform = swarm._perform

    def listen(number: int, effect: f.Effect) -> None:
        if number == 0 and isinstance(effect, f.SendUnicast):
            message = decode(effect.data)[1]
            told = read_extension(message) if isinstance(message, Extension) else None
            if isinstance(told, HandoverMessage):
                offered.setdefault(told.index, set()).add(effect.destination)
        perform(number, effect)

    swarm._perform = listen  # type: ignore[method-assign]
    swarm.feed(0, e.Stop())
    swarm.run_for(5)
    assert 0 in swarm.stopped
    assert all(len(peers) == 1 for peers in offered.values())
    assert {peer for peers in offered.values() for peer in peers} == {swarm.addresses[1]}
    assert owners(swarm, list(held.values())) == {1: 100}


def test_a_claim_by_the_receiver_is_as_good_as_its_acknowledgement() -> None:
    swarm, held = with_leases(2, 8)
    carry = swarm._carry

    def lose_acks(sender: int, receiver: int, data: bytes, *, is_multicast: bool) -> None:
        if data[14] != HANDOVER_ACK:
            carry(sender, receiver, data, is_multicast=is_multicast)

    swarm._carry = lose_acks  # type: ignore[method-assign]
    swarm.feed(0, e.Stop())
    swarm.run_for(1)
    assert 0 in swarm.stopped
    assert owners(swarm, list(held.values())) == {1: 8}
    assert swarm.nodes[0].statistics().get("swarm.handovers_unanswered", 0) == 0


def test_with_nobody_to_take_them_the_node_stops_in_time() -> None:
    swarm, _ = with_leases(3, 40)
    swarm.stopped |= {1, 2}
    swarm.feed(0, e.Stop())
    swarm.run_for(5)
    assert 0 in swarm.stopped


@pytest.mark.parametrize(("older", "stays"), [(None, 9), (-1000.0, 9), (0.0, 1)])
def test_the_leases_of_a_lost_block_go_to_the_winner_and_the_younger_of_two_bindings_is_refused(
    older: float | None, stays: int
) -> None:
    """``older``: since when the winner's own client has the address, relative to now."""
    swarm, held = with_leases(2, 3)
    loser, winner = swarm.nodes
    index = POOL.index_of(held[1])
    winner._claims.take_over(index, swarm.now)
    winner._claims.announce_all(swarm.now)
    contested = held[1]
    winner._extensions.handover.merge(
        StoredLease(contested, b"\1\1" + chaddr(9)[:6], chaddr(9), "leased", swarm.now + 200),
        None if older is None else swarm.now + older,
        swarm.now,
    )
    block = loser._claims.table.ours[index]
    peer = loser._peers.get(swarm.addresses[1])
    assert peer is not None
    assert loser._extensions.handover.give(block, peer, swarm.now)
    loser._claims.hand_to(block, peer.node_id, peer.address, 600, swarm.now)
    for number, node in enumerate(swarm.nodes):
        for effect in node._context.take_effects():
            swarm._perform(number, effect)
    swarm.run_for(2)
    at_winner = {stored.address: stored.chaddr for stored in winner.leases() if stored.state == "leased"}
    mine = {client: address for client, address in held.items() if POOL.index_of(address) == index}
    for client, address in mine.items():
        assert at_winner[address] == chaddr(stays if address == contested else client)
    for number, client in ((0, 1), (1, 9)):
        swarm.client_sends(number, message(c.REQUEST, client, 50 + client, o50=contested))
        swarm.run_for(1)
        assert swarm.answers[-1].message.message_type == (c.ACK if client == stays else c.NAK)


def test_an_address_that_is_only_kept_does_not_become_a_lease_by_a_merge() -> None:
    """Another node tells of the same client's lease, which has ended as well: the address stays kept for the client,
    and no promise has to cover that time."""
    swarm, held = with_leases(1, 1)
    node, address = swarm.nodes[0], held[1] ^ 1
    for kept_s in (800, 30):
        told = StoredLease(address, b"\1\1" + chaddr(9)[:6], chaddr(9), "leased", swarm.now - 1, kept_s=kept_s)
        assert node._extensions.handover.merge(told, None, swarm.now)
    (merged,) = [lease for lease in node.leases() if lease.address == address]
    assert (merged.state, merged.expires_at) == ("kept", swarm.now + 799)
    assert node._context.longest_lease_s == 300


@pytest.mark.parametrize("ours_runs", [True, False])
def test_of_a_lease_that_runs_and_one_that_has_ended_the_running_one_stays_however_old_the_other_is(
    ours_runs: bool,
) -> None:
    """A client that was believed to hold the address is not refused for one whose lease has ended (I6)."""
    swarm, held = with_leases(1, 1)
    node, address = swarm.nodes[0], held[1] ^ 1
    age_s = 1000 if ours_runs else 10  # of the other one; ours is between
    for number, runs, since in ((8, ours_runs, swarm.now - 100), (9, not ours_runs, swarm.now - age_s)):
        ends_at = swarm.now + (100 if runs else -1)
        told = StoredLease(address, b"\1\1" + chaddr(number)[:6], chaddr(number), "leased", ends_at, kept_s=500)
        assert node._extensions.handover.merge(told, since, swarm.now)
    (merged,) = [lease for lease in node.leases() if lease.address == address]
    assert (merged.state, merged.chaddr) == ("leased", chaddr(8 if ours_runs else 9))
