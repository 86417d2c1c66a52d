"""Virtual time: what happens next, and when. Same calls, same order."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any


class Engine:
    """Runs actions at instants of virtual time (seconds); those of one instant in the order in which they were asked
    for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0

    def at(self, when: float, action: Callable[..., object], *arguments: Any) -> None:
        """Call ``action(*arguments)`` at ``when``, or now if that has passed."""
        self._sequence += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._sequence, action, arguments))

    def after(self, delay_s: float, action: Callable[..., object], *arguments: Any) -> None:
        """Call ``action(*arguments)`` in ``delay_s`` seconds."""
        self.at(self.now + delay_s, action, *arguments)

    def run_until(self, instant: float) -> None:
        """Let time pass up to ``instant``, everything due then included."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= instant:
            self.now, _, action, arguments = pop(heap)
            self.steps += 1
            action(*arguments)
        self.now = instant


class Timer:
    """One wake-up that can be moved. Moving it to later costs nothing: the entry in the heap is looked at when it
    comes up."""

    __slots__ = ("_action", "_armed_at", "_engine", "due_at")

    def __init__(self, engine: Engine, action: Callable[[], None]) -> None:
        self._engine = engine
        self._action = action
        self._armed_at = math.inf
        self.due_at = math.inf

    def set(self, at: float) -> None:
        """Fire at ``at`` instead of whenever it was set to; infinity for never."""
        self.due_at = at
        if at < self._armed_at:
            self._armed_at = at
            self._engine.at(at, self._fire, at)

    def _fire(self, at: float) -> None:
        if at != self._armed_at:
            return  # moved to an earlier instant meanwhile
        self._armed_at = math.inf
        if self.due_at > self._engine.now:
            if self.due_at < math.inf:
                self.set(self.due_at)
            return
        self.due_at = math.inf
        self._action()
