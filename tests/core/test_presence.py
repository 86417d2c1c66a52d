"""Who is told to be there, and who to be gone."""

from __future__ import annotations

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import SwarmCodec

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
PEER = b"\xfe\x80" + bytes(13) + b"\x99"


def told(effects: list[f.Effect]) -> list[tuple[str, object]]:
    logged = [effect for effect in effects if isinstance(effect, f.Log)]
    return [(each.event, each.fields["address"]) for each in logged if each.event.startswith("peer-")]


def test_a_peer_is_told_once_and_again_after_it_fell_silent() -> None:
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(5)
    packet = SwarmCodec(b"\x09" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size).update_claim([(99, 60)])
    heard = e.SwarmReceived(packet, PEER, True)
    assert told(swarm.feed(0, heard)) == [("peer-up", "fe80::99")]
    assert told(swarm.feed(0, heard)) == []
    swarm.now += 2 * CONFIG.block_timeout_s
    assert told(swarm.feed(0, e.Wake())) == []
    swarm.now += 2 * CONFIG.block_timeout_s
    assert told(swarm.feed(0, e.Wake())) == [("peer-down", "fe80::99")]
    assert told(swarm.feed(0, e.Wake())) == []
    assert told(swarm.feed(0, heard)) == [("peer-up", "fe80::99")]
