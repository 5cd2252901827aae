"""The journal's files: schema, opening, setting a corrupt one aside, and the record as it lies there.

SQLite in WAL mode with ``synchronous=FULL``: a commit that returned survives power loss (sqlite.org, "Write-Ahead
Logging"). A file that SQLite calls malformed is renamed ``journal.db.corrupt-N`` and stays readable as far as it is;
the new one counts its rows from ``(N + 1) << 40``, so a row number never means two batches and a reader's cursor
stays good.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from msgspec import Struct

EPOCH_BITS = 40
"""Row numbers of one file: 2^40. The file's number stands above them; both fit in a JSON number (2^53)."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL,
    prev_digest BLOB NOT NULL, digest BLOB NOT NULL, received_us INTEGER NOT NULL, body BLOB NOT NULL,
    signature BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS batches_place ON batches (agent_id, first_seq);
CREATE TABLE IF NOT EXISTS tails (
    agent_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB) WITHOUT ROWID;
"""

FULL_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
CORRUPT_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class NewBatch(Struct, frozen=True, kw_only=True):
    """A batch to be stored, as the PC signed it; ``received_us`` is the collector's clock, UTC µs."""

    agent_id: str
    first_seq: int
    count: int
    prev_digest: bytes
    digest: bytes
    received_us: int
    body: bytes
    signature: bytes

    def crc(self) -> int:
        """CRC-32 over everything: finds what a disk changed (the signature finds what a person changed)."""
        head = f"{self.agent_id} {self.first_seq} {self.count} {self.received_us} ".encode()
        return zlib.crc32(self.body, zlib.crc32(head + self.prev_digest + self.digest + self.signature))


class StoredBatch(NewBatch, frozen=True, kw_only=True):
    """A batch read back; ``rowid`` grows with the time of storing."""

    rowid: int

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event."""
        return self.first_seq + self.count - 1


class Tail(Struct, frozen=True):
    """Where an agent's chain ends: last durable sequence number, and the digest of the batch that holds it.

    ``digest`` None: the batch is lost to a corrupt file, so the next one's link cannot be checked.
    """

    seq: int = 0
    digest: bytes | None = bytes(32)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code of an error; -1 where the module raised it itself."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def is_corrupt(error: sqlite3.Error) -> bool:
    """Tell whether SQLite calls the file malformed."""
    return primary_code(error) in CORRUPT_CODES


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether the disk is full, or refuses to be written for another reason."""
    return primary_code(error) in FULL_CODES


def set_aside_files(path: Path) -> dict[int, Path]:
    """Number → path of the files that were set aside."""
    found = {}
    for one in path.parent.glob(f"{path.name}.corrupt-*"):
        number = one.name.rpartition("-")[2]
        if number.isdigit():
            found[int(number)] = one
    return found


def epoch_of(path: Path) -> int:
    """Number of the current file: one above the highest that was set aside."""
    return max(set_aside_files(path), default=-1) + 1


def set_aside(path: Path) -> Path:
    """Rename a corrupt journal and what belongs to it; the write-ahead log keeps the name SQLite looks for."""
    aside = path.with_name(f"{path.name}.corrupt-{epoch_of(path)}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def open_writer(path: Path) -> sqlite3.Connection:
    """Open (or make, 0600) a journal for writing. Raises sqlite3.Error."""
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None, timeout=1, check_same_thread=False)
    try:
        database.execute("PRAGMA page_size=8192")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA wal_autocheckpoint=2000")
        database.execute("PRAGMA journal_size_limit=67108864")
        database.executescript(SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing journal for reading only, while another process writes. Raises sqlite3.Error."""
    # Not mode=ro: reading a write-ahead log may have to make its -shm file.
    database = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=5)
    database.execute("PRAGMA query_only=1")
    return database
