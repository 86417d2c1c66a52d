"""Group commit: a thread that writes while the loop goes on, and tells it when what waits on the disk may leave."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core.effects import Effect, StoreEffect
from .store import Store, key_of

RETRY_S = 1.0  # how often a failing disk is tried again


@dataclass(slots=True)
class Batch:
    """Store effects, and the effects that may leave once they are on disk. ``error`` is set when they are not."""

    rows: list[StoreEffect] = field(default_factory=list)
    waiting: list[Effect] = field(default_factory=list)
    error: str | None = None


class Committer:
    """Commits batches in order, as many as have come together at a time.

    ``fileno()`` becomes readable when :meth:`take_done` has something. Rows of a failed commit are kept, the latest
    of each key, and written with the next one; the effects that waited on them come back with ``error`` set.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: deque[Batch] = deque()
        self._done: deque[Batch] = deque()
        self._wakeup = threading.Condition()
        self._closing = False
        self._busy = False
        self._unwritten: dict[tuple[str, int], StoreEffect] = {}
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="ddhcp-commit", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._event

    @property
    def is_idle(self) -> bool:
        """Whether everything given so far has come back."""
        with self._wakeup:
            return not (self._queue or self._busy or self._done)

    def put(self, batch: Batch) -> None:
        """Have a batch written."""
        with self._wakeup:
            self._queue.append(batch)
            self._wakeup.notify()

    def take_done(self) -> list[Batch]:
        """The batches that are through, in order."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        with self._wakeup:
            done = list(self._done)
            self._done.clear()
        return done

    def close(self) -> None:
        """Write what is queued, then end the thread and close the store."""
        with self._wakeup:
            self._closing = True
            self._wakeup.notify()
        self._thread.join()
        self._store.close()
        os.close(self._event)

    def _run(self) -> None:
        while True:
            with self._wakeup:
                while not self._queue and not self._closing:
                    if not self._wakeup.wait(RETRY_S if self._unwritten else None) and self._unwritten:
                        break
                if self._closing and not self._queue:
                    break
                batches = list(self._queue)
                self._queue.clear()
                self._busy = True
            error = self._commit(batches)
            with self._wakeup:
                self._busy = False
                for batch in batches:
                    batch.error = error
                self._done.extend(batches)
            if batches:
                os.eventfd_write(self._event, 1)
        if self._unwritten:
            self._commit([])

    def _commit(self, batches: Sequence[Batch]) -> str | None:
        rows = self._unwritten
        for batch in batches:
            for row in batch.rows:
                key = key_of(row)
                rows.pop(key, None)
                rows[key] = row
        if not rows:
            return None
        try:
            self._store.commit(rows.values())
        except (sqlite3.Error, OSError) as error:
            return str(error) or type(error).__name__
        self._unwritten = {}
        return None
