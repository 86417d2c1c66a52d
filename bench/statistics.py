"""Figures out of measurements."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

WORST_OF = frozenset({"failed", "retries", "most_retries", "naks", "duplicates"})  # the others: the median
LEAST_OF = frozenset({"bound"})


def quantile_ms(values_ns: Sequence[int], share: float) -> float | None:
    """The smallest of the values that at least ``share`` of them do not exceed, nanoseconds to milliseconds; None of
    none."""
    if not values_ns:
        return None
    rank = max(0, math.ceil(share * len(values_ns)) - 1)
    return round(sorted(values_ns)[rank] / 1e6, 4)


def summarise(runs: Sequence[Mapping[str, float | int | None]]) -> dict[str, float | int | None]:
    """One figure out of each figure of several runs: the median, of trouble the worst. None counts as not measured."""
    result: dict[str, float | int | None] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [value for run in runs if (value := run.get(name)) is not None]
        pick = max if name in WORST_OF else min if name in LEAST_OF else statistics.median
        result[name] = pick(values) if values else None
    return result


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """How many times theirs ours is; None where there is nothing to compare."""
    return ours / theirs if ours is not None and theirs else None
