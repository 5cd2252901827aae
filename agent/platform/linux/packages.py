"""Installed software of a Linux PC: dpkg, rpm, pip, npm, and programs in places users can write."""

from __future__ import annotations

import subprocess
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from shutil import which

from agent.platform.linux.packages_dpkg import ADMIN, Dpkg
from agent.platform.linux.packages_places import (
    MAX_WATCHES,
    NPM_ROOTS,
    PIP_ROOTS,
    USER_PLACES,
    Programs,
    globbed,
    npm_packages,
    pip_packages,
    program_stat,
)
from agent.platform.linux.processes import Users
from agent.platform.ports import Package

SOURCES = ("dpkg", "rpm", "pip", "npm", "user_place")
RPM_FOLDERS = ("var/lib/rpm", "usr/lib/sysimage/rpm")
_RPM_SECONDS = 60
_OWNERS_KEPT = 1024


def databases_stamp(root: Path, *, places: bool) -> tuple[int, ...]:
    """Numbers that change whenever a package database below ``root`` did; ``places``: pip and npm folders too."""
    found = list(Dpkg(root).stamp())
    folders = [root / folder for folder in RPM_FOLDERS]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    for path in [*files, *(globbed(root, PIP_ROOTS + NPM_ROOTS) if places else ())]:
        try:
            found.append(path.stat().st_mtime_ns)
        except FileNotFoundError:
            found.append(0)
    return tuple(found)


class LinuxPackages:
    """Implements ``ports.Packages`` below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._dpkg = Dpkg(root)
        self._users = Users(root)
        self._programs = Programs()
        self._owners: OrderedDict[str, Package | None] = OrderedDict()
        self._owners_stamp = (0, 0)

    def watched(self, source: str) -> Iterator[str]:
        """Folders of a database, or all of the user places (one more than can be watched), those that exist now."""
        databases = {"dpkg": (ADMIN,), "rpm": RPM_FOLDERS}
        if source in databases:
            folders = (self._root / folder for folder in databases[source])
            return (str(folder) for folder in folders if folder.is_dir())
        if source == "user_place":
            places = globbed(self._root, USER_PLACES)
            found = (folder for place in places for folder, _ in self._programs.folders(place))
            return islice(found, MAX_WATCHES + 1)
        return map(str, globbed(self._root, PIP_ROOTS if source == "pip" else NPM_ROOTS))

    def recall(self, known: dict[tuple[int, ...], str]) -> dict[tuple[int, ...], str]:
        """Use digests made before; returns the dict that fills with those in use."""
        self._programs = Programs(known)
        return self._programs.used

    def installed(self, source: str) -> Iterator[Package]:
        """Software of one of :data:`SOURCES`. Raises OSError when a database cannot be read."""
        readers = {
            "dpkg": self._dpkg_packages,
            "rpm": self._rpm_packages,
            "pip": self._pip_packages,
            "npm": self._npm_packages,
            "user_place": self._user_places,
        }
        return readers[source]()

    def examine(self, path: str) -> Package | None:
        """Return the program at a path in a user place, or None: gone, no program, or a package's own file."""
        found = program_stat(path)
        if found is None or self.owner(self._inner(path)) is not None:
            return None
        try:
            digest = self._programs.digest(path, found)
        except OSError:
            return None
        return Package("user_place", self._inner(path), "", digest, self._users.name(found.st_uid))

    def owner(self, path: str) -> Package | None:
        """Package that owns a file. Reads all lists of the database (10-30 ms) unless asked before."""
        stamp = self._dpkg.stamp()
        if stamp != self._owners_stamp:
            self._owners.clear()
            self._owners_stamp = stamp
        if path not in self._owners:
            self._owners[path] = self._owner_of([path]).get(path) or self._rpm_owner(path)
            if len(self._owners) > _OWNERS_KEPT:
                self._owners.popitem(last=False)
        return self._owners[path]

    def bounded(self) -> bool:
        """Did the last walk of the user places stop at its limits?"""
        return self._programs.bounded

    def _inner(self, path: str) -> str:
        prefix = str(self._root).rstrip("/")
        return path.removeprefix(prefix) if prefix else path

    def _dpkg_packages(self) -> Iterator[Package]:
        entries = list(self._dpkg.entries())
        names = [entry.name for entry in entries]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        for entry in entries:
            name = f"{entry.name}:{entry.architecture}" if entry.name in twice else entry.name
            yield Package("dpkg", name, entry.version)

    def _owner_of(self, paths: Iterable[str]) -> dict[str, Package]:
        wanted = set(paths)
        owners = {path: name for name, path in self._dpkg.paths() if path in wanted} if wanted else {}
        if not owners:
            return {}
        names = set(owners.values())
        versions = {entry.name: entry.version for entry in self._dpkg.entries() if entry.name in names}
        return {path: Package("dpkg", name, versions.get(name, "")) for path, name in owners.items()}

    def _rpm_packages(self) -> Iterator[Package]:
        for line in self._rpm("-qa", "--qf", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n"):
            name, mark, version = line.partition("\t")
            if mark:
                yield Package("rpm", name, version.removeprefix("0:"))

    def _rpm_owner(self, path: str) -> Package | None:
        for line in self._rpm("-qf", "--qf", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n", "--", path):
            name, mark, version = line.partition("\t")
            if mark:
                return Package("rpm", name, version.removeprefix("0:"))
        return None

    def _rpm(self, *arguments: str) -> list[str]:
        """Lines rpm says; none where there is no rpm or no database of it. Raises OSError when it hangs."""
        tool = which("rpm")
        if tool is None or not any((self._root / folder).is_dir() for folder in RPM_FOLDERS):
            return []
        command = [tool, "--root", str(self._root), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_RPM_SECONDS, check=False)
        except subprocess.TimeoutExpired as problem:
            raise OSError(f"rpm did not answer within {_RPM_SECONDS} s") from problem
        return done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else []

    def _pip_packages(self) -> Iterator[Package]:
        found = [
            pair
            for folder in globbed(self._root, PIP_ROOTS)
            for pair in pip_packages(folder, self._owner(folder))
        ]
        yield from self._unowned(found)

    def _npm_packages(self) -> Iterator[Package]:
        found = [
            pair
            for folder in globbed(self._root, NPM_ROOTS)
            for pair in npm_packages(folder, self._owner(folder))
        ]
        yield from self._unowned(found)

    def _unowned(self, found: list[tuple[Path, Package]]) -> Iterator[Package]:
        """What no dpkg package put there (Debian's own Python and Node packages carry the same metadata)."""
        owned = self._owner_of(self._inner(str(path)) for path, _ in found)
        yield from (package for path, package in found if self._inner(str(path)) not in owned)

    def _owner(self, folder: Path) -> str:
        """Login name a folder belongs to; empty for root: the whole PC's."""
        try:
            uid = folder.stat().st_uid
        except OSError:
            return ""
        return self._users.name(uid) if uid else ""

    def _user_places(self) -> Iterator[Package]:
        found = dict(self._programs.walk(globbed(self._root, USER_PLACES)))
        owned = self._owner_of(self._inner(path) for path in found)
        for path, details in found.items():
            if self._inner(path) not in owned:
                try:
                    digest = self._programs.digest(path, details)
                except OSError:
                    continue  # gone meanwhile
                yield Package("user_place", self._inner(path), "", digest, self._users.name(details.st_uid))
