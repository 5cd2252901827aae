"""Stored events of a span of time, batch by batch in the order they were received, in bounded memory."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import zstandard
from msgspec import Struct

from collector.detection.batch import Batch, Decoded, decode
from collector.evidence.reader import JournalReader
from collector.search.index import BITS, open_reader

LINES_AT_ONCE = 1000
_LOOK = (
    "SELECT rowid, count FROM batches WHERE rowid {side} ? AND max_us >= ? AND min_us < ? AND kinds & ?"
    " AND (? IS NULL OR agent_id IN (SELECT value FROM json_each(?))) ORDER BY rowid {order} LIMIT ?"
)
_BEHIND, _BEFORE = _LOOK.format(side=">", order="ASC"), _LOOK.format(side="<", order="DESC")
_END = (1 << 63) - 1


class Span(Struct, frozen=True, kw_only=True):
    """Which stored events: by the PC's clock (µs, ``until_us`` exclusive), of ``agents`` (None = all), of ``kinds``.

    ``most``: only about so many of the newest.
    """

    since_us: int
    until_us: int
    most: int
    kinds: frozenset[str]
    agents: frozenset[str] | None = None


class StoredEvents:
    """Reads a span from ``index.db`` and ``journal.db`` of a data directory. One per thread."""

    def __init__(self, data: Path, span: Span) -> None:
        self._index_path, self._journal_path, self._span = data / "index.db", data / "journal.db", span
        named = None if span.agents is None else json.dumps(sorted(span.agents))
        mask = sum(BITS[kind] for kind in span.kinds)
        self._sought = (span.since_us, span.until_us, mask, named, named)
        self.unreadable = 0
        """Events that could not be decoded, so far."""
        self.first_row, self.total, self.cut = self._measure()
        """Journal row to begin behind; events in the batches that will be read; older ones were left out."""

    def batches(self) -> Iterator[tuple[Batch, Decoded]]:
        """Every batch that may hold events of the span, oldest first. Rows that the journal lost are passed over."""
        unpacker = zstandard.ZstdDecompressor()
        with contextlib.closing(JournalReader(self._journal_path)) as journal:
            for rowid in self._rows():
                stored = journal.read_after(rowid - 1, 1)
                if not stored or stored[0].rowid != rowid:
                    continue
                one = stored[0]
                batch = Batch(one.rowid, one.agent_id, one.first_seq, one.count, one.received_us, one.body)
                decoded = decode(batch, unpacker)
                self.unreadable += decoded.faults
                yield batch, self._within(decoded)

    def _within(self, decoded: Decoded) -> Decoded:
        since, until = self._span.since_us, self._span.until_us
        kept = [one if one is not None and since <= one.time_us < until else None for one in decoded.events]
        return Decoded(kept, decoded.faults, decoded.first_faults)

    def _rows(self) -> Iterator[int]:
        """Row numbers, some at a time: a query held open for minutes would keep the index from being tidied."""
        last = self.first_row
        while lines := self._ask(_BEHIND, last):
            for rowid, _ in lines:
                yield rowid
            last = lines[-1][0]

    def _measure(self) -> tuple[int, int, bool]:
        total, last = 0, _END
        while lines := self._ask(_BEFORE, last):
            for rowid, count in lines:
                if total and total + count > self._span.most:
                    return rowid, total, True
                total, last = total + count, rowid
        return 0, total, False

    def _ask(self, sql: str, row: int) -> list[tuple[int, int]]:
        try:
            database = open_reader(self._index_path)
        except sqlite3.OperationalError:
            return []  # nothing has been indexed yet
        with contextlib.closing(database):
            return database.execute(sql, (row, *self._sought, LINES_AT_ONCE)).fetchall()
