"""The share of the free blocks that is a node's to take first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.shares import Shares

LARGE = 1 << 22  # blocks: 10.0.0.0/8 in blocks of 4


def address_of(number: int) -> bytes:
    return b"\xfe\x80" + bytes(12) + number.to_bytes(2, "big")


def shares(number: int, count: int, blocks: int) -> Shares:
    """What node ``number`` of ``count`` takes for its share."""
    made = Shares(blocks)
    made.begin(address_of(number))
    for other in range(count):
        if other != number:
            made.add(address_of(other))
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


def test_who_comes_takes_from_others_and_leaves_the_rest_as_it_was() -> None:
    before = [everything(shares(number, 4, 2048)) for number in range(4)]
    after = [everything(shares(number, 5, 2048)) for number in range(5)]
    assert all(after[number] <= before[number] for number in range(4))
    assert after[4] == set(range(2048)) - set.union(*after[:4])


def test_one_node_more_is_noticed() -> None:
    node = shares(0, 1, 16)
    assert len(node.take(16, lambda index: True)) == 16
    node.add(address_of(1))
    assert 0 < len(node.take(16, lambda index: True)) < 16


def test_nodes_that_do_not_know_of_each_other_seldom_want_the_same() -> None:
    of_each = [set(shares(number, 1, LARGE).take(50, lambda index: True)) for number in (0, 1)]
    assert len(of_each[0]) == 50
    assert not of_each[0] & of_each[1]


@given(st.sets(st.integers(2, 30)), st.sets(st.integers(2, 30)), st.sampled_from([4, 16, 2048, LARGE]))
def test_of_two_that_know_each_other_at_most_one_has_a_block(first: set[int], second: set[int], blocks: int) -> None:
    """Whoever else each of them knows: what the far side of a parted link is safe by."""
    of_each = []
    for own, other, known in ((0, 1, first), (1, 0, second)):
        node = Shares(blocks)
        node.begin(address_of(own))
        for number in {other, *known}:
            node.add(address_of(number))
        of_each.append(everything(node))
    assert not of_each[0] & of_each[1]


@given(st.integers(1, 30), st.integers(0, 255), st.integers(0, 255))
def test_the_share_between_two_blocks_is_what_is_ours_of_them(count: int, one: int, other: int) -> None:
    node, first, last = shares(0, count, 256), min(one, other), max(one, other)
    found = [index for blocks in node.between(first, last) for index in blocks]
    assert sorted(found) == [index for index in range(first, last + 1) if node.is_ours(index)]


def test_shares_are_of_about_the_same_size() -> None:
    sizes = [sum(map(len, shares(number, 50, LARGE).between(0, LARGE - 1))) for number in range(50)]
    assert min(sizes) > LARGE / 50 / 4
    assert max(sizes) < LARGE / 50 * 3


def test_a_stretch_that_is_full_is_left_for_the_next_one() -> None:
    """Another node has long claimed from where this one begins."""
    node = shares(0, 1, LARGE)
    (begin,) = node.take(1, lambda index: True)
    assert node.take(1, lambda index: not begin <= index < begin + 1000)
