"""Which blocks a node claims: its own share, in any pool, and nothing that a missing node may claim too."""

from __future__ import annotations

import random

import pytest
from test_node import message

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.core.addresses import AddressPlan
from ddhcp.core.blocks import BlockEvent, BlockTable
from ddhcp.core.choice import MAX_CANDIDATES, BlockChoice
from ddhcp.core.consents import CONSENT_HOLDS, FRESH_S, Consents
from ddhcp.core.context import Context
from ddhcp.core.leases import LeaseTable
from ddhcp.core.own_share import OwnShare
from ddhcp.core.peers import Peers
from ddhcp.core.policy import Policy
from ddhcp.core.remedies import Remedy
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import CAN_CONSENT

LARGE = Pool(0x0A000000, 8, 4)
SMALL = Pool(0x0A000000, 26, 4)  # 16 blocks


def address_of(number: int) -> bytes:
    return b"\xfe\x80" + bytes(12) + number.to_bytes(2, "big")


def node_id_of(number: int) -> bytes:
    return b"\x02\0\0\0" + number.to_bytes(2, "big") + b"\0\0"


class Chooser:
    """The choice of one node that knows ``count`` nodes, itself among them."""

    def __init__(self, number: int, count: int, pool: Pool = SMALL, **config: bool) -> None:
        self.questions = 0
        self.awaits_answers = True
        self.probed: list[bytes] = []
        self.asked_for: list[tuple[bytes, tuple[int, ...]]] = []
        self.context = Context(NodeConfig(pool, **config), random.Random(number))  # type: ignore[arg-type]
        self.context.node_id, self.context.address = node_id_of(number), address_of(number)
        self.table, self.peers = BlockTable(pool), Peers()
        self.share = OwnShare(self.context, self.peers)
        self.consents = Consents(self.context, self.peers, self.share, self._asked)
        leases = LeaseTable(pool, AddressPlan(pool, Policy()))
        self.choice = BlockChoice(self.context, self.table, leases, self.share, self.consents)
        self.consents.probe = self._probed
        for other in range(count):
            if other != number:
                peer = self.peers.hear(address_of(other), node_id_of(other), 0.0)
                peer.expected_s = 20.0
                self.peers.note_claim(peer, 60.0)

    def _asked(self, now: float) -> bool:
        self.questions += 1
        return self.awaits_answers

    def _probed(self, address: bytes, blocks: tuple[int, ...], are_owned: bool) -> None:
        self.probed.append(address)
        if blocks:
            self.asked_for.append((address, blocks))

    def miss(self, number: int) -> None:
        """The other nodes go on being heard; this one has been silent for longer than it should."""
        for peer in self.peers:
            silent = peer.address == address_of(number)
            peer.heard_at = peer.claims_at = 0.0 if silent else 40.0


def test_no_two_nodes_want_the_same_block_of_a_large_pool() -> None:
    chosen = [Chooser(number, 30, LARGE).choice.choose(5, 0.0) for number in range(30)]
    assert all(len(blocks) == 5 for blocks in chosen)
    assert len({index for blocks in chosen for index in blocks}) == 150


def test_the_share_is_found_in_a_pool_of_millions_with_hundreds_of_nodes() -> None:
    chooser = Chooser(0, 500, LARGE)
    (index,) = chooser.choice.choose(1, 0.0)
    assert chooser.table.free.sample(random.Random(1), 1), "nothing was taken by choosing"
    assert 0 <= index < LARGE.block_count
    assert LARGE.block_count > MAX_CANDIDATES


def test_when_the_own_share_is_used_up_others_are_taken_unless_a_node_is_missing() -> None:
    chooser = Chooser(0, 4)
    everything = chooser.choice.choose(16, 0.0)
    assert sorted(everything) == list(range(16))
    chooser.miss(2)
    share = chooser.choice.choose(16, 40.0)
    assert 0 < len(share) < 16
    assert share == everything[: len(share)] or set(share) < set(everything)


def test_while_nodes_miss_each_other_no_block_is_wanted_on_both_sides() -> None:
    """Even though each side would take everything there is."""
    wanted: list[set[int]] = []
    for number, missing in ((0, 2), (1, 2), (2, 0), (3, 0)):
        chooser = Chooser(number, 4)
        chooser.miss(missing)
        wanted.append(set(chooser.choice.choose(16, 40.0)))
    assert not (wanted[0] | wanted[1]) & (wanted[2] | wanted[3])


@pytest.mark.parametrize(
    "config", [{"prefer_availability": True}, {"without": frozenset({Remedy.MISSING_PEERS})}], ids=["configured", "off"]
)
def test_availability_may_be_preferred(config: dict[str, bool]) -> None:
    chooser = Chooser(0, 4, **config)
    chooser.miss(2)
    assert len(chooser.choice.choose(16, 40.0)) == 16


def test_caution_ends_when_the_promise_of_the_missing_one_has() -> None:
    chooser = Chooser(0, 4)
    chooser.miss(2)
    assert chooser.consents.is_cautious(59.0)
    assert not chooser.consents.is_cautious(60.0)


def test_own_former_blocks_come_first_then_never_owned_then_the_longest_free() -> None:
    chooser = Chooser(0, 1)
    table = chooser.table
    for index in (3, 7, 9):
        table.apply(index, BlockEvent.CLAIMED_BY_STRONGER)
        table.apply(index, BlockEvent.GIVEN_UP)
    table.apply(5, BlockEvent.WE_INQUIRE)
    table.apply(5, BlockEvent.UNCONTESTED)
    chooser.choice.own(5)
    table.apply(5, BlockEvent.WE_GIVE_UP)
    chooser.choice.let_go(5)
    chosen = chooser.choice.choose(16, 0.0)
    assert chosen[0] == 5
    assert chosen[-3:] == [3, 7, 9]
    assert sorted(chosen) == list(range(16))


def test_nobody_is_asked_for_blocks_that_do_not_exist() -> None:
    """A full pool is no reason to have everybody announce over and over (I8)."""
    chooser = Chooser(0, 2)
    for peer in chooser.peers:
        peer.is_ours = True
    for index in range(16):
        chooser.table.apply(index, BlockEvent.CLAIMED_BY_STRONGER)
    assert chooser.choice.choose(1, 30.0) == []
    assert chooser.choice.choose_between(0, 15, 1, 30.0) == []
    assert chooser.questions == 0
    for index in range(16):
        chooser.table.apply(index, BlockEvent.GIVEN_UP)
    assert len(chooser.choice.choose(16, 30.0)) < 16
    assert (chooser.questions, chooser.probed) == (0, [address_of(1)])


@pytest.mark.parametrize(("unheard", "questions", "probes"), [(0, 0, 0), (3, 0, 3), (32, 0, 32), (33, 1, 0)])
def test_who_was_not_heard_lately_is_asked_alone_if_there_are_few(unheard: int, questions: int, probes: int) -> None:
    """In a large swarm with losses somebody's answer to a question for all is always lost."""
    chooser = Chooser(0, 40)
    for number, peer in enumerate(chooser.peers):
        peer.is_ours, peer.heard_at = True, 30.0 if number >= unheard else 29.0 - FRESH_S
    chosen = chooser.choice.choose(16, 30.0)
    assert (len(chosen) == 16) is not bool(unheard)
    assert (chooser.questions, len(chooser.probed)) == (questions, probes)
    chooser.choice.choose(16, 30.1)
    assert len(chooser.probed) == probes, "not over and over"
    chooser.choice.choose(16, 31.0)
    assert len(chooser.probed) == 2 * probes


@pytest.mark.parametrize(("unheard", "probes"), [(33, 33), (64, 64), (80, 64)])
def test_who_does_not_answer_a_question_for_all_is_asked_alone_some_at_a_time(unheard: int, probes: int) -> None:
    """At high loss half of them do not: to ask all of a large swarm over and over would never have heard everybody, and
    be loud."""
    chooser = Chooser(0, 100)
    for number, peer in enumerate(chooser.peers):
        peer.is_ours, peer.heard_at = True, 30.0 if number >= unheard else 29.0 - FRESH_S
    chooser.choice.choose(16, 30.0)
    assert (chooser.questions, len(chooser.probed)) == (1, 0)
    chooser.awaits_answers = False
    chooser.choice.choose(16, 30.5)
    assert len(chooser.probed) == probes


def test_a_part_of_a_large_swarm_that_does_not_answer_is_asked_ever_more_seldom() -> None:
    """A link has parted: each that is asked costs the link a search for its address, too."""
    rounds = []
    for is_answered in (False, True):
        chooser = Chooser(0, 300)
        chooser.awaits_answers = False
        for peer in chooser.peers:
            peer.is_ours, peer.heard_at = True, 29.0 - FRESH_S
        for step in range(16):
            now = 30.0 + step / 2
            before = len(chooser.probed)
            chooser.choice.choose(16, now)
            for address in chooser.probed[before::4] if is_answered else ():
                chooser.peers.hear(address, b"", now)
        rounds.append(-(-len(chooser.probed) // 64))
    assert rounds == [5, 16]


def test_everybody_in_a_swarm_of_any_size_has_to_consent_by_name() -> None:
    """While a burst of noise takes all multicasts, an owner hears no inquiry, and its objections are not heard: that
    it was heard to say something else does not mean that it has nothing against it."""
    chooser = Chooser(0, 300)
    peers, consents = list(chooser.peers), chooser.consents
    for peer in peers:
        peer.is_ours, peer.capabilities = True, CAN_CONSENT
    index = next(i for i in range(16) if not chooser.share.is_ours(i))
    block = chooser.table.apply(index, BlockEvent.WE_INQUIRE)
    block.inquired_at, block.consents = 30.0, {}
    now, asked = 31.0, list[bytes]()
    while not consents.may_own(block, now):
        for peer in peers:
            peer.heard_at = now
        consents.ask_about([block], now)
        assert {blocks for _, blocks in chooser.asked_for} == {(index,)}
        asked += [address for address, _ in chooser.asked_for]
        for address in chooser.probed[::2]:  # the other answers are lost
            block.consents[address] = now
        chooser.asked_for.clear()
        chooser.probed.clear()
        now += 0.5
    assert set(asked) == {peer.address for peer in peers}
    assert now <= 31.0 + 12 * CONSENT_HOLDS


def test_without_the_remedy_simultaneous_starters_want_the_same() -> None:
    config = {"without": frozenset({Remedy.BLOCK_CHOICE})}
    first, second = (Chooser(number, 2, LARGE, **config).choice.choose(2, 0.0) for number in (0, 1))  # type: ignore[arg-type]
    assert first == second


def test_a_parted_swarm_under_pressure_claims_nothing_twice() -> None:
    """M7. Both sides run out of addresses; then some clients wait, and none gets another's."""
    config = NodeConfig(
        Pool(0x0A000000, 26, 4), tentative_timeout_s=3, learning_phase=False, block_timeout_s=60, lease_time_s=600
    )
    swarm = VirtualSwarm(4, config, seed=2)
    swarm.run_for(200)
    for number in range(4):  # so that what each promises runs for long
        (offer,) = swarm.client_sends(number, message(c.DISCOVER, number))
        swarm.client_sends(number, message(c.REQUEST, number, o50=offer.yiaddr, o54=0x0A000001))
    swarm.run_for(300)
    swarm.cut = lambda sender, receiver: (sender < 2) != (receiver < 2)
    swarm.run_for(500)
    for client in range(20, 80):
        swarm.client_sends(client % 4, message(c.DISCOVER, client))
    swarm.run_for(60)
    ours = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
    assert sum(map(len, ours)) == len(set.union(*ours)), "no block has two owners"
    assert sum(node.statistics()["dhcp.no_address"] for node in swarm.nodes) > 0, "the pool is too small for all"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("heard_s", [0.0, 1.0])
def test_a_link_that_parts_as_clients_come_has_nothing_claimed_twice(seed: int, heard_s: float) -> None:
    """Everybody was heard a moment ago, so nobody seems to be missing."""
    pool = Pool(0x0A000000, 26, 4)
    config = NodeConfig(pool, tentative_timeout_s=2, learning_phase=False, block_timeout_s=4, lease_time_s=120)
    swarm = VirtualSwarm(3, config, seed=seed)
    swarm.run_for(30)
    for client in range(6):
        (offer,) = swarm.client_sends(client % 3, message(c.DISCOVER, client))
        swarm.client_sends(client % 3, message(c.REQUEST, client, o50=offer.yiaddr, o54=0x0A000001))
    swarm.run_for(heard_s)
    swarm.cut = lambda sender, receiver: (sender < 2) != (receiver < 2)
    for client in range(20, 100):
        swarm.client_sends(client % 3, message(c.DISCOVER, client))
    swarm.run_for(40)
    ours = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
    assert sum(map(len, ours)) == len(set.union(*ours)), "no block has two owners"
    swarm.cut = lambda sender, receiver: False
    for client in range(100, 180):
        swarm.client_sends(client % 3, message(c.DISCOVER, client))
    swarm.run_for(60)
    ours = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
    assert sum(map(len, ours)) == len(set.union(*ours)) >= pool.block_count - 1, "healed, the whole pool is used"


def small_town(prefix_len: int, seed: int, settles_s: float) -> VirtualSwarm:
    """Three nodes with a pool that is too small for all who may come."""
    config = NodeConfig(
        Pool(0x0A000000, prefix_len, 4), tentative_timeout_s=2, learning_phase=False, block_timeout_s=4,
        lease_time_s=120, spare_leases=1,
    )  # fmt: skip
    swarm = VirtualSwarm(3, config, seed=seed)
    swarm.run_for(settles_s)
    return swarm


def ask_for_addresses(swarm: VirtualSwarm, node: int, client: int) -> None:
    """A client takes what it is offered."""
    for offer in swarm.client_sends(node, message(c.DISCOVER, client)):
        swarm.client_sends(node, message(c.REQUEST, client, o50=offer.yiaddr, o54=0x0A000001))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("parted_s", [1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 10.5])
def test_a_link_that_heals_while_a_claim_is_in_doubt_has_nothing_claimed_twice(seed: int, parted_s: float) -> None:
    """Who is heard again did not hear the inquiries that were sent meanwhile."""
    swarm = small_town(27, seed, settles_s=8)
    for client in range(6):
        ask_for_addresses(swarm, client % 3, client)
    swarm.cut = lambda sender, receiver: (sender < 2) != (receiver < 2)
    for tenth in range(int(10 * parted_s) + 60):
        if tenth == int(10 * parted_s):
            swarm.cut = lambda sender, receiver: False
        for client in range(20 + tenth % 10, 60, 10):
            swarm.client_sends(client % 3, message(c.DISCOVER, client))
        swarm.run_for(0.1)
        ours = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
        assert sum(map(len, ours)) == len(set.union(*ours)), f"a block has two owners after {tenth / 10} s"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("parts_s", [0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.3])
def test_a_link_that_parts_while_blocks_are_inquired_has_no_address_leased_twice(seed: int, parts_s: float) -> None:
    """Who heard a block of its own share inquired, and nothing since, keeps off it: it may be owned beyond the cut."""
    swarm = small_town(26, seed, settles_s=20)
    for tenth in range(400):
        if tenth == int(10 * parts_s):
            swarm.cut = lambda sender, receiver: (sender < 2) != (receiver < 2)
        for client in range(tenth % 10, 60, 10):
            node = client % 2 if tenth < 40 else 2
            client += 100 * (tenth >= 40)
            ask_for_addresses(swarm, node, client)
        swarm.run_for(0.1)
    assert swarm.duplicates == []
    swarm.cut = lambda sender, receiver: False
    swarm.run_for(300)
    for client in range(180, 250):
        swarm.client_sends(client % 3, message(c.DISCOVER, client))
    swarm.run_for(60)
    ours = [{v.index for v in node.block_views(swarm.now) if v.state == 4} for node in swarm.nodes]
    assert sum(map(len, ours)) == len(set.union(*ours)) >= 15, "healed, the whole pool is used"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loses_multicasts", [False, True])
def test_a_node_that_is_not_heard_claims_nothing_that_others_may_claim(seed: int, loses_multicasts: bool) -> None:
    """It hears everybody, so nobody seems to be missing."""
    swarm = small_town(26, seed, settles_s=20)
    swarm.loses_multicasts = loses_multicasts
    if not loses_multicasts:
        swarm.cut = lambda sender, receiver: sender == 0
    for tenth in range(300):
        for client in range(tenth % 10, 90, 10):
            ask_for_addresses(swarm, client % 3, client)
        swarm.run_for(0.1)
    assert swarm.duplicates == []


def test_a_loser_claims_again_with_growing_patience() -> None:
    """A link on which others do not hear us must not make a storm of claims."""
    swarm = VirtualSwarm(
        1, NodeConfig(LARGE, tentative_timeout_s=3, learning_phase=False, without=frozenset({Remedy.GUARDIAN}))
    )
    swarm.run_for(10)
    claimed = 0
    for _ in range(600):
        for view in swarm.nodes[0].block_views(swarm.now):
            if view.state == 4:
                claimed += 1
                data = swarm.nodes[0]._context.codec.update_claim([(view.index, 60)])
                stronger = b"\xff" * 8 + data[8:]
                swarm.feed(0, e.SwarmReceived(stronger, address_of(77), True))
        swarm.run_for(1)
    assert 2 < claimed < 15
