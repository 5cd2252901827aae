"""Turns what the spool went through into health codes."""

from __future__ import annotations

from agent.health import Health
from agent.spool import Spool

HOLD_S = 600.0


class SpoolWatch:
    """Looks at the spool after each flush."""

    def __init__(self, spool: Spool, health: Health) -> None:
        self._spool, self._health = spool, health
        self._given_up = 0

    def look(self, now_s: float) -> None:
        """Raise or clear ``disk_full``, ``spool_corrupt`` and ``spool_full``."""
        spool, health = self._spool, self._health
        if spool.full:
            health.raise_("disk_full", spool.full, now_s=now_s)
        else:
            health.clear("disk_full")
        if spool.file.damage:
            health.raise_("spool_corrupt", spool.file.damage, now_s=now_s, hold_s=HOLD_S)
            spool.file.damage = ""
        if spool.given_up > self._given_up:
            self._given_up = spool.given_up
            health.raise_(
                "spool_full", f"{self._given_up} events since the start", now_s=now_s, hold_s=HOLD_S
            )
