"""The spool: every event, numbered from 1, on disk until the collector has it on its own (DESIGN §4).

The main thread appends here; :mod:`agent.outbox` is the other end.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from agent.spool_file import ROW_BYTES, SpoolFile, is_corrupt
from protocol.events import AgentDropped, Event, Priority, encode_event
from protocol.refusal import RefusedError

GROUP_EVENTS, GROUP_S = 200, 0.050
HELD_EVENTS = 1_000
"""Urgent events kept in memory while the disk is full."""
RETRY_S = 1.0
RANGES_PER_EVENT = 1_000
REPORT = -1
"""Priority of the spool's own reports: they are never given up, or what they tell would be lost with them."""
REPORT_BYTES = 512
"""Room a full spool must have for a report of what was given up."""
DAY_S = 86_400.0


class _Row(NamedTuple):
    seq: int
    priority: int
    body: bytes


class Spool:
    """Numbered events on disk. ``limit_bytes`` caps bodies and rows; ``max_age_s`` counts time the agent ran.

    Age is not taken from the wall clock: setting that forward must not throw evidence away. ``wake`` is called when
    there is something new to send.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int = 128 * 1024 * 1024,
        max_age_s: float = 60 * DAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file = SpoolFile(path)
        self.wake: Callable[[], None] = lambda: None
        self.full = ""
        """Why the disk takes nothing now; empty = it does."""
        self.dropped = 0
        """Events given up or refused since the start, for whatever reason."""
        self.given_up = 0
        """Those that had to make room for others."""
        self._limit, self._max_age_s, self._clock = limit_bytes, max_age_s, clock
        self._started, self._age_before = clock(), self.file.age_s
        self._next = self.file.last_seq + 1
        self._buffer: list[_Row] = []
        self._due: float | None = None
        self._refused = 0
        if self.file.absent:
            self._set_full(self.file.absent)

    @property
    def last_seq(self) -> int:
        """Highest number given out."""
        return self._next - 1

    @property
    def depth(self) -> int:
        """Events not yet acknowledged."""
        return self.file.waiting + self.file.formed + len(self._buffer)

    def due_in(self) -> float | None:
        """Seconds until :meth:`flush` is due; None = nothing to flush."""
        return None if self._due is None else max(0.0, self._due - self._clock())

    def append(self, event: Event) -> int:
        """Number an event and keep it; CRITICAL and VIOLATION are on disk when this returns, the rest soon after.

        Raises RefusedError ``disk_full``: counted, and told in an ``agent.dropped`` event once there is space.
        While the disk is full, CRITICAL and VIOLATION events are held in memory as far as HELD_EVENTS goes.
        """
        held = len(self._buffer)
        if self.file.absent:
            self._refuse()
        if self.full and (event.priority > Priority.VIOLATION or held >= HELD_EVENTS):
            self._refuse()
        try:
            self.file.mark.reserve(self._next)
        except OSError as error:
            self._set_full(str(error))
            self._refuse()
        seq = self._next
        self._next += 1
        self._buffer.append(_Row(seq, event.priority, encode_event(event)))
        if self._due is None:
            self._due = self._clock() + GROUP_S
        if not self.full and (event.priority <= Priority.VIOLATION or held + 1 >= GROUP_EVENTS):
            self.flush()
        return seq

    def flush(self) -> None:
        """Commit what is buffered. A full disk is not an error here: ``full`` says so, and the next flush tries again."""
        self._due = None
        if self.file.absent and not self._open_again():
            return
        if not (self._buffer or self._refused or self.full or self.file.reports or self.file.losses):
            return
        try:
            self._commit()
        except (sqlite3.DatabaseError, OSError) as error:
            self._mend(error)
            return
        self.full = ""
        self.wake()

    def _open_again(self) -> bool:
        try:
            self.file.open_again()
        except (sqlite3.Error, OSError) as error:
            self._set_full(str(error))
            return False
        self._next = self.file.last_seq + 1
        self._started, self._age_before = self._clock(), self.file.age_s
        return True

    def _mend(self, error: Exception) -> None:
        """After a commit that failed: a corrupt file is replaced at once, for anything else there is a next time."""
        self._set_full(str(error))
        if is_corrupt(error):
            try:
                self.file.replace()
            except (sqlite3.DatabaseError, OSError) as again:
                self._set_full(str(again))
            else:
                self.full = ""
                self._due = self._clock()

    def close(self) -> None:
        """Commit and close."""
        self.flush()
        self.file.close()

    def _refuse(self) -> None:
        self._refused += 1
        self.dropped += 1
        raise RefusedError("disk_full", f"the spool takes nothing: {self.full}", "free some disk space")

    def _set_full(self, why: str) -> None:
        self.full = why
        self._due = self._clock() + RETRY_S

    def _age_s(self) -> float:
        return self._age_before + self._clock() - self._started

    def _commit(self) -> None:
        """One transaction: buffered events, what has to go for them, and the report of everything that went."""
        file, reports = self.file, list(self.file.reports)
        with file.lock:
            with file.transaction():
                size = self._insert(self._buffer)
                lost, freed = self._make_room(file.bytes + size)
                self._note(lost)
                room = self._limit - (file.bytes + size - freed)
                told_losses = room >= REPORT_BYTES and self._any_losses()
                if told_losses:
                    reports += self._take_losses()
                if self._refused:
                    reports.append(_report("disk_full", self._refused))
                told = [_Row(self._next + at, REPORT, encode_event(one)) for at, one in enumerate(reports)]
                last = self.last_seq + len(told)
                file.mark.reserve(last)
                size += self._insert(told)
                file.save(last_seq=last, age_s=self._age_s(), wall_us=time.time_ns() // 1000)
            file.waiting += len(self._buffer) + len(told) - len(lost)
            file.bytes += size - freed
            file.last_seq = last
            file.losses = file.losses + len(lost) if not told_losses else 0
            file.reports.clear()
        self.dropped += len(lost)
        self.given_up += len(lost)
        self._next = last + 1
        self._buffer.clear()
        self._refused = 0

    def _insert(self, rows: list[_Row]) -> int:
        age = self._age_s()
        self.file.db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            [(row.seq, row.priority, age, zlib.crc32(row.body), row.body) for row in rows],
        )
        return sum(len(row.body) + ROW_BYTES for row in rows)

    def _make_room(self, total: int) -> tuple[list[int], int]:
        """Delete what is too old, then the least important and oldest; returns the numbers and the bytes freed.

        A class is touched for space only when the spool is over its limit without all classes below it. It then gives
        a twentieth of the limit more, so that this does not run for every single event.
        """
        lost: list[int] = []
        before, oldest = total, self._age_s() - self._max_age_s
        if total <= self._limit and not self._any_older(oldest):
            return lost, 0
        for priority in sorted(Priority, reverse=True):
            low = self._limit - self._limit // 20 if total > self._limit else total
            gone: list[int] = []
            query = "SELECT seq, length(body), age_s FROM events WHERE priority = ? AND seq > ? ORDER BY seq"
            for seq, size, age in self.file.db.execute(query, (priority, self.file.forming)):
                if age >= oldest and total <= low:
                    break
                total -= size + ROW_BYTES
                gone.append(seq)
            if gone:
                delete = "DELETE FROM events WHERE priority = ? AND seq BETWEEN ? AND ?"
                self.file.db.execute(delete, (priority, gone[0], gone[-1]))
                lost += gone
        return sorted(lost), before - total

    def _any_older(self, oldest: float) -> bool:
        query = "SELECT age_s FROM events WHERE seq > ? AND priority >= 0 ORDER BY seq LIMIT 1"
        first = self.file.db.execute(query, (self.file.forming,)).fetchone()
        return first is not None and first[0] < oldest

    def _note(self, lost: list[int]) -> None:
        """Keep what was given up until there is room to report it: reports are CRITICAL and would displace others."""
        for first, last in as_ranges(lost):
            grown = self.file.db.execute(
                "UPDATE losses SET last = ? WHERE last = ? AND reason = 'spool_full'", (last, first - 1)
            )
            if not grown.rowcount:
                self.file.db.execute("INSERT INTO losses VALUES (?, ?, 'spool_full')", (first, last))

    def _any_losses(self) -> bool:
        return self.file.db.execute("SELECT 1 FROM losses LIMIT 1").fetchone() is not None

    def _take_losses(self) -> list[AgentDropped]:
        """The reports of everything noted; forgotten with this transaction."""
        rows = self.file.db.execute(
            "SELECT reason, first, last FROM losses ORDER BY reason, first"
        ).fetchall()
        self.file.db.execute("DELETE FROM losses")
        return [
            report
            for reason, group in groupby(rows, key=itemgetter(0))
            for report in _dropped(reason, merged((first, last) for _, first, last in group))
        ]


def _report(reason: str, count: int, ranges: tuple[tuple[int, int], ...] = ()) -> AgentDropped:
    return AgentDropped(
        time_us=time.time_ns() // 1000, reason=reason, count=count, ranges=ranges, source="spool"
    )


def _dropped(reason: str, ranges: list[tuple[int, int]]) -> Iterator[AgentDropped]:
    """Events that tell which numbers are gone."""
    for start in range(0, len(ranges), RANGES_PER_EVENT):
        part = tuple(ranges[start : start + RANGES_PER_EVENT])
        yield _report(reason, sum(last - first + 1 for first, last in part), part)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch put together."""
    result: list[tuple[int, int]] = []
    for first, last in ranges:
        if result and first <= result[-1][1] + 1:
            result[-1] = result[-1][0], max(last, result[-1][1])
        else:
            result.append((first, last))
    return result


def as_ranges(seqs: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of a sorted list of numbers as (first, last)."""
    start = 0
    for at in range(1, len(seqs) + 1):
        if at == len(seqs) or seqs[at] != seqs[at - 1] + 1:
            yield seqs[start], seqs[at - 1]
            start = at
