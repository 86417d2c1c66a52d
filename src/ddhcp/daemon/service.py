"""Telling a service manager how the daemon is (sd_notify): ready, reloading, stopping, alive."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

_US_PER_S = 1_000_000
_WATCHDOG_MARGIN = 3  # signs of life in the time after which the manager would take the daemon for dead


class ServiceManager:
    """The manager that ``environment`` names in NOTIFY_SOCKET; nothing happens if it names none. What cannot be
    delivered is not tried again: the manager has its own time limits."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address[:1] == "@" else address
        self._period_s = _watchdog_period_s(environment) if self._address else None
        self._alive_at: float | None = None

    def ready(self) -> None:
        """The daemon serves, for the first time or with what a reload has changed."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The daemon reads its configuration; :meth:`ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon hands its blocks over and ends."""
        self._tell("STOPPING=1")

    def deadline(self) -> float | None:
        """When :meth:`alive` wants to be called next; None if nobody watches."""
        return self._alive_at if self._period_s is not None else None

    def alive(self, now: float) -> None:
        """A turn of the loop has ended."""
        if self._period_s is not None and (self._alive_at is None or now >= self._alive_at):
            self._alive_at = now + self._period_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)


def _watchdog_period_s(environment: Mapping[str, str]) -> float | None:
    watched, text = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if (watched and watched != str(os.getpid())) or not text.isdecimal() or int(text) == 0:
        return None
    return int(text) / _US_PER_S / _WATCHDOG_MARGIN
