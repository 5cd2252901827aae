"""Reading the journal while the gateway writes it: what the detector, search and verification use.

Nothing that was damaged stops the rest: a row whose CRC is wrong, or a page that SQLite calls malformed, is skipped,
counted once and handed out by :meth:`JournalReader.take_losses` so that the caller can report it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from collector.evidence.files import (
    EPOCH_BITS,
    StoredBatch,
    epoch_of,
    is_corrupt,
    open_reader,
    set_aside_files,
)

_COLUMNS = "id, agent_id, first_seq, count, prev_digest, digest, received_us, body, signature, crc"
_AFTER = f"SELECT {_COLUMNS} FROM batches WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - constants
_ONE = f"SELECT {_COLUMNS} FROM batches WHERE id = ?"  # noqa: S608 - constants
_PROBE = 10_000
"""Row numbers tried one by one behind a malformed page when the file cannot say where it ends."""


class Loss(Struct, frozen=True):
    """A stored row that cannot be read: its number, and why (``crc`` | ``malformed``)."""

    rowid: int
    why: str


class JournalReader:
    """Batches in the order they were stored, through all files of a journal. One per thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[int, sqlite3.Connection] = {}
        self._inode, self._epoch = -1, 0
        self._lost: set[int] = set()
        self._losses: list[Loss] = []

    @property
    def lost(self) -> int:
        """Rows that could not be read since this reader was made."""
        return len(self._lost)

    def take_losses(self) -> list[Loss]:
        """Losses since the last call, each to be reported once."""
        taken, self._losses = self._losses, []
        return taken

    def read_after(self, rowid: int, limit: int = 1000) -> list[StoredBatch]:
        """Up to ``limit`` readable batches with a row number above ``rowid``, oldest first; empty = that is all.

        Raises sqlite3.OperationalError when the file cannot be opened or read for a reason other than damage.
        """
        self._refresh()
        epoch = rowid >> EPOCH_BITS
        while epoch <= self._epoch:
            good, seen = self._stretch(epoch, max(rowid, epoch << EPOCH_BITS), limit)
            if good:
                return good
            if seen:  # nothing but damaged rows: look behind them
                rowid = seen
            else:
                epoch += 1
        return []

    def count_events(self, agent_id: str | None = None) -> int:
        """How many events of an agent (None = of all) are stored in readable rows."""
        total, rowid = 0, 0
        while batches := self.read_after(rowid, 500):
            rowid = batches[-1].rowid
            total += sum(one.count for one in batches if agent_id in (None, one.agent_id))
        return total

    def close(self) -> None:
        """Close all files."""
        for database in self._open.values():
            database.close()
        self._open.clear()

    def _refresh(self) -> None:
        """When the writer has begun a new file, forget the connections to the old one."""
        inode = self._path.stat().st_ino if self._path.exists() else 0
        if inode != self._inode:
            self.close()
            self._inode, self._epoch = inode, epoch_of(self._path)

    def _database(self, epoch: int) -> sqlite3.Connection | None:
        if epoch not in self._open:
            path = self._path if epoch == self._epoch else set_aside_files(self._path).get(epoch)
            if path is None or not path.exists():
                return None
            self._open[epoch] = open_reader(path)
        return self._open[epoch]

    def _stretch(self, epoch: int, start: int, limit: int) -> tuple[list[StoredBatch], int]:
        """Good rows of one file behind ``start``, and the highest row number seen there (0 = none)."""
        try:
            database = self._database(epoch)
            if database is None:
                return [], 0
            rows = database.execute(_AFTER, (start, limit)).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            rows = list(self._salvage(epoch, start, limit))
        return self._checked(rows), max((row[0] for row in rows), default=0)

    def _checked(self, rows: list[Any]) -> list[StoredBatch]:
        good = []
        for rowid, agent, first, count, prev, digest, received, body, signature, crc in rows:
            with contextlib.suppress(TypeError, ValueError, AttributeError):
                one = StoredBatch(
                    rowid=rowid,
                    agent_id=agent,
                    first_seq=first,
                    count=count,
                    prev_digest=prev,
                    digest=digest,
                    received_us=received,
                    body=body,
                    signature=signature,
                )
                if one.crc() == crc:
                    good.append(one)
                    continue
            self._lose(rowid, "crc")
        return good

    def _salvage(self, epoch: int, start: int, limit: int) -> Iterator[Any]:
        """Row by row around a malformed page, as far as there are rows."""
        database = self._open.get(epoch)
        if database is None:  # not even its header can be read
            self._lose(epoch << EPOCH_BITS, "malformed")
            return
        found = 0
        for rowid in range(start + 1, self._end(database, start) + 1):
            try:
                row = database.execute(_ONE, (rowid,)).fetchone()
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                self._lose(rowid, "malformed")
                continue
            if row:
                yield row
                found += 1
                if found == limit:
                    return

    @staticmethod
    def _end(database: sqlite3.Connection, start: int) -> int:
        try:
            (last,) = database.execute("SELECT max(id) FROM batches").fetchone()
        except sqlite3.DatabaseError:
            return start + _PROBE
        return last or 0

    def _lose(self, rowid: int, why: str) -> None:
        if rowid not in self._lost:
            self._lost.add(rowid)
            self._losses.append(Loss(rowid, why))
