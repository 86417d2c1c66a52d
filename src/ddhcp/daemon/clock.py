"""The two clocks: monotonic boot time for everything the core decides, wall clock for the store and for people."""

import time


def boot_time() -> float:
    """Seconds on a clock that never steps and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_minus_boot() -> float:
    """What to add to a boot time to get the wall-clock time of the same instant, in seconds."""
    return time.time() - boot_time()
