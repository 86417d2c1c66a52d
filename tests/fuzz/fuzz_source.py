"""Values drawn from the bytes that a fuzzer gives: any bytes are a story, and a small change of them a small change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads values from the front of ``data``; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is anything left."""
        return self._at < len(self._data)

    def bytes(self, size: int) -> bytes:
        """The next ``size`` bytes, or as many as there are."""
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]

    def fixed(self, size: int) -> bytes:
        """The next ``size`` bytes, filled up with zeros."""
        return self.bytes(size).ljust(size, b"\0")

    def some(self) -> bytes:
        """A string of up to 255 bytes, its length before it."""
        return self.bytes(self.number(1))

    def number(self, size: int) -> int:
        """An unsigned number of ``size`` bytes."""
        return int.from_bytes(self.fixed(size), "big")

    def below(self, bound: int) -> int:
        """A number from 0 to ``bound`` - 1; ``bound`` is at most 256."""
        return self.number(1) % bound

    def flag(self) -> bool:
        """Yes or no."""
        return bool(self.number(1) & 1)

    def pick(self, values: Sequence[T]) -> T:
        """One of up to 256 values."""
        return values[self.below(len(values))]
