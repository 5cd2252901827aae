"""What software a PC had when it was looked at last: an SQLite file, and the difference to what it has now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.platform.ports import Package
from protocol.events import SoftwareChanged, SoftwareInstalled, SoftwareRemoved

SoftwareEvent = SoftwareInstalled | SoftwareRemoved | SoftwareChanged
Form = tuple[str, str]
"""Version and digest."""
Key = tuple[str, str]
"""Name and owner."""
BASELINE = "software.db"
"""In the agent's state folder."""
Inventory = dict[Key, frozenset[Form]]
Digests = dict[tuple[int, ...], str]
"""SHA-256 in hex of programs, by numbers of their stat that change with the content."""


def inventory_of(packages: Iterable[Package]) -> Inventory:
    """Group packages by name and owner; several versions side by side stay apart."""
    found: dict[Key, set[Form]] = {}
    for package in packages:
        found.setdefault((package.name, package.owner), set()).add((package.version, package.digest))
    return {key: frozenset(forms) for key, forms in found.items()}


def differences(source: str, before: Inventory, now: Inventory, time_us: int) -> Iterator[SoftwareEvent]:
    """Tell what came, went or changed, ordered by name. One form replaced by one other is a change."""
    for key in sorted(before.keys() | now.keys()):
        name, owner = key
        gone = sorted(before.get(key, frozenset()) - now.get(key, frozenset()))
        new = sorted(now.get(key, frozenset()) - before.get(key, frozenset()))
        about: dict[str, Any] = {"source": source, "name": name, "owner": owner}
        if len(gone) == len(new) == 1:
            (old_version, _), (version, digest) = gone[0], new[0]
            yield SoftwareChanged(
                time_us=time_us, previous_version=old_version, version=version, digest=digest, **about
            )
            continue
        for version, digest in gone:
            yield SoftwareRemoved(time_us=time_us, version=version, digest=digest, **about)
        for version, digest in new:
            yield SoftwareInstalled(time_us=time_us, version=version, digest=digest, **about)


def names_kept(path: Path, source: str, names: Iterable[str]) -> set[str]:
    """Those of ``names`` that a baseline file has; all of them when it cannot be read just now. Never waits."""
    wanted = set(names)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)) as db:
            look = "SELECT 1 FROM software WHERE source = ? AND name = ? LIMIT 1"
            return {name for name in wanted if db.execute(look, (source, name)).fetchone()}
    except sqlite3.Error:
        return wanted


class Baseline:
    """The file. Use it in one thread. A damaged one is set aside and begun anew: the PC is then seeded again."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error or OSError when no file can be made."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        try:
            self._db = self._open(path)
        except sqlite3.DatabaseError:
            path.replace(path.with_name(path.name + ".damaged"))
            path.touch(mode=0o600)
            self._db = self._open(path)

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path)
        try:
            db.execute("PRAGMA cache_size = -512")
            db.execute("CREATE TABLE IF NOT EXISTS seeded (source TEXT PRIMARY KEY) WITHOUT ROWID")
            db.execute(
                "CREATE TABLE IF NOT EXISTS software (source TEXT, name TEXT, owner TEXT, version TEXT, digest TEXT,"
                " PRIMARY KEY (source, name, owner, version, digest)) WITHOUT ROWID"
            )
            db.execute("CREATE TABLE IF NOT EXISTS hashed (stat TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def compare(self, source: str, packages: Iterable[Package], time_us: int) -> list[SoftwareEvent]:
        """Take the whole of a source; returns what differs. The first time nothing does: it is what was there."""
        now = inventory_of(packages)
        rows = self._db.execute(
            "SELECT name, owner, version, digest FROM software WHERE source = ?", (source,)
        )
        before = inventory_of(
            Package(source, name, version, digest, owner) for name, owner, version, digest in rows
        )
        seeded = self._db.execute("SELECT 1 FROM seeded WHERE source = ?", (source,)).fetchone() is not None
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO seeded VALUES (?)", (source,))
            for (name, owner), forms in before.items():
                gone = forms - now.get((name, owner), frozenset())
                self._remove(source, name, owner, gone)
            for (name, owner), forms in now.items():
                self._add(source, name, owner, forms - before.get((name, owner), frozenset()))
        return list(differences(source, before, now, time_us)) if seeded else []

    def compare_one(
        self, source: str, name: str, package: Package | None, time_us: int
    ) -> list[SoftwareEvent]:
        """Take one program by its name (path): what it is now, or None when it is gone."""
        if self._db.execute("SELECT 1 FROM seeded WHERE source = ?", (source,)).fetchone() is None:
            return []
        rows = self._db.execute(
            "SELECT owner, version, digest FROM software WHERE source = ? AND name = ?", (source, name)
        )
        before = inventory_of(
            Package(source, name, version, digest, owner) for owner, version, digest in rows
        )
        now = inventory_of([package] if package else [])
        with self._db:
            self._db.execute("DELETE FROM software WHERE source = ? AND name = ?", (source, name))
            for (_, owner), forms in now.items():
                self._add(source, name, owner, forms)
        return list(differences(source, before, now, time_us))

    def digests(self) -> Digests:
        """What was kept by :meth:`keep_digests`."""
        rows = self._db.execute("SELECT stat, digest FROM hashed")
        return {tuple(map(int, stat.split())): digest for stat, digest in rows}

    def keep_digests(self, before: Digests, now: Digests) -> None:
        """Keep the digests that are in use now, so that a program is read once and not every hour."""
        with self._db:
            gone = ((" ".join(map(str, stat)),) for stat in before.keys() - now.keys())
            self._db.executemany("DELETE FROM hashed WHERE stat = ?", gone)
            new = ((" ".join(map(str, stat)), now[stat]) for stat in now.keys() - before.keys())
            self._db.executemany("INSERT OR REPLACE INTO hashed VALUES (?, ?)", new)

    def _add(self, source: str, name: str, owner: str, forms: Iterable[Form]) -> None:
        rows = ((source, name, owner, version, digest) for version, digest in forms)
        self._db.executemany("INSERT OR IGNORE INTO software VALUES (?, ?, ?, ?, ?)", rows)

    def _remove(self, source: str, name: str, owner: str, forms: Iterable[Form]) -> None:
        rows = ((source, name, owner, version, digest) for version, digest in forms)
        self._db.executemany(
            "DELETE FROM software WHERE source = ? AND name = ? AND owner = ? AND version = ? AND digest = ?",
            rows,
        )

    def close(self) -> None:
        self._db.close()
