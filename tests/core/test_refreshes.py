"""An announcement that was heard before is not read again: nothing may come of that but what would anyway."""

from __future__ import annotations

import math
import random

import pytest
from test_node import PEER, POOL, STRONGER, WEAKER, hears, message

from ddhcp.core import NodeConfig
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.views import BlockView
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import Inquire, SwarmCodec

CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, lease_time_s=60)
CODEC = SwarmCodec(WEAKER, POOL.prefix, POOL.prefix_len, POOL.block_size)
BLOCK = 99


class Recorded(VirtualSwarm):
    """Keeps what every node did. ``reads_all``: every node is made to forget what it heard before."""

    def __init__(self, count: int, seed: int, *, reads_all: bool) -> None:
        self.reads_all = reads_all
        self.done: list[tuple[float, int, f.Effect]] = []
        super().__init__(count, CONFIG, seed=seed, loss=0.02)

    def feed(self, number: int, event: e.Event) -> list[f.Effect]:
        if self.reads_all:
            self.nodes[number]._context.epoch += 1
            self.nodes[number]._quiet_until = -math.inf
        effects = super().feed(number, event)
        self.done += [(self.now, number, effect) for effect in effects]
        return effects


def live(swarm: VirtualSwarm, seed: int) -> None:
    """Clients come, renew elsewhere and go; links part, fail and heal; a node stops."""
    rng = random.Random(seed)
    count = len(swarm.nodes)
    held: dict[int, int] = {}
    for xid in range(120):
        node, client = rng.randrange(count), rng.randrange(8)
        match rng.randrange(9):
            case 0 | 1 | 2 if node not in swarm.stopped:
                for answer in swarm.client_sends(node, message(c.DISCOVER, client, xid)):
                    request = message(c.REQUEST, client, xid, o50=answer.yiaddr, o54=0x0A000001)
                    swarm.client_sends(node, request)
                    held[client] = answer.yiaddr
            case 3 | 4 if client in held and node not in swarm.stopped:
                swarm.client_sends(node, message(c.REQUEST, client, xid, ciaddr=held[client]))
            case 5 if client in held and node not in swarm.stopped:
                swarm.client_sends(node, message(c.RELEASE, client, xid, ciaddr=held.pop(client)))
            case 6:
                apart = {n for n in range(count) if rng.random() < 0.3}
                swarm.cut = lambda one, other, apart=apart: (one in apart) != (other in apart)  # type: ignore[misc]
            case 7 if node not in swarm.stopped:
                swarm.feed(node, e.ServerLinkDown())
                swarm.run_for(rng.random() * 5)
                swarm.feed(node, e.ServerLinkUp(b"\x02\0\0\0\x01" + bytes((node,)), swarm.addresses[node]))
            case 8 if xid == 100:
                swarm.feed(node, e.Stop())
        swarm.run_for(rng.choice((0.1, 1.0, 10.0, 60.0)) * rng.random())


@pytest.mark.parametrize("seed", range(3))
def test_nodes_do_the_same_whether_they_read_everything_or_not(seed: int) -> None:
    swarms = [Recorded(5, seed, reads_all=reads_all) for reads_all in (False, True)]
    for swarm in swarms:
        live(swarm, seed)
    assert swarms[0].done == swarms[1].done
    for one, other in zip(swarms[0].nodes, swarms[1].nodes, strict=True):
        assert one.statistics() == other.statistics()
        now = swarms[0].now
        assert [v.index for v in one.block_views(now)] == [v.index for v in other.block_views(now)]


def hear(swarm: VirtualSwarm, data: bytes = CODEC.update_claim([(BLOCK, 60)]), source: bytes = PEER) -> list[f.Effect]:
    return swarm.feed(0, e.SwarmReceived(data, source, True))


def used_to_it() -> VirtualSwarm:
    """A node that has heard a peer announce :data:`BLOCK` for 60 s often enough to know what it hears."""
    swarm = VirtualSwarm(1, CONFIG)
    for _ in range(40):
        swarm.run_for(10)
        hear(swarm)
    return swarm


def claim(swarm: VirtualSwarm, index: int = BLOCK) -> BlockView:
    (view,) = [view for view in swarm.nodes[0].block_views(swarm.now) if view.index == index]
    assert view.state == 2
    return view


def test_an_announcement_heard_again_prolongs_the_claim_and_is_counted() -> None:
    swarm = used_to_it()
    before = swarm.nodes[0].statistics()
    for _ in range(5):
        swarm.run_for(10)
        assert claim(swarm).timeout_s == 50
        assert hear(swarm) == []
        assert claim(swarm).timeout_s == 60
    after = swarm.nodes[0].statistics()
    for name, each in (("recv_pkg", 1), ("recv_updateclaim", 1), ("recv_byte", 23)):
        assert after[f"mcast.{name}"] - before[f"mcast.{name}"] == 5 * each
    swarm.run_for(59)
    assert claim(swarm).timeout_s == 1
    swarm.run_for(1.5)
    assert swarm.nodes[0].block_views(swarm.now)[-1].state != 2


def test_a_node_wakes_when_a_claim_ends_however_often_it_was_refreshed() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    for _ in range(300):
        swarm.run_for(1)
        hear(swarm)
    swarm.run_for(59.9)
    assert claim(swarm).timeout_s == 1  # rounded up
    swarm.run_for(0.2)
    assert BLOCK not in [view.index for view in swarm.nodes[0].block_views(swarm.now) if view.state == 2]


def test_another_timeout_is_read() -> None:
    swarm = used_to_it()
    hear(swarm, CODEC.update_claim([(BLOCK, 30)]))
    assert claim(swarm).timeout_s == 30


def test_another_block_is_read() -> None:
    swarm = used_to_it()
    hear(swarm, CODEC.update_claim([(BLOCK, 60), (98, 60)]))
    assert claim(swarm, 98).timeout_s == 60


def test_a_block_that_is_given_up_is_free() -> None:
    swarm = used_to_it()
    hear(swarm, CODEC.update_claim([(BLOCK, 0)]))
    assert BLOCK not in [view.index for view in swarm.nodes[0].block_views(swarm.now)]
    hear(swarm)
    assert claim(swarm).timeout_s == 60


def test_a_block_that_changed_hands_meanwhile_changes_hands_again() -> None:
    swarm = used_to_it()
    theirs = SwarmCodec(STRONGER, POOL.prefix, POOL.prefix_len, POOL.block_size).update_claim([(BLOCK, 60)])
    hear(swarm, theirs, source=b"\xfe\x80" + bytes(13) + b"\x77")
    assert claim(swarm).owner == STRONGER
    hear(swarm)
    assert claim(swarm).owner == WEAKER


def test_an_inquiry_between_two_announcements_changes_nothing() -> None:
    swarm = used_to_it()
    swarm.run_for(10)
    hears(swarm, STRONGER, Inquire((BLOCK,)))
    assert claim(swarm).timeout_s == 50
    hear(swarm)
    assert claim(swarm).timeout_s == 60
