"""The collector's clock, guarded against being set back: an expired token must not live again."""

from __future__ import annotations

import time

BACK_US = 60 * 1_000_000
"""A clock this far behind what it showed before was set back (NTP slews less)."""


class Clock:
    """``high_us`` is the newest time ever seen, kept in the control database over restarts."""

    def __init__(self, high_us: int = 0) -> None:
        self._high_us = high_us

    def now_us(self) -> int:
        """Wall clock, UTC µs."""
        return time.time_ns() // 1000

    def guarded_us(self) -> int:
        """The later of wall clock and newest time ever seen: what expiries are compared with."""
        self._high_us = max(self._high_us, self.now_us())
        return self._high_us

    def behind_us(self) -> int:
        """How far the wall clock is behind the newest time seen; 0 unless it was set back."""
        behind = self.guarded_us() - self.now_us()
        return behind if behind > BACK_US else 0
