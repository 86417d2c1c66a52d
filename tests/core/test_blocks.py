"""Blocks: every transition, and the sparse set of free ones against a plain set."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core.blocks import TRANSITIONS, BlockEvent, BlockState, BlockTable, FreeBlocks
from ddhcp.core.pool import Pool, PoolError

POOL = Pool(0x0A000000, 24, 32)
FROM_THE_NETWORK = (
    BlockEvent.INQUIRED_BY_STRONGER,
    BlockEvent.INQUIRED_BY_WEAKER,
    BlockEvent.CLAIMED_BY_STRONGER,
    BlockEvent.CLAIMED_BY_WEAKER,
    BlockEvent.GIVEN_UP,
)


@pytest.mark.parametrize("state", list(BlockState))
@pytest.mark.parametrize("event", FROM_THE_NETWORK)
def test_whatever_the_network_says_has_a_transition(state: BlockState, event: BlockEvent) -> None:
    assert (state, event) in TRANSITIONS


def test_an_inquiry_never_weakens_a_claim() -> None:
    """SAFETY S7: in a classic node it does."""
    for event in (BlockEvent.INQUIRED_BY_STRONGER, BlockEvent.INQUIRED_BY_WEAKER):
        assert TRANSITIONS[BlockState.CLAIMED, event] is BlockState.CLAIMED
        assert TRANSITIONS[BlockState.OURS, event] is BlockState.OURS


def test_any_claim_is_an_objection_to_an_inquiry_of_ours() -> None:
    """SAFETY S6: heeded until the moment of owning, whoever makes it."""
    for event in (BlockEvent.CLAIMED_BY_STRONGER, BlockEvent.CLAIMED_BY_WEAKER):
        assert TRANSITIONS[BlockState.CLAIMING, event] is BlockState.CLAIMED


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 19)), max_size=200), st.randoms(use_true_random=False))
def test_free_blocks_are_a_set(steps: list[tuple[bool, int]], rng: random.Random) -> None:
    free, model = FreeBlocks(20), set(range(20))
    for is_add, index in steps:
        if is_add:
            free.add(index)
            model.add(index)
        else:
            free.discard(index)
            model.discard(index)
        assert len(free) == len(model)
        assert {i for i in range(20) if i in free} == model
        assert set(free.sample(rng, 20)) == model
        drawn = free.sample(rng, 3)
        assert len(drawn) == len(set(drawn)) == min(3, len(model))
        assert set(drawn) <= model


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(list(BlockEvent))), max_size=60))
def test_the_table_counts_what_it_holds(steps: list[tuple[int, BlockEvent]]) -> None:
    table = BlockTable(POOL)
    for index, event in steps:
        if (table.state(index), event) in TRANSITIONS:
            table.apply(index, event)
    states = [table.state(index) for index in range(POOL.block_count)]
    assert len(table.free) == states.count(BlockState.FREE)
    for state in list(BlockState)[1:]:
        assert table.counts[state] == states.count(state)
    assert set(table.ours) == {index for index, state in enumerate(states) if state is BlockState.OURS}
    assert set(table.claiming) == {index for index, state in enumerate(states) if state is BlockState.CLAIMING}


@pytest.mark.parametrize("prefix", [0x00000000, 0x7F000000, 0xE0000000, 0xF0000000])
def test_a_pool_of_addresses_that_no_host_may_use_is_none(prefix: int) -> None:
    with pytest.raises(PoolError, match="no addresses that a host may use"):
        Pool(prefix, 8, 32)
