"""Value classes behave as the standard library's dataclasses do, but for who watches over frozen ones."""

from __future__ import annotations

import copy
import pickle

import pytest

from ddhcp.values import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Point:
    """A value with everything that ours use."""

    x: int
    y: int = 2
    names: tuple[str, ...] = field(default_factory=tuple)
    secret: bytes = field(default=b"s", repr=False)
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.x + self.y)


@dataclass(slots=True)
class Counter:
    """One that changes."""

    count: int = 0


@dataclass(slots=True, eq=False)
class Thing:
    """One that is equal to itself only."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Nothing:
    """One without fields."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One that says itself how it looks and what equals it."""

    word: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spoken) and self.word.lower() == other.word.lower()

    def __hash__(self) -> int:
        return hash(self.word.lower())

    def __repr__(self) -> str:
        return self.word


def test_equality_and_hash_follow_the_fields() -> None:
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(1, 3)
    assert Point(1, secret=b"a") != Point(1, secret=b"b")
    other: object = Thing(2)
    assert Counter(2) != other
    assert len({Point(1), Point(1), Point(2), Nothing(), Nothing()}) == 3
    assert Thing(1) != Thing(1)
    assert Spoken("A") == Spoken("a")
    assert len({Spoken("A"), Spoken("a")}) == 1


def test_what_changes_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter())


def test_the_representation_leaves_out_what_is_secret() -> None:
    assert repr(Point(1, 2, ("a",))) == "Point(x=1, y=2, names=('a',), total=3)"
    assert repr(Nothing()) == "Nothing()"
    assert repr(Spoken("hello")) == "hello"


def test_there_is_no_room_for_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Counter().other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [Point(1, 5, ("a",)), Counter(3), Nothing(), Spoken("a")])
def test_copies_are_equal(value: object) -> None:
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


def test_replacing_and_matching_work_as_ever() -> None:
    assert replace(Point(1), y=9) == Point(1, 9)
    match Point(4):
        case Point(x, y):
            assert (x, y) == (4, 2)
