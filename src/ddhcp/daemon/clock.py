"""The two clocks: monotonic boot time for everything the core decides, wall clock for the store and for people."""

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_time() -> float:
    """Seconds on a clock that never steps and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_minus_boot() -> float:
    """What to add to a boot time to get the wall-clock time of the same instant, in seconds; changes when that clock
    is set."""
    return time.time() - boot_time()


def boot_id() -> str:
    """What names this start of the machine, "" if the kernel does not say. Boot times only compare under one id."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
