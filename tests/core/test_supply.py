"""Blocks for many clients at once: claimed with demand, given up again, and never a flood."""

from __future__ import annotations

import random

from ddhcp.core import NodeConfig, Pool
from ddhcp.core.addresses import AddressPlan
from ddhcp.core.blocks import BlockTable
from ddhcp.core.context import Context
from ddhcp.core.leases import LeaseTable
from ddhcp.core.supply import Supply
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm


def chaddr(number: int) -> bytes:
    return (b"\x02\0\x01" + number.to_bytes(3, "big")).ljust(16, b"\0")


def message(kind: int, client: int, address: int = 0) -> Message:
    options = {c.OPT_MESSAGE_TYPE: bytes((kind,))}
    if address:
        options[c.OPT_REQUESTED_ADDRESS] = address.to_bytes(4, "big")
        options[c.OPT_SERVER_ID] = (0x0A000001).to_bytes(4, "big")
    return Message(xid=client, chaddr=chaddr(client), options=options)


def own_blocks(swarm: VirtualSwarm, number: int = 0) -> int:
    return swarm.nodes[number].statistics()["ddhcp.blocks.ours"]


def test_an_avalanche_at_an_empty_node_is_served_in_one_round_of_claiming() -> None:
    """5,000 new clients, ``-t 2 -b 7 -s 200``: all bound within t + 1 s, none of them asked twice."""
    config = NodeConfig(
        Pool(0x0A000000, 16, 128), tentative_timeout_s=2, spare_leases=200, learning_phase=False, lease_time_s=3600
    )
    swarm = VirtualSwarm(1, config)
    swarm.run_for(10)
    began_at = swarm.now
    for client in range(5000):
        swarm.client_sends(0, message(c.DISCOVER, client))
        if client % 50 == 49:
            swarm.run_for(0.005)
    swarm.run_until(began_at + 3)
    offers = {answer.message.xid: answer.message for answer in swarm.answers if answer.message.message_type == c.OFFER}
    assert len(offers) == 5000
    for client, offer in offers.items():
        (ack,) = swarm.client_sends(0, message(c.REQUEST, client, offer.yiaddr))
        assert ack.message_type == c.ACK
    assert len({offer.yiaddr for offer in offers.values()}) == 5000
    assert own_blocks(swarm) <= 5000 / 128 * 2 + 3, "as if as many more might come, and no more"
    assert swarm.nodes[0].statistics()["mcast.send_inquire"] < 60


def test_what_a_burst_made_us_claim_is_given_up_after_it() -> None:
    config = NodeConfig(
        Pool(0x0A000000, 16, 16), tentative_timeout_s=2, learning_phase=False, lease_time_s=60, needless_timeout_s=60
    )
    swarm = VirtualSwarm(1, config)
    swarm.run_for(10)
    before = own_blocks(swarm)
    for client in range(300):
        swarm.client_sends(0, message(c.DISCOVER, client))
    swarm.run_for(5)
    assert own_blocks(swarm) >= 300 / 16
    swarm.run_for(400)
    assert own_blocks(swarm) == before


def test_one_nodes_demand_does_not_empty_the_pool_at_once() -> None:
    """Rule M9."""
    config = NodeConfig(Pool(0x0A000000, 16, 4), tentative_timeout_s=2, learning_phase=False, max_new_blocks_per_min=60)
    swarm = VirtualSwarm(1, config)
    swarm.run_for(10)
    for client in range(3000):
        swarm.client_sends(0, message(c.DISCOVER, client))
    swarm.run_for(20)
    assert 60 <= own_blocks(swarm) <= 90
    assert swarm.nodes[0].statistics()["swarm.claims_rationed"] > 0
    for client in range(3000):
        swarm.client_sends(0, message(c.DISCOVER, client))
    swarm.run_for(30)
    assert own_blocks(swarm) > 90, "it goes on claiming, at its rate, for clients that keep asking"


def test_steady_demand_is_foreseen() -> None:
    """Clients come at a steady pace, faster than one block in each t: they do not wait, after a first round or two."""
    config = NodeConfig(Pool(0x0A000000, 16, 16), tentative_timeout_s=3, learning_phase=False, lease_time_s=3600)
    swarm = VirtualSwarm(1, config)
    swarm.run_for(10)
    waited = 0
    for client in range(600):
        if not swarm.client_sends(0, message(c.DISCOVER, client)) and client > 200:
            waited += 1
        swarm.run_for(0.05)
    assert waited < 20


def test_a_spare_that_not_everybody_could_be_heard_for_is_tried_again_ever_later_but_a_waiting_client_is_not() -> None:
    """Each try has the whole swarm speak."""
    context = Context(NodeConfig(Pool(0x0A000000, 20, 32), tentative_timeout_s=6), random.Random(1))
    pool, policy = context.config.pool, context.config.policy
    table, leases = BlockTable(pool), LeaseTable(pool, AddressPlan(pool, policy))
    supply = Supply(context, table, leases)
    now, waits = 1000.0, []
    for _ in range(12):
        supply.note_doubted(now)
        assert supply.missing_blocks(0, now) == 0
        assert supply.missing_blocks(1, now) == 1
        supply.missing_blocks(0, now)
        waits.append(supply.retry_at - now)
        now = supply.retry_at
        assert supply.missing_blocks(0, now) == 1
    assert sum(waits) > 600
    supply.note_owned()
    supply.note_doubted(now)
    supply.missing_blocks(0, now)
    assert supply.retry_at - now < 10


def test_spares_beyond_the_own_share_are_had_although_everybody_has_to_be_heard_first() -> None:
    """In a swarm of more nodes than are asked each by itself, one that looked again only when their answers had grown
    old had them all speak for ever (I8), and never had a spare."""
    count, poor = 36, 4  # a node whose share of so small a pool has no block
    config = NodeConfig(
        Pool(0x0A000000, 24, 4), tentative_timeout_s=2, spare_leases=1, learning_phase=False, lease_time_s=60
    )
    swarm = VirtualSwarm(count, config)
    held: dict[int, tuple[int, int]] = {}

    def bind(clients: dict[int, int]) -> None:
        for client, node in clients.items():
            swarm.client_sends(node, message(c.DISCOVER, client))
        swarm.run_for(3)
        offers = {answer.message.xid: answer.message.yiaddr for answer in swarm.answers}
        for client, node in clients.items():
            (ack,) = swarm.client_sends(node, message(c.REQUEST, client, offers[client]))
            held[client] = (node, ack.yiaddr)

    def live(seconds: int) -> None:
        for _ in range(0, seconds, 25):
            swarm.run_for(25)
            for client, (node, address) in held.items():
                if node not in swarm.stopped:
                    renewal = message(c.REQUEST, client)
                    renewal.ciaddr = address
                    swarm.client_sends(node, renewal)

    swarm.run_for(20)
    bind({node: node for node in range(count)})
    live(25)
    swarm.stopped.add(count - 1)  # without a word: for 220 s it may be at work elsewhere, which has tries put off
    live(125)
    bind({count + client: poor for client in range(3)})
    live(25)
    assert own_blocks(swarm, poor) == 1
    live(150)
    assert own_blocks(swarm, poor) == 2
    counted = swarm.nodes[poor].statistics()
    assert counted.get("mcast.send_sync", 0) <= 6
    assert counted["direct.send_hello"] <= 4 * count  # it greets each, and asks each for its consent once or twice
