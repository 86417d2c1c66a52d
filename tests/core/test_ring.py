"""Which nodes come first for a block."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.ring import Ring, distance

BLOCKS = st.integers(0, (1 << 24) - 1)


def address_of(number: int) -> bytes:
    return b"\xfe\x80" + bytes(12) + number.to_bytes(2, "big")


def ring(numbers: set[int]) -> Ring:
    made = Ring()
    for number in sorted(numbers):
        made.add(address_of(number))
    return made


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)), BLOCKS, st.integers(0, 5))
def test_those_come_first_that_are_nearest(numbers: set[int], refusing: set[int], index: int, count: int) -> None:
    willing = sorted(map(address_of, numbers - refusing), key=lambda address: distance(index, address))
    assert ring(numbers).first(index, count, set(map(address_of, refusing))) == tuple(willing[:count])


@given(st.sets(st.integers(0, 99), min_size=1), BLOCKS, st.data())
def test_one_node_more_or_less_changes_nothing_between_the_others(
    numbers: set[int], index: int, data: st.DataObject
) -> None:
    made, one = ring(numbers), data.draw(st.sampled_from(sorted(numbers)))
    everyone = made.first(index, len(numbers))
    made.discard(address_of(one))
    made.discard(address_of(one))
    assert (len(made), address_of(one) in made) == (len(numbers) - 1, False)
    assert made.first(index, len(numbers)) == tuple(each for each in everyone if each != address_of(one))
    made.add(address_of(one))
    made.add(address_of(one))
    assert (len(made), address_of(one) in made) == (len(numbers), True)
    assert made.first(index, len(numbers)) == everyone


def test_neighbouring_blocks_are_left_to_many_nodes_and_to_none_too_often() -> None:
    """A node often owns neighbouring blocks: when it is gone all others have its clients."""
    made = ring(set(range(20)))
    firsts = Counter(made.first(index, 1)[0] for index in range(2000, 3000))
    assert len(firsts) == 20
    assert max(firsts.values()) < 150
