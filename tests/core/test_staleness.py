"""A process that was stopped finds old datagrams in its sockets: they say what held when they came."""

from __future__ import annotations

import pytest
from test_node import PEER, POOL, claimed, message, own_block
from test_replication import lease
from test_replication import message as of_its_client

from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import RENEWLEASE, Extension, SwarmCodec, decode

CODEC = SwarmCodec(b"\x01" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)


def left_s(swarm: VirtualSwarm, index: int) -> int | None:
    """For how long node 0 takes a block for another's."""
    views = [v.timeout_s for v in swarm.nodes[0].block_views(swarm.now) if (v.index, v.state) == (index, 2)]
    return views[0] if views else None


@pytest.mark.parametrize(("waited_s", "left"), [(0.0, 700), (0.9, 700), (300.5, 400), (699.0, 1), (700.0, None)])
def test_a_claim_that_was_read_late_holds_for_what_is_left_of_it(waited_s: float, left: int | None) -> None:
    swarm = claimed(1)
    swarm.feed(0, e.SwarmReceived(CODEC.update_claim([(77, 700)]), PEER, True, waited_s))
    assert left_s(swarm, 77) == left


def test_a_block_that_was_given_up_long_ago_is_free() -> None:
    swarm = claimed(1)
    for timeout_s in (700, 0):
        swarm.feed(0, e.SwarmReceived(CODEC.update_claim([(77, timeout_s)]), PEER, True, 300.0))
    assert left_s(swarm, 77) is None


def test_an_old_claim_is_no_sign_of_life() -> None:
    swarm = claimed(1)
    swarm.feed(0, e.SwarmReceived(CODEC.update_claim([(77, 700)]), PEER, True, 300.0))
    peer = swarm.nodes[0]._peers.get(PEER)
    assert peer is not None
    assert swarm.nodes[0]._peers.is_missing(peer, swarm.now)


def test_an_old_question_is_not_answered() -> None:
    swarm = claimed(1)
    address = lease(swarm, 0)
    data = CODEC.lease_message(RENEWLEASE, address.to_bytes(4, "big"), 9, 300, message(c.REQUEST).chaddr)
    assert swarm.feed(0, e.SwarmReceived(data, PEER, False, 30.0)) == []
    assert any(isinstance(x, f.SendUnicast) for x in swarm.feed(0, e.SwarmReceived(data, PEER, False, 0.5)))


@pytest.mark.parametrize("kind", [c.RELEASE, c.DECLINE])
@pytest.mark.parametrize(("waited_s", "is_heard"), [(100.0, False), (1.0, True)])
def test_an_address_that_was_given_back_long_ago_stays_its_clients(kind: int, waited_s: float, is_heard: bool) -> None:
    """The owner stood still; meanwhile its client asked for the address elsewhere, and peers that stand in granted it
    (I1)."""
    swarm = claimed(1)
    address = lease(swarm, 0)
    options = {"ciaddr": address} if kind == c.RELEASE else {"o50": address}
    data = of_its_client(kind, **options).encode()
    swarm.feed(0, e.DhcpReceived("client0", data, address, 0xFFFFFFFF, waited_s))
    (known,) = swarm.nodes[0].leases()
    assert (known.state != "leased") is is_heard


@pytest.mark.parametrize(("waited_s", "is_free"), [(1.5, False), (0.05, True)])
def test_an_address_that_was_given_back_a_moment_ago_may_have_been_granted_by_a_peer_meanwhile(
    waited_s: float, is_free: bool
) -> None:
    """The owner stood still for a second and a half: peers stand in after half a second, so it is kept."""
    swarm = claimed(3)
    address = lease(swarm, 0)
    swarm.run_for(60)
    data = of_its_client(c.RELEASE, ciaddr=address).encode()
    swarm.feed(0, e.DhcpReceived("client0", data, address, 0xFFFFFFFF, waited_s))
    swarm.run_for(2)
    (known,) = swarm.nodes[0].leases()
    assert known.state == ("released" if is_free else "kept")


def test_old_news_of_leases_is_told_again() -> None:
    """What a lease had left then, it has no longer."""
    swarm = claimed(2)
    held: list[e.SwarmReceived] = []
    swarm.cut = lambda sender, receiver: True
    (offer,) = swarm.client_sends(0, message(c.DISCOVER))
    swarm._last_xid[message(c.REQUEST).chaddr] = 7
    request = message(c.REQUEST, o50=offer.yiaddr, o54=0x0A000001).encode()
    for effect in swarm.feed(0, e.DhcpReceived("client0", request, 0, 0xFFFFFFFF)):
        if isinstance(effect, f.SendUnicast):
            held.append(e.SwarmReceived(effect.data, swarm.addresses[0], False, 60.0))
    swarm.cut = lambda sender, receiver: False
    assert any(isinstance(decode(event.data)[1], Extension) for event in held)
    for event in held:
        assert swarm.feed(1, event) == []
    swarm.run_for(5)
    assert swarm.nodes[1]._extensions.replicas.at(offer.yiaddr) is not None
    assert POOL.index_of(offer.yiaddr) == own_block(swarm, 0)
