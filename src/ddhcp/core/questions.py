"""Questions to other nodes that are under way: asked again on a schedule, given up after it, bounded in number."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")


class _Asked(Generic[Q]):
    __slots__ = ("attempts", "next_at", "question")

    def __init__(self, question: Q, next_at: float) -> None:
        self.question = question
        self.attempts = 1
        self.next_at = next_at


class Questions(Generic[K, Q]):
    """A table of questions by key.

    ``delays_s``: after each asking, how long to wait for the answer; when the last has passed the question is given up.
    ``limit``: how many may be under way at once. ``ask(question, now)`` sends one; ``give_up(question, now)`` is called
    when nobody answered.
    """

    def __init__(
        self,
        delays_s: Sequence[float],
        limit: int,
        *,
        ask: Callable[[Q, float], None],
        give_up: Callable[[Q, float], None],
    ) -> None:
        self._delays_s = delays_s
        self._limit = limit
        self._ask = ask
        self._give_up = give_up
        self._asked: dict[K, _Asked[Q]] = {}
        # (instant, number, key): one entry for each asking; that of a question answered meanwhile is skipped.
        self._due: list[tuple[float, int, K]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, key: K) -> bool:
        return key in self._asked

    @property
    def is_full(self) -> bool:
        """Whether no further question is taken."""
        return len(self._asked) >= self._limit

    def get(self, key: K) -> Q | None:
        """The question under way with that key."""
        asked = self._asked.get(key)
        return None if asked is None else asked.question

    def put(self, key: K, question: Q, now: float) -> None:
        """Ask, and keep asking. The caller sees to it that the table is not full and the key is new."""
        self._asked[key] = _Asked(question, now)
        self._schedule(key, now + self._delays_s[0])
        self._ask(question, now)

    def take(self, key: K) -> Q | None:
        """The question with that key, which is under way no more."""
        asked = self._asked.pop(key, None)
        if not self._asked:
            self._due.clear()
        return None if asked is None else asked.question

    def take_all(self) -> list[Q]:
        """All questions, none of which is under way any more."""
        taken = [asked.question for asked in self._asked.values()]
        self._asked.clear()
        self._due.clear()
        return taken

    def ask_again(self, key: K, now: float) -> None:
        """Start over with the question of that key: its answer is to come from somebody else."""
        asked = self._asked[key]
        asked.attempts = 1
        self._schedule(key, now + self._delays_s[0])
        self._ask(asked.question, now)

    def run(self, now: float) -> None:
        """Ask again where an answer is overdue; give up what was asked often enough."""
        while self._due and self._due[0][0] <= now:
            at, _, key = heapq.heappop(self._due)
            asked = self._asked.get(key)
            if asked is None or asked.next_at != at:
                continue
            if asked.attempts >= len(self._delays_s):
                del self._asked[key]
                self._give_up(asked.question, now)
                continue
            self._schedule(key, now + self._delays_s[asked.attempts])
            asked.attempts += 1
            self._ask(asked.question, now)

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        while self._due:
            at, _, key = self._due[0]
            asked = self._asked.get(key)
            if asked is not None and asked.next_at == at:
                return at
            heapq.heappop(self._due)
        return math.inf

    def _schedule(self, key: K, at: float) -> None:
        self._asked[key].next_at = at
        self._number += 1
        heapq.heappush(self._due, (at, self._number, key))
