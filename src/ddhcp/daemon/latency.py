"""How long things take, counted into classes."""

from __future__ import annotations

from bisect import bisect_left

HANDLING_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
COMMIT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)


class Histogram:
    """Durations in seconds by class; ``bounds``: the upper bounds, ascending, above which there is one class more.
    Written by one thread; another may read, and then sees a count that is at most one too low."""

    __slots__ = ("_shortest", "bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._shortest = bounds[0]
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[0 if seconds <= self._shortest else bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound, how many were no longer than that), the last bound being infinity."""
        total, rows = 0, []
        for bound, number in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += number
            rows.append((bound, total))
        return rows
