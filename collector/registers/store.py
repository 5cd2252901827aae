"""The control database: one SQLite file that the collector's three processes share.

Writers take the write lock when they begin (``BEGIN IMMEDIATE``), so a reader never has to be upgraded to a writer in
the middle and two processes cannot deadlock; they wait up to ten seconds for each other
(https://www.sqlite.org/lang_transaction.html). WAL lets readers go on meanwhile; ``synchronous=FULL`` makes a commit
durable when it returns.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session

from protocol.refusal import RefusedError

BUSY_TIMEOUT_MS = 10_000
MIGRATIONS = Path(__file__).with_name("migrations")


def now_us() -> int:
    """Time of the collector, UTC µs."""
    return time.time_ns() // 1000


class Store:
    """Sessions over the control database. Rows stay readable after their session has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _engine(path)
        self._writer = self._reader.execution_options(immediate=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view; whatever is changed in it is thrown away."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that holds the write lock from its first statement; durable when the block ends.

        Keep it short: other processes wait. An exception in the block undoes it. Raises
        ``sqlalchemy.exc.OperationalError`` when the lock was not free for ten seconds.
        """
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._reader.dispose()


def open_store(path: Path) -> Store:
    """Open a control database that is at the newest revision. Raises RefusedError ``version`` when it is not."""
    if needs_migration(path):
        raise RefusedError(
            "version", f"{path.name} is not at the revision of this program", "sekisho-collector migrate"
        )
    return Store(path)


def needs_migration(path: Path) -> bool:
    """Tell whether the database is missing or at another revision than this program's."""
    if not path.exists():
        return True
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    return current != ScriptDirectory.from_config(alembic_config()).get_current_head()


def migrate(path: Path) -> bool:
    """Bring the database to this program's revision, in one transaction; make it (0600) if it is missing.

    Returns whether anything was done. Two processes may call it at once: the second waits and finds nothing to do.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if not needs_migration(path):
        return False
    # Alembic rebuilds SQLite tables to change them, which enforced foreign keys would forbid.
    engine = _engine(path, foreign_keys=False)
    try:
        with engine.execution_options(immediate=True).begin() as connection:
            alembic.command.upgrade(alembic_config(connection), "head")
    finally:
        engine.dispose()
    return True


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration without a file; ``connection`` is the one migrations run on."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _use_wal(connection: Any) -> None:
    """Switch to WAL. SQLite does not wait for the lock this needs (busy handlers are not asked), so this does.

    Raises ``sqlite3.OperationalError`` when it stays locked.
    """
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
        else:
            return


def _engine(path: Path, *, foreign_keys: bool = True) -> Engine:
    # Parameters stay out of errors and logs: they may name people.
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver must not begin transactions by itself: `begin` below does.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
