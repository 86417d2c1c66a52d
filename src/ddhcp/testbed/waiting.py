"""Waiting for a condition with a deadline, instead of for a time that one hopes is long enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_POLL_S = 0.02

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float, what: str, poll_s: float = _POLL_S) -> T:
    """Ask ``condition`` every ``poll_s`` seconds until its answer is true, and return that answer.

    Raises :class:`TimeoutError`, naming ``what`` did not come about, after ``timeout_s`` seconds.
    """
    give_up_at = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(poll_s)
    return answer
