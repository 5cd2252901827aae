"""The spool's file: schema, opening, quarantine of a corrupt one, and the mark that keeps numbers from repeating.

SQLite in WAL mode with ``synchronous=FULL``: a commit that returned survives power loss (sqlite.org, "Write-Ahead
Logging"). Beside it lies ``spool.mark``: no number above the mark was ever given out, so when the database is lost the
new one goes on above it.

One connection under one lock serves both threads: a second connection would only move the waiting into SQLite's busy
handler, and events that are being formed into a batch could be dropped under it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.events import AgentDropped
from protocol.keys import write_private
from protocol.messages import ZERO_DIGEST

MARK_BLOCK = 10_000
"""Numbers reserved by one fsynced write of the mark."""
ROW_BYTES = 48
"""What a row costs beyond its body, roughly."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, priority INTEGER NOT NULL, age_s REAL NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, prev BLOB NOT NULL, digest BLOB NOT NULL,
    signature BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS losses (first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
"""
"""``events``: committed, in no batch yet. ``batches``: formed, not acknowledged. ``losses``: gone, not reported yet."""

PRAGMAS = """
PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-512; PRAGMA journal_size_limit=4194304;
"""

CORRUPT_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_corrupt(error: BaseException) -> bool:
    """Tell whether a new database is needed: SQLite calls the file damaged, its own numbers contradict each other, or
    an earlier replacement failed half-way and left it closed.
    """
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return True
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", -1) & 0xFF in CORRUPT_CODES


def open_database(path: Path) -> sqlite3.Connection:
    """Open (or make) the database and check it. Raises sqlite3.DatabaseError when it is corrupt."""
    path.touch(mode=0o600)
    database = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=5, cached_statements=32
    )
    try:
        database.executescript(PRAGMAS)
        _check(database)
        database.executescript(SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(verdict)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def quarantine(path: Path) -> Path:
    """Rename a corrupt database and what belongs to it out of the way, for later study."""
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


class Mark:
    """The number no sequence number ever went above; 0 when there is no (readable) mark."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.value = max(0, int(path.read_text(encoding="ascii")))
        except (FileNotFoundError, ValueError):
            self.value = 0

    def reserve(self, seq: int) -> None:
        """Make sure that ``seq`` is at or below the mark, on disk. Raises OSError."""
        if seq > self.value:
            wanted = seq + MARK_BLOCK
            write_private(self._path, f"{wanted}\n".encode())
            self.value = wanted


class SpoolFile:
    """The open database with its counters, shared by the writing :class:`agent.spool.Spool` and the sending
    :class:`agent.outbox.Outbox`. Counters change only under ``lock`` and only after a commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.mark = Mark(path.with_name("spool.mark"))
        self.epoch = 0
        """Changes when the database had to be replaced at run time: batches of the old one are gone."""
        self.forming = 0
        """Highest number that is being formed into a batch right now: not to be dropped."""
        self.reports: list[AgentDropped] = []
        """What the writer has to add to the spool with its next commit."""
        self.damage = ""
        """Set when the database had to be set aside, for the health code."""
        self.absent = ""
        """Why the database cannot be opened (a full disk); then an empty one in memory stands in and nothing is kept."""
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self.absent = str(error)
            self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self.db.executescript(SCHEMA)
            self._load()

    def _open(self) -> None:
        try:
            self.db = open_database(self.path)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            aside = quarantine(self.path)
            self.db = open_database(self.path)
            self._load()
            self._start_above(self.mark.value, f"the spool was damaged and lies in {aside.name}")
            return
        self._load()
        if self._fresh and self.mark.value:
            self._start_above(self.mark.value, "the spool had disappeared")
        elif self._fresh:
            with self.transaction():
                self.save(last_seq=0)

    def open_again(self) -> None:
        """Open what could not be opened before. Raises sqlite3.Error, OSError."""
        with self.lock:
            stand_in = self.db
            try:
                self._open()
            except (sqlite3.Error, OSError):
                self.db = stand_in
                raise
            stand_in.close()
            self.absent = ""
            self.epoch += 1

    def _load(self) -> None:
        meta = dict(self.db.execute("SELECT key, value FROM meta").fetchall())
        self._fresh = "last_seq" not in meta
        in_events = self._numbers("SELECT coalesce(max(seq), 0) FROM events")[0]
        in_batches = self._numbers("SELECT coalesce(max(first + count - 1), 0) FROM batches")[0]
        self.last_seq = max(in_events, in_batches, int(meta.get("last_seq", 0)))
        self.acknowledged = int(meta.get("acknowledged", 0))
        self.digest: bytes = meta.get("digest", ZERO_DIGEST)
        self.last_wall_us = int(meta.get("wall_us", 0))
        self.age_s = float(meta.get("age_s", 0.0))
        self.losses = self._numbers("SELECT coalesce(sum(last - first + 1), 0) FROM losses")[0]
        self.waiting, size = self._numbers("SELECT count(*), coalesce(sum(length(body)), 0) FROM events")
        self.bytes = size + self.waiting * ROW_BYTES
        self.formed, size = self._numbers(
            "SELECT coalesce(sum(count), 0), coalesce(sum(length(body)), 0) FROM batches"
        )
        self.bytes += size

    def _numbers(self, query: str) -> list[int]:
        return [int(value) for value in self.db.execute(query).fetchone()]

    def _start_above(self, last: int, why: str) -> None:
        """Go on after ``last`` in an empty database; everything not acknowledged is lost and told."""
        known, self.damage = self.acknowledged, why
        self.last_seq = self.acknowledged = last
        with self.transaction():
            self.save(last_seq=last, acknowledged=last)
        self.reports.append(
            AgentDropped(
                time_us=time.time_ns() // 1000,
                reason="corrupt",
                source="spool",
                ranges=((known + 1, last),) if known else (),
                count=max(0, last - known) if known else 0,
                detail=f"{why}; the chain of batches starts anew",
            )
        )

    def replace(self) -> None:
        """The database turned out corrupt while open: set it aside and go on in a new one, same numbers."""
        with self.lock:
            known, last, age, wall = self.acknowledged, self.last_seq, self.age_s, self.last_wall_us
            self.db.close()
            aside = quarantine(self.path)
            self.db = open_database(self.path)
            self._load()
            self.acknowledged, self.age_s, self.last_wall_us = known, age, wall
            self._start_above(last, f"the spool was damaged and lies in {aside.name}")
            self.epoch += 1

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One write transaction. ``durable=False`` skips the fsync: for changes that may be repeated after a crash.

        Raises sqlite3.DatabaseError; then nothing of it was done.
        """
        with self.lock:
            if not durable:
                self.db.execute("PRAGMA synchronous=NORMAL")
            try:
                self.db.execute("BEGIN IMMEDIATE")
                try:
                    yield self.db
                    self.db.execute("COMMIT")
                except BaseException:
                    if self.db.in_transaction:
                        self.db.execute("ROLLBACK")
                    raise
            finally:
                if not durable:
                    self.db.execute("PRAGMA synchronous=FULL")

    def save(self, **values: float | bytes) -> None:
        """Set lasting values; within a transaction."""
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def close(self) -> None:
        """Close the database; what was committed stays."""
        with self.lock:
            self.db.close()
