"""A question for a client that nobody here knows costs next to nothing, and nothing may come of it but what would
anyway."""

from __future__ import annotations

import math
import random

import pytest
from test_node import POOL, message

from ddhcp.core import NodeConfig
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import LOCATE, Hello, Locate, SwarmCodec, WantedClient

# Without replicas every client that comes may have an address elsewhere.
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, lease_time_s=60, replicas=0)
NEWCOMER = b"\xfe\x80" + bytes(13) + b"\x55"
CODEC = SwarmCodec(b"\x02\0\0\0\0\x55\0\0", POOL.prefix, POOL.prefix_len, POOL.block_size)


def chaddr(number: int) -> bytes:
    return message(c.DISCOVER, number, 1).chaddr


def locate(*clients: int) -> bytes:
    return CODEC.write(Locate(tuple(WantedClient(number, chaddr(number), chaddr(number)) for number in clients)))


class Recorded(VirtualSwarm):
    """Keeps what every node did. ``reads_all``: no node takes a shortcut. ``locates``: how many LOCATEs were heard, and
    ``taken`` of these by a shortcut."""

    def __init__(self, count: int, *, seed: int = 0, reads_all: bool = False) -> None:
        self.reads_all = reads_all
        self.done: list[tuple[float, int, f.Effect]] = []
        self.locates = self.taken = 0
        super().__init__(count, CONFIG, seed=seed, loss=0.02)

    def feed(self, number: int, event: e.Event) -> list[f.Effect]:
        if self.reads_all:
            self.nodes[number]._quiet_until = -math.inf
        if isinstance(event, e.SwarmReceived) and event.data[14] == LOCATE:
            self.locates += 1
            if self.nodes[number].takes(event, self.now):
                self.taken += 1
                return []
        effects = super().feed(number, event)
        self.done += [(self.now, number, effect) for effect in effects]
        return effects


def live(swarm: Recorded, seed: int) -> None:
    """Clients come, to any node, and come again elsewhere having forgotten everything; a node stops."""
    rng = random.Random(seed)
    for xid in range(100):
        if xid == 80:
            swarm.feed(0, e.Stop())
        node, client = rng.randrange(1, len(swarm.nodes)), rng.randrange(60)
        swarm.client_sends(node, message(c.DISCOVER, client, xid))
        swarm.run_for(0.3)
        offers = [a.message for a in swarm.answers[-3:] if a.message.xid == xid and a.message.yiaddr]
        for offer in offers[:1]:
            swarm.client_sends(node, message(c.REQUEST, client, xid, o50=offer.yiaddr, o54=0x0A000001))
        swarm.run_for(rng.choice((0.1, 1.0, 10.0)) * rng.random())


@pytest.mark.parametrize("seed", range(2))
def test_nodes_do_the_same_whether_they_take_shortcuts_or_not(seed: int) -> None:
    swarms = [Recorded(6, seed=seed, reads_all=reads_all) for reads_all in (False, True)]
    for swarm in swarms:
        swarm.run_for(200)  # every node is used to every other's announcements
        live(swarm, seed)
    assert swarms[0].locates > 80
    assert [swarm.taken > 50 for swarm in swarms] == [True, False]
    assert swarms[0].done == swarms[1].done
    for one, other in zip(swarms[0].nodes, swarms[1].nodes, strict=True):
        assert one.statistics() == other.statistics()


def at_rest() -> Recorded:
    """Three nodes that know a fourth, and each other's announcements; the first has leased an address to client 1."""
    swarm = Recorded(3)
    swarm.run_for(10)
    swarm.client_sends(0, message(c.DISCOVER, 1, 1))
    swarm.run_for(0.3)
    swarm.client_sends(0, message(c.REQUEST, 1, 1, o50=swarm.answers[-1].message.yiaddr, o54=0x0A000001))
    for number in range(3):
        swarm.feed(number, e.SwarmReceived(CODEC.write(Hello(False, 2, bytes(8), "x")), NEWCOMER, False))
    swarm.run_for(30)
    return swarm


def asked(swarm: Recorded, number: int, data: bytes, *, waited_s: float = 0.0) -> list[f.Effect]:
    return swarm.feed(number, e.SwarmReceived(data, NEWCOMER, True, waited_s))


def test_only_who_knows_the_client_answers() -> None:
    swarm = at_rest()
    for _ in range(20):
        swarm.run_for(0.7)
        before = [node.statistics() for node in swarm.nodes]
        assert any(isinstance(effect, f.SendUnicast) for effect in asked(swarm, 0, locate(7, 1)))
        assert asked(swarm, 1, locate(7, 1)) == []
        assert asked(swarm, 0, locate(7)) == []
        for number, heard in ((0, [locate(7, 1), locate(7)]), (1, [locate(7, 1)])):
            after = swarm.nodes[number].statistics()
            assert after["mcast.recv_pkg"] - before[number]["mcast.recv_pkg"] == len(heard)
            assert after["mcast.recv_byte"] - before[number]["mcast.recv_byte"] == sum(map(len, heard))


def test_what_is_no_question_is_refused_as_ever() -> None:
    swarm = at_rest()
    torn = locate(7)[:-1]
    before = swarm.nodes[1].statistics().get("swarm.drop.extension-too-short", 0)
    for _ in range(3):
        assert asked(swarm, 1, torn) == []
        swarm.run_for(1)
    assert swarm.nodes[1].statistics()["swarm.drop.extension-too-short"] == before + 3


def test_a_question_that_waited_is_dropped_as_stale() -> None:
    swarm = at_rest()
    asked(swarm, 1, locate(7), waited_s=5.0)
    assert swarm.nodes[1].statistics()["swarm.drop.stale"] == 1


def test_counters_begin_anew_when_they_are_reset() -> None:
    swarm = at_rest()
    asked(swarm, 1, locate(7))
    swarm.feed(1, e.ResetStatistics())
    assert swarm.nodes[1].statistics()["mcast.recv_pkg"] == 0
