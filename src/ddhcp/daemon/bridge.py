"""The way from other threads to the API, which belongs to the loop's thread: a queue that the loop empties between
packets, a little at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

from .api import Answer, Api, Arguments

MAX_WAITING = 64  # questions; more are refused at once, so that a rush of them neither piles up nor delays packets
PER_TURN = 2  # answered before packets get their turn: each takes a few milliseconds at worst

Done = Callable[[Answer | Exception], None]


class Busy(Exception):
    """Too many questions wait already, or the daemon stops."""


class Bridge:
    """``fileno()`` is readable when :meth:`run` has something to do."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Arguments, Done]] = deque()
        self._told: deque[Callable[[], None]] = deque(maxlen=MAX_WAITING)
        self._closed = False
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._event

    def ask(self, arguments: Arguments, done: Done) -> None:
        """From any thread: have the loop answer. ``done`` is called there with the answer, or with the exception that
        it ended in, and must return at once. Raises :class:`Busy`."""
        with self._lock:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                raise Busy("the daemon is busy; ask again in a moment")
            self._waiting.append((arguments, done))
            os.eventfd_write(self._event, 1)

    def tell(self, action: Callable[[], None]) -> None:
        """From any thread: have the loop do something of the daemon's own, such as writing to its log."""
        with self._lock:
            if not self._closed:
                self._told.append(action)
                os.eventfd_write(self._event, 1)

    def run(self, now: float) -> None:
        """From the loop's thread: answer some."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        while self._told:
            self._told.popleft()()
        for _ in range(PER_TURN):
            with self._lock:
                if not self._waiting:
                    return
                arguments, done = self._waiting.popleft()
            try:
                answer: Answer | Exception = self._api.answer(arguments)
            except ValueError as refusal:
                answer = refusal
            except Exception as error:
                done(error)
                raise  # the loop reports it
            done(answer)
        with self._lock:
            if self._waiting:
                os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Refuse what waits and whatever comes."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            done(Busy("the daemon stops"))
        os.close(self._event)
