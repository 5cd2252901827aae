"""``index.db``: one line per journaled batch, so that a search opens only the batches that can hold what is sought.

Derived from the journal, so it may be thrown away: it is built anew from the first row when the catalogue of kinds has
changed. The cursor (number of the last journal row taken in) lies in the same transaction as the lines.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from protocol.events import KINDS

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    rowid INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL,
    min_us INTEGER NOT NULL, max_us INTEGER NOT NULL, kinds INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS batches_time ON batches (max_us);
CREATE INDEX IF NOT EXISTS batches_agent ON batches (agent_id, max_us);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
"""
BITS: dict[str, int] = {kind: 1 << position for position, kind in enumerate(KINDS)}
"""Kind → its bit in ``kinds``, in catalogue order; SQLite's integers have room for 63."""
TYPE_BITS = {type_: BITS[kind] for kind, type_ in KINDS.items()}
_CATALOGUE = " ".join(KINDS)
END_US = (1 << 63) - 1
"""Behind the last time that SQLite's integers hold."""
_INSERT = "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)"


class Line(Struct, frozen=True, array_like=True):
    """One batch: journal row, sender, first sequence number, events, earliest and latest event (µs), bits of kinds."""

    rowid: int
    agent_id: str
    first_seq: int
    count: int
    min_us: int
    max_us: int
    kinds: int


def clamped(time_us: int) -> int:
    """Time of an event as stored. A PC may send any integer; what no clock shows is moved to the nearest that fits."""
    return min(max(time_us, 0), END_US - 1)


class IndexWriter:
    """The detector's side; one process."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._database.execute("PRAGMA journal_mode=WAL")
        # A crash of the machine may take the newest lines and the cursor with them; both come back from the journal.
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(SCHEMA)
        self._keep_catalogue()

    def cursor(self) -> int:
        """Number of the last journal row taken in; 0 = none."""
        row = self._database.execute("SELECT value FROM facts WHERE name = 'cursor'").fetchone()
        return int(row[0]) if row else 0

    def add(self, lines: Iterable[Sequence[object]], cursor: int) -> None:
        """Take in lines (fields of :class:`Line` in order) and move the cursor, in one transaction."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(_INSERT, lines)
            self._database.execute("INSERT OR REPLACE INTO facts VALUES ('cursor', ?)", (cursor,))
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise

    def cut(self, last: int) -> None:
        """Forget every line above row ``last``: the journal no longer holds these rows."""
        self._database.execute("DELETE FROM batches WHERE rowid > ?", (last,))
        self.add((), last)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _keep_catalogue(self) -> None:
        row = self._database.execute("SELECT value FROM facts WHERE name = 'kinds'").fetchone()
        if row and row[0] == _CATALOGUE:
            return
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute("DELETE FROM batches")
        self._database.execute("DELETE FROM facts")
        self._database.execute("INSERT INTO facts VALUES ('kinds', ?)", (_CATALOGUE,))
        self._database.execute("COMMIT")


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing index for reading. Raises ``sqlite3.OperationalError`` when there is none yet."""
    # Not mode=ro: reading a write-ahead log may have to make its -shm file.
    database = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=5)
    database.execute("PRAGMA query_only=1")
    return database
