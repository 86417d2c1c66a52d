"""What a node knew of others' claims is there after a restart, even where it hears nobody."""

from __future__ import annotations

import random

import pytest
from test_node import PEER, claim_of, hears

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.records import StoredBlock, StoredClaim
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import CAN_CONSENT, Extension, Hello, SwarmCodec, decode, read_extension

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
OWNER_ID = b"\x01" * 8
ADDRESS = b"\xfe\x80" + bytes(13) + b"\x01"
STRANGER = b"\xfe\x80" + bytes(13) + b"\x44"


class Written:
    """The rows about others' claims that a node has had written, and in how many commits."""

    def __init__(self) -> None:
        self.rows: dict[int, StoredClaim] = {}
        self.commits = 0

    def take(self, effects: list[f.Effect]) -> None:
        self.commits += any(isinstance(effect, f.SaveClaim | f.ForgetClaim) for effect in effects)
        for effect in effects:
            if isinstance(effect, f.SaveClaim):
                self.rows[effect.claim.index] = effect.claim
            elif isinstance(effect, f.ForgetClaim):
                self.rows.pop(effect.index, None)


def node_at(now: float, *claims: StoredClaim, seed: int = 1) -> Node:
    node = Node(CONFIG, random.Random(seed))
    node.handle(e.Start(claims=claims), now)
    node.handle(e.ServerLinkUp(b"\x02" + bytes(5), ADDRESS), now)
    return node


def run(node: Node, written: Written, until: float) -> None:
    while (at := node.deadline()) is not None and at <= until:
        written.take(node.handle(e.Wake(), at))


def claims(*blocks: tuple[int, int]) -> e.SwarmReceived:
    codec = SwarmCodec(OWNER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    return e.SwarmReceived(codec.update_claim(list(blocks)), PEER, True)


def foreign(node: Node, now: float) -> dict[int, bytes]:
    """The blocks that the node takes for others', with their owners."""
    return {view.index: view.owner for view in node.block_views(now) if view.state == 2}


def test_a_claim_is_known_after_a_restart_for_longer_than_it_was_announced() -> None:
    node, written = node_at(0.0), Written()
    written.take(node.handle(claims((7, 700), (9, 60)), 10.0))
    run(node, written, 20.0)
    assert written.rows.keys() == {7, 9}
    again = node_at(100.0, *written.rows.values())
    assert foreign(again, 100.0) == {7: OWNER_ID, 9: OWNER_ID}
    assert written.rows[7].closed_until > 710
    run(again, Written(), 2000.0)
    assert foreign(again, 2000.0) == {}, "it was not heard again: that ends"


def test_refreshes_are_written_seldom() -> None:
    """Flash wears out by writing: fifty owners that announce every two minutes, for eight hours."""
    node, written = node_at(0.0), Written()
    run(node, written, 10.0)
    free = [index for index in range(60) if index not in {view.index for view in node.block_views(10.0)}]
    codec = SwarmCodec(OWNER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    for turn in range(240):
        for number, index in enumerate(free[:50]):
            now = 10 + 120.0 * turn + 2.0 * number
            data = codec.update_claim([(index, 700)])
            source = PEER[:-1] + bytes((number + 10,))
            run(node, written, now)
            written.take(node.handle(e.SwarmReceived(data, source, True), now))
    until = min(row.closed_until for row in written.rows.values())
    assert len(written.rows) == 50
    assert until > now + 500, "what is written covers what was announced"
    assert written.commits < now / 300 + 30


def test_what_was_given_up_is_forgotten_soon() -> None:
    """Else a restart would take the block for claimed for as long as the row says (I7)."""
    node, written = node_at(0.0), Written()
    written.take(node.handle(claims((7, 700)), 10.0))
    run(node, written, 30.0)
    written.take(node.handle(claims((7, 0)), 30.0))
    run(node, written, 40.0)
    assert 7 not in written.rows


def test_a_claim_that_was_shortened_is_not_remembered_for_as_long_as_before() -> None:
    node, written = node_at(0.0), Written()
    written.take(node.handle(claims((5, 1000)), 1.0))
    run(node, written, 10.0)
    assert written.rows[5].closed_until > 1700
    for now in range(20, 500, 20):
        written.take(node.handle(claims((5, 60)), float(now)))
        run(node, written, now + 19.0)
    assert 500 < written.rows[5].closed_until < 480 + 60 + 1.25 * 700
    assert written.commits <= 4


def test_a_node_that_stops_writes_what_is_left_to_write() -> None:
    node, written = node_at(0.0), Written()
    node.handle(claims((7, 700)), 10.0)
    written.take(node.handle(e.Stop(), 10.1))
    assert 7 in written.rows


@pytest.mark.parametrize("index", [POOL.block_count, 2**32 - 1])
def test_rows_of_another_pool_are_ignored(index: int) -> None:
    node = node_at(0.0, StoredClaim(index, OWNER_ID, PEER, 1000.0), StoredClaim(3, bytes(8), bytes(16), 1000.0))
    assert foreign(node, 1.0) == {3: bytes(8)}


def test_an_owner_that_is_heard_again_says_what_holds() -> None:
    node = node_at(0.0, StoredClaim(7, bytes(8), bytes(16), 1000.0))
    node.handle(claims((7, 60)), 10.0)
    run(node, Written(), 75.0)
    assert foreign(node, 75.0) == {}


def test_own_blocks_come_first() -> None:
    """A row about another's claim can be older than the block's own."""
    swarm = VirtualSwarm(1, CONFIG)
    swarm.run_for(10)
    (own,) = [view.index for view in swarm.nodes[0].block_views(swarm.now) if view.state == 4]
    swarm.nodes[0] = Node(CONFIG, random.Random(3))
    swarm.feed(0, e.Start((StoredBlock(own, swarm.now + 50),), (), (StoredClaim(own, OWNER_ID, PEER, 5000.0),)))
    assert [view.state for view in swarm.nodes[0].block_views(swarm.now)] == [4]
    hears(swarm, OWNER_ID, claim_of(9))


def test_an_adopted_block_may_be_anothers_after_a_restart_too() -> None:
    """Beyond a parted link its former owner, or another survivor, may lease from it (I1)."""
    swarm = VirtualSwarm(2, CONFIG)
    swarm.run_for(10)
    claimed = claims((7, 340))
    for number in (0, 1):
        swarm.feed(number, claimed)
    swarm.nodes[0]._peers.get(PEER).is_ours = swarm.nodes[1]._peers.get(PEER).is_ours = True
    swarm.cut = lambda sender, receiver: True
    written, blocks = Written(), dict[int, StoredBlock]()
    node = swarm.nodes[0]
    while (at := node.deadline()) is not None and at <= swarm.now + 500:
        effects = node.handle(e.Wake(), at)
        written.take(effects)
        blocks |= {effect.block.index: effect.block for effect in effects if isinstance(effect, f.SaveBlock)}
    adopted = node.statistics()["swarm.blocks_adopted"]
    again = Node(CONFIG, random.Random(2))
    again.handle(e.Start(tuple(blocks.values()), claims=tuple(written.rows.values())), swarm.now + 500)
    again.handle(e.ServerLinkUp(b"\x02" + bytes(5), swarm.addresses[0]), swarm.now + 500)
    run(again, Written(), swarm.now + 530)
    assert 7 in blocks
    assert again.statistics()["ddhcp.blocks.held"] == adopted


def test_a_block_that_a_silent_node_inquired_is_that_nodes_after_a_restart_too() -> None:
    node, written = node_at(1000.0), Written()
    codec = SwarmCodec(OWNER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    node.handle(e.SwarmReceived(codec.update_claim([(7, 60)]), PEER, True), 1010.0)
    node._peers.get(PEER).is_ours = True
    node.handle(e.SwarmReceived(codec.inquire([9]), PEER, True), 1020.0)
    run(node, written, 1030.0)
    for is_heard in (False, True):
        again = node_at(1040.0, *written.rows.values())
        assert 9 in foreign(again, 1040.0)
        if is_heard:
            again.handle(e.SwarmReceived(codec.update_claim([(7, 60)]), PEER, True), 1050.0)
        run(again, Written(), 1040.0 + CONFIG.block_timeout_s + 1)
        closed = {view.index for view in again.block_views(1101.0)}
        assert (9 in closed) is not is_heard, "its promise may run if nothing was heard of it"


def test_what_an_owner_gave_up_unheard_is_not_kept_closed_for_as_long_as_the_row_says() -> None:
    """It was heard to announce others for longer than a refresh takes. Told on, the row's time lasts longer still."""
    node = node_at(0.0, StoredClaim(7, OWNER_ID, PEER, 1400.0))
    codec = SwarmCodec(OWNER_ID, POOL.prefix, POOL.prefix_len, POOL.block_size)
    stranger = SwarmCodec(b"\x03" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    greeting, asked = (
        Hello(False, CAN_CONSENT, bytes(8), "ddhcp"),
        Hello(True, CAN_CONSENT, bytes(8), "ddhcp", blocks=(7,)),
    )
    node.handle(e.SwarmReceived(codec.write(greeting), PEER, False), 1.0)
    answers = []
    for at in range(2, 500, 60):
        node.handle(claims((9, 700)), float(at))
        effects = node.handle(e.SwarmReceived(stranger.write(asked), STRANGER, False), at + 1.0)
        told = [decode(x.data)[1] for x in effects if isinstance(x, f.SendUnicast) and x.destination == STRANGER]
        hellos = [read_extension(x) for x in told if isinstance(x, Extension)]
        answers.append([hello.blocks for hello in hellos if isinstance(hello, Hello)])
    assert answers[0] == [()], "its packet with this block may have been lost"
    assert answers[-1] == [(7,)], "consent"
