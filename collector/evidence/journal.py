"""The journal: batches exactly as the agents signed them, durable before they are acknowledged (DESIGN §9).

One process writes (the gateway); any number read (:mod:`collector.evidence.reader`). Exactly once in the store: the
gateway asks :meth:`Journal.tail` and :meth:`Journal.find` before it appends, and a unique index on (agent, first
sequence number) stands behind that.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from collector.evidence.files import (
    EPOCH_BITS,
    NewBatch,
    StoredBatch,
    Tail,
    epoch_of,
    is_corrupt,
    is_full,
    open_writer,
    set_aside,
)
from collector.evidence.reader import JournalReader
from protocol.refusal import RefusedError

_INSERT = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TAIL = "INSERT INTO tails VALUES (?, ?, ?) ON CONFLICT (agent_id) DO UPDATE SET seq=excluded.seq, digest=excluded.digest"
_FIND = "SELECT count, prev_digest, digest FROM batches WHERE agent_id = ? AND first_seq = ?"


class Place(Struct, frozen=True):
    """What is stored at one (agent, first sequence number)."""

    count: int
    prev_digest: bytes
    digest: bytes


class Corruption(Struct, frozen=True):
    """A journal file that was set aside: its new name, what SQLite said, and from where the new one counts."""

    aside: str
    error: str
    first_rowid: int


class Journal:
    """The writer's side. Not shared between threads."""

    def __init__(self, path: Path, remembered: Mapping[str, int] | None = None) -> None:
        """Open or make the journal at ``path``.

        ``remembered``: agent → highest acknowledged sequence number from the control database; it fills in for
        tails that a corrupt file lost, so that nothing acknowledged is asked again.
        """
        self.path = path
        self._tails: dict[str, Tail] = {}
        self._corruptions: list[Corruption] = []
        self._database: sqlite3.Connection | None = None
        self._next = 0
        try:
            self._open()
            self._read_tails()
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            self._replace(error)
        self._remember(remembered or {})

    # -- asking ------------------------------------------------------------------------------------------------------

    def tail(self, agent_id: str) -> Tail:
        """Where the agent's chain ends; sequence number 0 and 32 zero bytes for one that never sent anything."""
        return self._tails.get(agent_id, Tail())

    def tails(self) -> dict[str, Tail]:
        """Every agent's tail."""
        return dict(self._tails)

    def find(self, agent_id: str, first_seq: int) -> Place | None:
        """What is stored with exactly this beginning. Raises RefusedError ``disk_full``."""
        try:
            row = self._ready().execute(_FIND, (agent_id, first_seq)).fetchone()
        except sqlite3.DatabaseError as error:
            if is_corrupt(error):
                self._replace(error)
                return None
            raise self._refused(error) from error
        return Place(*row) if row else None

    def read_after(self, rowid: int, limit: int = 1000) -> list[StoredBatch]:
        """Batches stored after ``rowid``, oldest first (see :meth:`JournalReader.read_after`)."""
        with contextlib.closing(JournalReader(self.path)) as reader:
            return reader.read_after(rowid, limit)

    def count_events(self, agent_id: str | None = None) -> int:
        """How many events of an agent (None = of all) are stored."""
        with contextlib.closing(JournalReader(self.path)) as reader:
            return reader.count_events(agent_id)

    @property
    def last_rowid(self) -> int:
        """Number of the newest row; of an empty file, the number before its first."""
        return self._next - 1

    def take_corruptions(self) -> list[Corruption]:
        """Files set aside since the last call, each to be reported once."""
        taken, self._corruptions = self._corruptions, []
        return taken

    # -- storing -----------------------------------------------------------------------------------------------------

    def append_many(self, batches: Sequence[NewBatch]) -> int:
        """Store ``batches`` in one transaction; durable when this returns. Returns the last row number.

        All or none. Raises RefusedError ``disk_full`` when the disk takes no more (nothing is stored, try again
        later). A file found corrupt is set aside and the batches go to a new one.
        """
        try:
            return self._append(batches)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise self._refused(error) from error
            self._replace(error)
        try:
            return self._append(batches)
        except sqlite3.DatabaseError as error:
            raise self._refused(error) from error

    def _append(self, batches: Sequence[NewBatch]) -> int:
        database = self._ready()
        tails = {one.agent_id: Tail(one.first_seq + one.count - 1, one.digest) for one in batches}
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_INSERT, self._rows(batches))
            database.executemany(_TAIL, [(agent, tail.seq, tail.digest) for agent, tail in tails.items()])
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise
        self._next += len(batches)
        self._tails.update(tails)
        return self._next - 1

    def _rows(self, batches: Iterable[NewBatch]) -> list[tuple[object, ...]]:
        return [
            (
                self._next + index,
                one.agent_id,
                one.first_seq,
                one.count,
                one.prev_digest,
                one.digest,
                one.received_us,
                one.body,
                one.signature,
                one.crc(),
            )
            for index, one in enumerate(batches)
        ]

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    # -- files -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._database = open_writer(self.path)
        (last,) = self._database.execute("SELECT max(id) FROM batches").fetchone()
        self._next = max(last or 0, epoch_of(self.path) << EPOCH_BITS) + 1

    def _ready(self) -> sqlite3.Connection:
        if self._database is None:
            self._open()
        assert self._database is not None  # noqa: S101 - _open sets it or raises
        return self._database

    def _read_tails(self) -> None:
        for agent, seq, digest in self._ready().execute("SELECT agent_id, seq, digest FROM tails"):
            self._tails[agent] = Tail(seq, digest)

    def _refused(self, error: sqlite3.Error) -> RefusedError:
        """Name a failure to write; the file is opened anew before the next try (an I/O error may have closed it)."""
        self.close()
        what = "the disk takes no more" if is_full(error) else "the journal cannot be written"
        return RefusedError("disk_full", f"{what}: {error}", f"free space where {self.path.name} lies")

    def _replace(self, error: sqlite3.Error) -> None:
        """Set a malformed file aside and go on with a new one that knows the tails. Raises RefusedError ``disk_full``."""
        self.close()
        with contextlib.suppress(sqlite3.Error):
            self._salvage_tails()
        aside = set_aside(self.path)
        try:
            self._open()
            self._write_tails(self._tails)
        except sqlite3.Error as second:
            raise self._refused(second) from second
        self._corruptions.append(Corruption(aside.name, str(error), self._next))

    def _salvage_tails(self) -> None:
        """Take what can still be read of a malformed file's tails; what this process knows is newer."""
        with contextlib.closing(sqlite3.connect(self.path)) as database:
            for agent, seq, digest in database.execute("SELECT agent_id, seq, digest FROM tails"):
                self._tails.setdefault(agent, Tail(seq, digest))

    def _remember(self, remembered: Mapping[str, int]) -> None:
        lost = {
            agent: Tail(seq, None)
            for agent, seq in remembered.items()
            if seq > self._tails.get(agent, Tail()).seq
        }
        if lost:
            self._tails.update(lost)
            self._write_tails(lost)

    def _write_tails(self, tails: Mapping[str, Tail]) -> None:
        self._ready().executemany(_TAIL, [(agent, tail.seq, tail.digest) for agent, tail in tails.items()])
