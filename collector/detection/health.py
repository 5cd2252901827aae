"""The detector's status file ``run/detector.stats.json``, written every two seconds for console and supervisor."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from collector.evidence.files import EPOCH_BITS, epoch_of, open_reader

EVERY_S = 2.0


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds. Counts are since the start; ``rate`` is events/s since the file before; times UTC µs."""

    time_us: int
    pid: int
    started_us: int
    events: int
    batches: int
    alerts: int
    bad_events: int
    rule_errors: int
    rate: float
    row: int
    lag_rows: int
    """Journal rows not yet taken in."""
    policy: str
    """Release in force, ``generation:hash12``; empty = none."""
    health: dict[str, str]
    """Health code → what is wrong: ``journal`` | ``control_db`` | ``index_db`` | ``policy`` | ``stats_file``."""


def replace_stats(path: Path, stats: Stats) -> None:
    """Replace the file in one step. Raises OSError."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(stats))
    temporary.replace(path)


def journal_end(path: Path) -> int:
    """Number of the journal's newest row; 0 while there is no journal. Raises ``sqlite3.Error``."""
    if not path.exists():
        return 0
    with contextlib.closing(open_reader(path)) as database:
        (last,) = database.execute("SELECT max(id) FROM batches").fetchone()
    return max(last or 0, epoch_of(path) << EPOCH_BITS)


class Pace:
    """When the file is due, and the rate since the last one."""

    def __init__(self) -> None:
        self._at, self._events = time.monotonic(), 0

    def due(self) -> bool:
        """Whether two seconds have passed."""
        return time.monotonic() - self._at >= EVERY_S

    def rate(self, events: int) -> float:
        """Events per second since the last call."""
        now = time.monotonic()
        rate = (events - self._events) / max(now - self._at, 1e-9)
        self._at, self._events = now, events
        return round(rate, 1)


def lag(path: Path, row: int) -> int:
    """Journal rows behind ``row``; a new journal file (after a damaged one) counts as at least one. -1 = not readable."""
    try:
        end = journal_end(path)
    except sqlite3.Error:
        return -1
    return max(0, end - max(row, (end >> EPOCH_BITS) << EPOCH_BITS))
