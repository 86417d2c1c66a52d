"""Group commit: rows gather while others are being written, and what waits on the disk leaves when it may."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

from ..core.effects import Effect, Key, StoreEffect, key_of
from ..values import dataclass, field
from .latency import COMMIT_BOUNDS_S, Histogram
from .store import Store
from .writer import Result, Writer, WriterEnded

MAX_WAITING = 24576  # effects that wait on the disk, three for an answer; more are dropped, and clients ask again
CLOSE_WITHIN_S = 5.0  # for the last commit; a disk that hangs must not keep the process


@dataclass(slots=True)
class Batch:
    """Rows to write, the latest of each key, and the effects that may leave once they are on disk. A batch that comes
    back has the rows of failed ones before it as well.

    ``error`` says why they are not; ``waiting`` must then be dropped. ``is_first``: the store was begun anew with this
    batch, and everything that earlier ones wrote must be given again.
    """

    rows: dict[Key, StoreEffect] = field(default_factory=dict)
    waiting: list[Effect] = field(default_factory=list)
    error: str | None = None
    is_first: bool = False


class Committer:
    """Commits one batch at a time; while that one is being written the next one gathers.

    A durable store, which no other part may use from then on, is written by a process of its own: ``writer``, or one
    that is made here. ``fileno()`` becomes readable when :meth:`take_done` has something. Rows of a failed commit are
    kept, the latest of each key, and written with the next batch or when the disk is tried again. ``durations``: how
    long commits took that succeeded. ``failure``: why nothing can be made durable any more, "" while it can.
    """

    def __init__(self, store: Store, writer: Writer | None = None) -> None:
        self._store = store
        self._gathered = Batch()
        self._flying: Batch | None = None
        self._unwritten: dict[Key, StoreEffect] = {}
        self.dropped = 0
        self.failure = ""
        self.durations = Histogram(COMMIT_BOUNDS_S)
        handover = store.hand_over()
        self._writer: Writer | None = None
        if handover is not None:
            self._writer = writer or Writer()
            self._writer.begin(handover)
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # of a store without a process

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._event if self._writer is None else self._writer.fileno()

    @property
    def is_idle(self) -> bool:
        """Whether everything given so far has come back, written or not."""
        return self._flying is None and not (self._gathered.rows or self._gathered.waiting)

    @property
    def is_clean(self) -> bool:
        """Whether everything given so far is on disk."""
        return self.is_idle and not self._unwritten

    def put(self, rows: Iterable[StoreEffect], waiting: Iterable[Effect]) -> None:
        """Have rows written, and get ``waiting`` back after them."""
        gathered = self._gathered
        for row in rows:
            gathered.rows[key_of(row)] = row
        gathered.waiting.extend(waiting)
        excess = len(gathered.waiting) - MAX_WAITING
        if excess > 0:  # the newest go: the oldest are nearest to their answer
            del gathered.waiting[MAX_WAITING:]
            self.dropped += excess
        self._begin()

    def take_done(self) -> list[Batch]:
        """The batches that are through, in order. Nothing any more once there is a ``failure``."""
        if self._writer is None:
            return self._commit_here()
        return self._take_results(0.0)

    def close(self) -> None:
        """Write what is left, then end the process and close the store. A disk that hangs is left alone."""
        deadline = time.monotonic() + CLOSE_WITHIN_S
        if self._writer is None:
            self._commit_here()
        else:
            self._begin()
            while not self.is_idle and not self.failure and (left_s := deadline - time.monotonic()) > 0:
                self._take_results(left_s)
            self._writer.end(max(0.0, deadline - time.monotonic()))
        self._store.close()
        os.close(self._event)

    def _begin(self) -> None:
        """Have what has gathered written, if nothing is being written."""
        if self._flying is not None or self.failure or not (self._gathered.rows or self._gathered.waiting):
            return
        self._flying, self._gathered = self._gathered, Batch()
        if self._writer is None:
            os.eventfd_write(self._event, 1)
            return
        try:
            self._writer.write(self._flying.rows.values())
        except WriterEnded as error:
            self.failure = str(error)

    def _take_results(self, wait_s: float) -> list[Batch]:
        assert self._writer is not None
        done: list[Batch] = []
        try:
            for result in self._writer.results(wait_s):
                done.append(self._conclude(result))
        except WriterEnded as error:
            self.failure = str(error)
        return done

    def _conclude(self, result: Result) -> Batch:
        if result.is_retry or self._flying is None:
            batch = Batch()
        else:
            batch, self._flying = self._flying, None
        batch.rows = self._unwritten | batch.rows
        batch.error, batch.is_first = result.error, result.is_first
        self._unwritten = {} if batch.error is None else batch.rows
        if batch.error is None and batch.rows:
            self.durations.observe(result.seconds)
        self._begin()
        return batch

    def _commit_here(self) -> list[Batch]:
        """What a store does that waits for no disk."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        done: list[Batch] = []
        while self._flying is not None:
            self._store.commit(self._flying.rows.values())
            done.append(self._conclude(Result(False, None, False, 0.0)))
        return done
