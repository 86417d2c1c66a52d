"""Nodes that own nothing: they say that they are there, are reckoned with, and are remembered, because beyond a parted
link they may come to own a block that is wanted on this side as well."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from test_sync import owned

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.peer_memory import MAX_ROWS
from ddhcp.core.records import StoredClaim, StoredPeer
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import CAN_CONSENT, CAN_HEARSAY, Extension, HeardClaim, Hearsay, Hello, SwarmCodec, read_extension

POOL = Pool(0x0A000000, 28, 4)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, spare_leases=0, needless_timeout_s=60)
FRUGAL = replace(CONFIG, spare_leases=1)
GREEDY = replace(CONFIG, spare_leases=100)  # more than there are: it claims whatever it may
PROMISE_S = 700
OTHER = b"\xfe\x80" + bytes(13) + b"\x77"
ANOTHER = b"\xfe\x80" + bytes(13) + b"\x78"
OTHER_ID = b"\x02\0\0\0\x09\x09\0\0"
OWN = b"\xfe\x80" + bytes(13) + b"\x01"


def hello(*, is_leaving: bool = False, source: bytes = OTHER) -> e.SwarmReceived:
    message = Hello(False, CAN_CONSENT, bytes(8), "ddhcp", is_leaving=is_leaving)
    codec = SwarmCodec(OTHER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    return e.SwarmReceived(codec.write(message), source, True)


def said(effects: list[f.Effect]) -> list[Hello]:
    """The HELLOs to everybody among these effects."""
    found = []
    for effect in effects:
        if isinstance(effect, f.SendMulticast):
            codec = SwarmCodec(OTHER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
            message = codec.decode(effect.data)[1]
            if isinstance(message, Extension) and isinstance(read := read_extension(message), Hello):
                found.append(read)
    return found


def started(*peers: StoredPeer, at: float = 0.0, config: NodeConfig = CONFIG) -> Node:
    node = Node(config, random.Random(1))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 28, b"\x02\0\0\0\0\x01")), at)
    node.handle(e.Start(peers=peers), at)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), OWN), at)
    return node


def run(node: Node, until: float) -> list[tuple[float, f.Effect]]:
    effects: list[tuple[float, f.Effect]] = []
    while (at := node.deadline()) is not None and at <= until:
        effects += [(at, effect) for effect in node.handle(e.Wake(), at)]
    return effects


def rows(effects: list[tuple[float, f.Effect]]) -> list[StoredPeer]:
    return [effect.peer for _, effect in effects if isinstance(effect, f.SavePeer)]


def test_a_node_without_blocks_says_that_it_is_there_three_times_in_a_promise() -> None:
    node = started()
    spoken = [at for at, effect in run(node, 20 * PROMISE_S) for message in said([effect])]
    gaps = [after - before for before, after in itertools.pairwise(spoken)]
    assert min(gaps) >= PROMISE_S / 3 * 0.7
    assert max(gaps) <= PROMISE_S / 3
    assert len(set(gaps)) > 10, "not in step with others"


def test_a_node_with_blocks_is_heard_anyway() -> None:
    node = started(config=FRUGAL)
    effects = run(node, 20 * PROMISE_S)
    assert sum(isinstance(effect, f.SendMulticast) for _, effect in effects) > 50
    assert [at for at, effect in effects if said([effect])] == []


def test_who_gives_up_its_last_block_says_at_once_that_it_is_still_there() -> None:
    node = started(config=FRUGAL)
    run(node, 100.0)
    assert len(node.own_blocks(100.0)) == 1
    node.handle(e.Reconfigure(CONFIG), 100.0)
    effects = run(node, 1000.0)
    (gone_at,) = [at for at, effect in effects if isinstance(effect, f.ForgetBlock)]
    assert next(at for at, effect in effects if said([effect])) == gone_at


def test_who_stops_says_goodbye() -> None:
    node = started()
    run(node, 10.0)
    effects = node.handle(e.Stop(), 10.0)
    assert [message.is_leaving for message in said(effects)] == [True]
    assert isinstance(effects[-1], f.Stopped)


@pytest.mark.parametrize("before", [CONFIG, FRUGAL], ids=["both-own-nothing", "one-owns-a-block"])
def test_beyond_a_cut_no_block_is_claimed_that_one_who_owned_nothing_may_claim(before: NodeConfig) -> None:
    for seed in range(12):
        swarm = VirtualSwarm(2, CONFIG, seed=seed)
        swarm.feed(0, e.Reconfigure(before))
        swarm.run_for(10)
        swarm.cut = lambda sender, receiver: True
        for number in (0, 1):
            swarm.feed(number, e.Reconfigure(GREEDY))
        swarm.run_for(PROMISE_S / 2)  # after that orphans are adopted, and held
        assert owned(swarm, range(1)) & owned(swarm, range(1, 2)) == set()
        swarm.cut = lambda sender, receiver: False
        swarm.run_for(60)
        assert len(owned(swarm, range(2))) == POOL.block_count, "nothing stays unused once they hear each other"


@pytest.mark.parametrize("is_leaving", [False, True])
def test_who_owned_nothing_and_stopped_is_waited_for_no_more(is_leaving: bool) -> None:
    """Else each graceful stop would cost the others' clients a promise of waiting where a pool is nearly full."""
    node = started(config=GREEDY)
    node.handle(hello(is_leaving=is_leaving), 1.0)
    run(node, 60.0)
    assert (len(node.own_blocks(60.0)) == POOL.block_count) is is_leaving
    run(node, 2 * PROMISE_S)
    assert len(node.own_blocks(2 * PROMISE_S)) == POOL.block_count


def test_who_is_of_this_kind_is_written_down_once_in_a_while() -> None:
    """Flash wears out by writing: twice in a promise, whether by one HELLO each minute or by announcements."""
    node, effects = started(), list[tuple[float, f.Effect]]()
    codec = SwarmCodec(OTHER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    announced = e.SwarmReceived(codec.update_claim([(2, 700)]), ANOTHER, True)
    node.handle(hello(source=ANOTHER), 1.0)
    for at in range(10, 20 * PROMISE_S, 60):
        effects += run(node, float(at))
        node.handle(hello(), float(at))
        node.handle(announced, float(at))
    for address in (OTHER, ANOTHER):
        mine = [(at, row) for at, effect in effects for row in rows([(at, effect)]) if row.address == address]
        assert 25 <= len(mine) <= 45
        assert all(1.9 * PROMISE_S < row.known_until - at <= 2 * PROMISE_S for at, row in mine)
    assert sum(isinstance(effect, f.SaveClaim) for _, effect in effects) > 0


def test_who_is_not_of_this_kind_is_not_written_down() -> None:
    node = started()
    codec = SwarmCodec(OTHER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    node.handle(e.SwarmReceived(codec.update_claim([(2, 60)]), OTHER, True), 5.0)
    assert rows(run(node, 2000.0)) == []


def test_one_that_was_of_this_kind_and_does_not_answer_is_not_taken_for_a_classic_node() -> None:
    """It may not hear this node, which came back to a link that carries one way (I1)."""
    for is_known in (True, False):
        node = started(*[StoredPeer(OTHER, OTHER_ID, 3000.0)] * is_known, at=1000.0, config=GREEDY)
        codec = SwarmCodec(OTHER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
        for now in range(1001, 1400, 20):
            run(node, float(now))
            node.handle(e.SwarmReceived(codec.update_claim([(2, 60)]), OTHER, True), float(now))
        assert (len(node.own_blocks(1400.0)) < POOL.block_count - 1) is is_known


def test_it_is_reckoned_with_after_a_restart() -> None:
    owned_by: dict[bool, set[int]] = {}
    for is_known in (False, True):
        node = started(*[StoredPeer(OTHER, OTHER_ID, 2000.0)] * is_known, at=1000.0, config=GREEDY)
        run(node, 1100.0)
        owned_by[is_known] = node.own_blocks(1100.0)
    assert len(owned_by[False]) == POOL.block_count
    assert owned_by[True] < owned_by[False], "its share of the pool, and no more"
    run(node, 2100.0)
    assert len(node.own_blocks(2100.0)) == POOL.block_count


def test_a_row_that_has_run_out_is_forgotten_at_the_start() -> None:
    node = Node(CONFIG, random.Random(1))
    effects = node.handle(e.Start(peers=(StoredPeer(OTHER, OTHER_ID, 999.0),)), 1000.0)
    assert f.ForgetPeer(OTHER) in effects
    assert node.peers_of_ours() == []


def test_a_node_is_reckoned_with_for_a_promise_after_the_start_at_most() -> None:
    node = started(StoredPeer(OTHER, OTHER_ID, 1e9), at=1000.0)
    run(node, 1000.0 + PROMISE_S + 10)
    (peer,) = [peer for peer in node._peers if peer.address == OTHER]
    assert not node._peers.is_to_be_reckoned_with(peer, 1000.0 + PROMISE_S + 10)


def test_a_flood_of_strangers_is_remembered_up_to_a_bound() -> None:
    node, effects = started(), list[tuple[float, f.Effect]]()
    for number in range(3 * MAX_ROWS):
        now = 1.0 + number / 100
        effects += run(node, now)
        node.handle(hello(source=b"\xfe\x80" + bytes(10) + number.to_bytes(4, "big")), now)
    effects += run(node, now + 60)
    assert len({row.address for row in rows(effects)}) == MAX_ROWS == len(node.peers_of_ours())
    assert node.statistics()["swarm.peers_not_remembered"] > 0


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_block_kept_for_a_silent_owner_is_free_soon_after_it_announces_others(is_heard: bool) -> None:
    """It was only late; the block it has given up, and that was not heard."""
    node = started(config=replace(CONFIG, serves_clients=False))  # so it adopts nothing

    def closed(now: float) -> list[int]:
        run(node, now)
        return [view.index for view in node.block_views(now) if view.state == 1]

    codec = SwarmCodec(OTHER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    node.handle(hello(), 1.0)
    node.handle(e.SwarmReceived(codec.update_claim([(2, 60), (3, 60)]), OTHER, True), 2.0)
    assert closed(400.0) == [2, 3], "leases have ended, but it may be at work"
    if is_heard:
        node.handle(e.SwarmReceived(codec.update_claim([(3, 60)]), OTHER, True), 400.0)
    assert closed(461.0) == ([3] if is_heard else [2, 3])
    if not is_heard:
        assert closed(2.0 + PROMISE_S - 1) == [2, 3]
        assert closed(2.0 + PROMISE_S + 1) == []


def test_what_was_on_disk_of_an_owner_is_told_others_for_as_long_as_it_announced_and_no_longer() -> None:
    """Who told on what the owner may do out of sight, without having heard it, would keep its block closed for ever."""
    node = Node(replace(CONFIG, serves_clients=False), random.Random(1))
    node.handle(
        e.Start((), (), (StoredClaim(2, OTHER_ID, OTHER, 1100.0),), (StoredPeer(OTHER, OTHER_ID, 1900.0),)), 1000.0
    )
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), OWN), 1000.0)
    codec = SwarmCodec(b"\x02\0\0\0\x08\x08\0\0", POOL.prefix, POOL.prefix_len, POOL.block_size)

    def told(now: float) -> list[HeardClaim]:
        run(node, now)
        greeting = codec.write(Hello(False, CAN_HEARSAY, bytes(8), "ddhcp"))
        node.handle(e.SwarmReceived(greeting, ANOTHER, True), now)
        found: list[HeardClaim] = []
        for effect in node.handle(e.SwarmReceived(codec.inquire(()), ANOTHER, True), now):
            if isinstance(effect, f.SendUnicast):
                message = codec.decode(effect.data)[1]
                if isinstance(message, Extension) and isinstance(read := read_extension(message), Hearsay):
                    found += read.claims
        return found

    assert [(claim.index, claim.closed_s) for claim in told(1050.0)] == [(2, 50)]
    assert told(1200.0) == []
    assert [(view.index, view.state) for view in node.block_views(1200.0)] == [(2, 1)], "it is closed here all the same"
    run(node, 1000.0 + PROMISE_S + 1)
    assert node.block_views(1000.0 + PROMISE_S + 1) == []
