"""The share of the free blocks that is a node's to take first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.shares import Key, Shares

LARGE = 1 << 22  # blocks: 10.0.0.0/8 in blocks of 4


def key(number: int) -> Key:
    return b"\x02\0\0\0" + number.to_bytes(2, "big") + b"\0\0", b"\xfe\x80" + bytes(12) + number.to_bytes(2, "big")


def shares(number: int, count: int, blocks: int) -> Shares:
    """What node ``number`` of ``count`` takes for its share."""
    made = Shares(blocks)
    made.set_nodes(key(number), [key(other) for other in range(count) if other != number])
    return made


def free_but(taken: set[int]) -> Callable[[int], bool]:
    return lambda index: index not in taken


def everything(node: Shares) -> set[int]:
    """All that a node takes when it asks until nothing comes any more."""
    taken: set[int] = set()
    for _ in range(50):
        taken.update(node.take(100, free_but(taken)))
    return taken


@pytest.mark.parametrize("blocks", [16, 64, 2048])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_pool_is_shared_out_whole_and_nothing_of_it_twice(blocks: int, count: int) -> None:
    of_each = [everything(shares(number, count, blocks)) for number in range(count)]
    assert sum(map(len, of_each)) == blocks
    assert set.union(*of_each) == set(range(blocks))


@given(st.integers(2, 60), st.integers(0, LARGE - 1))
def test_a_block_is_of_one_node_at_most(count: int, index: int) -> None:
    assert sum(shares(number, count, LARGE).is_ours(index) for number in range(count)) <= 1


@given(st.integers(1, 60), st.integers(1, 255))
def test_what_is_taken_is_of_the_share_and_free(count: int, wanted: int) -> None:
    node = shares(0, count, LARGE)
    taken = node.take(wanted, lambda index: index % 3 > 0)
    assert len(set(taken)) == len(taken) == wanted
    assert all(node.is_ours(index) and index % 3 for index in taken)


def test_blocks_that_become_free_again_are_found() -> None:
    node = shares(0, 3, 64)
    share = everything(node)
    assert node.take(1, lambda index: False) == []
    assert set(node.take(len(share), lambda index: True)) == share


def test_who_comes_takes_from_all_and_leaves_the_rest_as_it_was() -> None:
    before = [everything(shares(number, 4, 2048)) for number in range(4)]
    after = [everything(shares(number, 5, 2048)) for number in range(5)]
    assert all(after[number] < before[number] for number in range(4))
    assert after[4] == set(range(2048)) - set.union(*after[:4])


def test_one_node_more_is_noticed() -> None:
    node = shares(0, 1, 16)
    assert len(node.take(16, lambda index: True)) == 16
    node.set_nodes(key(0), [key(1)])
    assert 0 < len(node.take(16, lambda index: True)) < 16


def test_nodes_that_do_not_know_of_each_other_seldom_want_the_same() -> None:
    first, second = Shares(LARGE), Shares(LARGE)
    first.set_nodes(key(0), [])
    second.set_nodes(key(1), [])
    assert not set(first.take(50, lambda index: True)) & set(second.take(50, lambda index: True))
