"""Group commit: a thread that writes while the loop goes on, and tells it when what waits on the disk may leave."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from time import perf_counter

from ..core.effects import Effect, StoreEffect, key_of
from ..values import dataclass, field
from .latency import COMMIT_BOUNDS_S, Histogram
from .store import Store

FIRST_RETRY_S = 0.5  # after a commit that failed; doubled each time up to MAX_RETRY_S
MAX_RETRY_S = 30.0
MAX_WAITING = 8192  # effects that wait on the disk; beyond that they are dropped, and clients ask again
CLOSE_WITHIN_S = 5.0  # for the last commit; a disk that hangs must not keep the process


@dataclass(slots=True)
class Batch:
    """Rows to write, the latest of each key, and the effects that may leave once they are on disk. A batch that comes
    back has the rows of failed ones before it as well.

    ``error`` says why they are not; ``waiting`` must then be dropped. ``is_first``: the store was begun anew with this
    batch, and everything that earlier ones wrote must be given again.
    """

    rows: dict[tuple[str, int], StoreEffect] = field(default_factory=dict)
    waiting: list[Effect] = field(default_factory=list)
    error: str | None = None
    is_first: bool = False


class Committer:
    """Commits one batch at a time; while that one is being written the next one gathers.

    ``fileno()`` becomes readable when :meth:`take_done` has something. Rows of a failed commit are kept, the latest of
    each key, and written with the next batch or when the disk is tried again. All methods belong to the loop's thread.
    ``durations``: how long commits took that succeeded.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wakeup = threading.Condition()
        # Guarded by _wakeup: what the loop gathers, what the thread has in hand, and what came back.
        self._gathered = Batch()
        self._is_writing = False
        self._done: list[Batch] = []
        self._unwritten: dict[tuple[str, int], StoreEffect] = {}
        self._closing = False
        self.dropped = 0
        self.durations = Histogram(COMMIT_BOUNDS_S)
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._writer = threading.Thread(target=self._run, name="ddhcp-commit", daemon=True)
        self._writer.start()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._event

    @property
    def is_idle(self) -> bool:
        """Whether everything given so far has come back, written or not."""
        with self._wakeup:
            return not (self._gathered.rows or self._gathered.waiting or self._is_writing or self._done)

    @property
    def is_clean(self) -> bool:
        """Whether everything given so far is on disk."""
        with self._wakeup:
            return not (self._gathered.rows or self._gathered.waiting or self._is_writing or self._unwritten)

    def put(self, rows: Iterable[StoreEffect], waiting: Iterable[Effect]) -> None:
        """Have rows written, and get ``waiting`` back after them."""
        with self._wakeup:
            gathered = self._gathered
            for row in rows:
                gathered.rows[key_of(row)] = row
            gathered.waiting.extend(waiting)
            excess = len(gathered.waiting) - MAX_WAITING
            if excess > 0:  # the newest go: the oldest are nearest to their answer
                del gathered.waiting[MAX_WAITING:]
                self.dropped += excess
            self._wakeup.notify()

    def take_done(self) -> list[Batch]:
        """The batches that are through, in order."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        with self._wakeup:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Write what is left, then end the thread and close the store. A disk that hangs is left alone."""
        with self._wakeup:
            self._closing = True
            self._wakeup.notify()
        self._writer.join(CLOSE_WITHIN_S)
        if not self._writer.is_alive():
            self._store.close()
            os.close(self._event)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            with self._wakeup:
                while not (self._gathered.rows or self._gathered.waiting or self._closing):
                    if not self._wakeup.wait(retry_s if self._unwritten else None):
                        break  # time to try the disk again
                if self._closing and not (self._gathered.rows or self._gathered.waiting or self._unwritten):
                    return
                batch, self._gathered = self._gathered, Batch()
                self._is_writing = True
                closing = self._closing
            self._commit(batch)
            retry_s = FIRST_RETRY_S if batch.error is None else min(retry_s * 2, MAX_RETRY_S)
            with self._wakeup:
                self._is_writing = False
                self._done.append(batch)
            os.eventfd_write(self._event, 1)
            if closing and batch.error is not None:
                return

    def _commit(self, batch: Batch) -> None:
        rows = batch.rows = self._unwritten | batch.rows
        try:
            if rows:
                began = perf_counter()
                batch.is_first = self._store.commit(rows.values())
                self.durations.observe(perf_counter() - began)
        except Exception as error:  # whatever it is, nothing of this batch may leave, and the thread must go on
            batch.error = str(error) or type(error).__name__
        with self._wakeup:
            self._unwritten = {} if batch.error is None else rows
