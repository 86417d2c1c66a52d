"""Making a failing run small: fewer faults, fewer clients, a shorter time, and still the same invariant fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .faults import Fault
from .setup import Setup
from .simulation import Report, Simulation, run

MAX_RUNS = 200  # of the simulation, for one shrinking

T = TypeVar("T")


@dataclass
class Shrunk:
    """What is left: the setup, the faults and the clients with which ``report`` still fails."""

    setup: Setup
    faults: list[Fault]
    clients: list[int]
    report: Report
    runs: int


class Shrinker:
    """Shrinks the failure of ``invariant`` with one seed. ``tell``: called with a line of progress."""

    def __init__(self, setup: Setup, seed: int, invariant: str, tell: Callable[[str], None]) -> None:
        self._seed = seed
        self._invariant = invariant
        self._tell = tell
        self._runs = 0
        simulation = Simulation(setup, seed)
        self._best = Shrunk(setup, simulation.faults, sorted(simulation.clients), simulation.report(), 0)

    def shrink(self) -> Shrunk | None:
        """The smallest failing run found, or None if the given one does not fail."""
        best = self._best
        if not self._try(best.setup, best.faults, best.clients):
            return None
        self._shorten()
        self._best.faults = self._thin("faults", self._best.faults, self._with_faults)
        self._best.clients = self._thin("clients", self._best.clients, self._with_clients)
        self._best.faults = self._thin("faults", self._best.faults, self._with_faults)
        self._best.runs = self._runs
        return self._best

    def _with_faults(self, faults: list[Fault]) -> bool:
        return self._try(self._best.setup, faults, self._best.clients)

    def _with_clients(self, clients: list[int]) -> bool:
        return self._try(self._best.setup, self._best.faults, clients)

    def _try(self, setup: Setup, faults: list[Fault], clients: list[int]) -> bool:
        """Whether it still fails so; then that is the best so far."""
        if self._runs >= MAX_RUNS:
            return False
        self._runs += 1
        simulation = Simulation(setup, self._seed, faults=faults, client_numbers=clients)
        report = run(simulation, stop_at_violation=True)
        if self._invariant not in report.invariants():
            return False
        self._best = Shrunk(setup, faults, clients, report, self._runs)
        return True

    def _shorten(self) -> None:
        """Faults that begin after the failure have no part in it."""
        at = min(v.at for v in self._best.report.violations if v.invariant == self._invariant)
        earlier = [fault for fault in self._best.faults if fault.at <= at]
        if len(earlier) < len(self._best.faults):
            self._try(self._best.setup, earlier, self._best.clients)

    def _thin(self, what: str, items: list[T], still_fails: Callable[[list[T]], bool]) -> list[T]:
        """Leave out ever smaller parts of a list (delta debugging)."""
        parts = 2
        while items and self._runs < MAX_RUNS:
            size = max(1, len(items) // parts)
            for start in range(0, len(items), size):
                rest = items[:start] + items[start + size :]
                if still_fails(rest):
                    items = rest
                    self._tell(f"{len(items)} {what} left after {self._runs} runs")
                    break
            else:
                if size == 1:
                    return items
                parts *= 2
        return items


def describe(shrunk: Shrunk) -> Sequence[str]:
    """The shrunk run, as lines for people."""
    first = shrunk.report.violations[0]
    return [
        f"shrunk in {shrunk.runs} runs to {len(shrunk.faults)} faults and clients "
        f"{','.join(map(str, shrunk.clients)) or 'none'}:",
        *(f"  {fault}" for fault in shrunk.faults),
        f"  fails at {first.at:.1f} s: {first.invariant} {first.text}",
        *(f"    {line}" for line in first.context),
    ]
