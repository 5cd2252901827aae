"""The PC's clock, watched: somebody who sets it back could revive old orders or hide when things happened."""

from __future__ import annotations

import time
from typing import Literal

STEP_US = 5_000_000
"""A difference between wall clock and time since boot that changes by more than this is a step."""
Step = Literal["clock_back", "clock_forward"]


def boot_us() -> int:
    """µs since boot, counting suspended time (clock_gettime(2) CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class ClockWatch:
    """Compares the wall clock with the time since boot. ``last_wall_us`` is the wall time the last run ended with."""

    def __init__(self, wall_us: int, since_boot_us: int, last_wall_us: int = 0) -> None:
        self._offset_us = wall_us - since_boot_us
        self._before_us = last_wall_us - wall_us if last_wall_us else 0

    def check(self, wall_us: int, since_boot_us: int) -> tuple[Step, int] | None:
        """The step since the last call and its size in µs (negative = back), or None.

        The first call also tells whether the clock is behind where the last run of the agent ended.
        """
        before, self._before_us = self._before_us, 0
        if before > STEP_US:
            return "clock_back", -before
        step, self._offset_us = wall_us - since_boot_us - self._offset_us, wall_us - since_boot_us
        if abs(step) <= STEP_US:
            return None
        return ("clock_back" if step < 0 else "clock_forward"), step
