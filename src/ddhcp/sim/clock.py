"""The clocks of a host: boot time, which only runs fast or slow, and wall-clock time, which also steps."""

from __future__ import annotations


class HostClock:
    """``rate``: seconds that the host counts in a second of virtual time. ``offset_s``: what it shows at virtual time
    0; no two hosts agree, so that nothing can come to depend on it. ``was_set_back``: whether its wall clock ever
    was."""

    __slots__ = ("offset_s", "rate", "step_s", "was_set_back")

    def __init__(self, offset_s: float = 0.0, rate: float = 1.0) -> None:
        self.offset_s = offset_s
        self.rate = rate
        self.step_s = 0.0
        self.was_set_back = False

    def step(self, seconds: float) -> None:
        """The wall clock is set."""
        self.step_s += seconds
        self.was_set_back = self.was_set_back or seconds < 0

    def boot_time(self, at: float) -> float:
        """What the host's boot-time clock shows at virtual time ``at``."""
        return self.offset_s + at * self.rate

    def wall_time(self, at: float) -> float:
        """The same for its wall clock."""
        return self.offset_s + at * self.rate + self.step_s

    def when(self, boot_time: float) -> float:
        """The virtual time at which the boot-time clock shows ``boot_time``."""
        return (boot_time - self.offset_s) / self.rate
