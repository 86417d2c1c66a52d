"""A timer on the boot clock, so that a machine that was suspended notices at once what fell due meanwhile."""

from __future__ import annotations

import ctypes
import os

_CLOCK_BOOTTIME = 7
_TFD_TIMER_ABSTIME = 1
_NS_PER_S = 1_000_000_000
_NEVER_S = 1e9  # 30 years after boot


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_time_t if hasattr(ctypes, "c_time_t") else ctypes.c_long), ("ns", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class BootTimer:
    """A descriptor that becomes readable at an instant of the boot clock. Raises OSError where the system has none."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.timerfd_create(_CLOCK_BOOTTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._at: float | None = None

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._descriptor

    def arm(self, at: float | None) -> None:
        """Become readable at ``at`` (seconds of the boot clock; the past means now), or not at all."""
        if at == self._at:
            return
        self._at = at
        # A value of zero would disarm: an instant that has passed is set to the first nanosecond after boot.
        ns = 0 if at is None else max(1, int(min(at, _NEVER_S) * _NS_PER_S))
        value = _Itimerspec(_Timespec(0, 0), _Timespec(ns // _NS_PER_S, ns % _NS_PER_S))
        if self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(value), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Take note that it fired."""
        self._at = None
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)
