"""Faults for the soak run, one after the other with rest between them: what happens is drawn, told and undone."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .faults import WallClock, frozen, multicast_loss, one_way, partition
from .mesh import Mesh

DAY_S = 86_400
LOST_PERCENT = 30
REST_S = 40.0  # in which everything is judged, between what a fault left behind and the next one
SETTLE_S = 60.0  # after a fault: three leases, in which whoever lost an address gets one again
FIRST_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """``begin`` makes the fault, ``lasts_s`` seconds long."""

    name: str
    lasts_s: float
    begin: Callable[[], contextlib.AbstractContextManager[object]]


class Disturber:
    """Makes faults in a mesh of three nodes. ``realm``: of the node that is killed, cut off and stopped, which
    ``restart`` starts anew. ``clock``: of another node. ``promise_s``: how long a block with leases is announced.

    ``away``: the realms whose node cannot be asked now. ``done``: how many faults of each kind there were.
    """

    def __init__(
        self,
        mesh: Mesh,
        rng: random.Random,
        realm: int,
        clock: WallClock,
        promise_s: float,
        restart: Callable[[], None],
    ) -> None:
        self._mesh = mesh
        self._rng = rng
        self._realm = realm
        self._others = tuple(other for other in mesh.network.realm_numbers() if other != realm)
        self._clock = clock
        self._restart = restart
        self.away: set[int] = set()
        self.done: Counter[str] = Counter()
        self._kinds = self._list_kinds(promise_s)
        self._to_come: list[Disturbance] = []
        self._under_way: contextlib.ExitStack | None = None
        self._next_at = time.monotonic() + FIRST_AFTER_S
        self._settled_at = 0.0

    def _list_kinds(self, promise_s: float) -> Sequence[Disturbance]:
        here, others = (self._realm,), self._others
        return (
            Disturbance("killed", 5.0, self._killed),
            Disturbance("cut off", promise_s / 4, lambda: partition(here, others)),
            Disturbance("unheard", promise_s / 4, lambda: one_way(here, others)),
            Disturbance("deaf", promise_s / 4, lambda: one_way(others, here)),
            Disturbance(f"{LOST_PERCENT} % of multicasts lost", promise_s / 2, lambda: multicast_loss(LOST_PERCENT)),
            Disturbance("standing still", promise_s / 4, self._frozen),
            Disturbance("standing still for longer than its promise", promise_s + 10.0, self._frozen),
            Disturbance("another's clock set", 5.0, self._clock_set),
        )

    def is_disturbed(self) -> bool:
        """Whether a fault is under way, or was a moment ago."""
        return self._under_way is not None or time.monotonic() < self._settled_at

    def watch(self) -> None:
        """End the fault under way, or begin the next one, if it is time to."""
        now = time.monotonic()
        if now < self._next_at:
            return
        if self._under_way is not None:
            self.close()
            self._next_at = self._settled_at + REST_S
            return
        if not self._to_come:
            self._to_come = self._rng.sample(self._kinds, len(self._kinds))
        kind = self._to_come.pop()
        print(f"node {self._realm}: {kind.name}, {kind.lasts_s:.0f} s", flush=True)
        self.done[kind.name] += 1
        self._under_way = contextlib.ExitStack()
        self._under_way.enter_context(kind.begin())
        self._next_at = now + kind.lasts_s

    def close(self) -> None:
        """End the fault under way, if there is one."""
        if self._under_way is not None:
            self._under_way.close()
            self._under_way = None
            self._settled_at = time.monotonic() + SETTLE_S

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        self._mesh.nodes[self._realm].stop(signal.SIGKILL)
        with self._is_away():
            yield
        self._restart()

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[None]:
        with self._is_away(), frozen(self._mesh.nodes[self._realm]):
            yield

    @contextlib.contextmanager
    def _is_away(self) -> Iterator[None]:
        self.away.add(self._realm)
        yield
        self.away.clear()

    @contextlib.contextmanager
    def _clock_set(self) -> Iterator[None]:
        self._clock.step_to(self._rng.choice((-DAY_S, DAY_S)))
        yield
        self._clock.step_to(0)
