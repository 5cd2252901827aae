"""Tells when software may have changed: inotify on package databases, site-packages and the places users can write."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from agent.platform.linux.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_ISDIR,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    Inotify,
)
from agent.platform.linux.packages import RPM_FOLDERS
from agent.platform.linux.packages_dpkg import ADMIN
from agent.platform.linux.packages_places import NPM_ROOTS, PIP_ROOTS, USER_PLACES, Programs, globbed
from agent.platform.ports import SoftwareChange, SoftwareSource, UnsupportedError

MAX_WATCHES = 4096
"""Folders of user places watched (about 1 KiB of kernel memory and 0.3 KiB here each); the rest waits for the next walk."""

_DATABASE = IN_MOVED_TO | IN_CLOSE_WRITE
_ENTRIES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
_PLACE = IN_CLOSE_WRITE | IN_ATTRIB | _ENTRIES
_PIP_SUFFIXES = (".dist-info", ".egg-info")


class LinuxSoftwareWatch:
    """Implements ``ports.SoftwareWatch`` below ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._sources: dict[str, SoftwareSource] = {}
        try:
            self._inotify = Inotify()
        except OSError as problem:
            hint = "raise fs.inotify.max_user_instances"
            raise UnsupportedError("software_watch", str(problem), hint) from problem
        self._databases()

    def fileno(self) -> int:
        return self._inotify.fileno()

    def changes(self) -> Iterable[SoftwareChange]:
        found: dict[SoftwareChange, None] = {}
        for folder, mask, name in self._inotify.read():
            if change := self._change(folder, mask, name):
                found[change] = None
        return list(found)

    def rewatch(self) -> bool:
        """Watch databases that appeared, and every folder of the user places up to :data:`MAX_WATCHES`."""
        self._databases()
        return all(self._watch_tree(place) for place in globbed(self._root, USER_PLACES))

    def close(self) -> None:
        self._inotify.close()

    def _databases(self) -> None:
        self._add(self._root / ADMIN, "dpkg", _DATABASE)
        for name in RPM_FOLDERS:
            self._add(self._root / name, "rpm", _DATABASE)
        for folder in globbed(self._root, PIP_ROOTS):
            self._add(folder, "pip", _ENTRIES)
        for folder in globbed(self._root, NPM_ROOTS):
            self._add(folder, "npm", _ENTRIES)

    def _watch_tree(self, place: Path) -> bool:
        for folder, _ in Programs().folders(place):
            if folder not in self._sources and not self._add(Path(folder), "user_place", _PLACE):
                return False
        return True

    def _add(self, folder: Path, source: SoftwareSource, mask: int) -> bool:
        """Watch one folder; False when there are too many. One that is gone meanwhile is no failure."""
        path = str(folder)
        if path in self._sources and self._sources[path] != "user_place":
            return True
        if len(self._inotify) >= MAX_WATCHES:
            return False
        try:
            self._inotify.add(path, mask)
        except OSError as problem:
            return problem.errno != errno.ENOSPC
        self._sources[path] = source
        return True

    def _change(self, folder: str, mask: int, name: str) -> SoftwareChange | None:
        source = self._sources.get(folder, "user_place")
        path = f"{folder}/{name}"
        if source == "dpkg":
            # dpkg writes status-new and renames it, 47 events for one package; only this one means a new state
            return SoftwareChange("dpkg") if name == "status" and mask & IN_MOVED_TO else None
        if source == "pip":
            return SoftwareChange("pip") if name.endswith(_PIP_SUFFIXES) else None
        if source in {"rpm", "npm"}:
            return SoftwareChange(source)
        if mask & IN_ISDIR:
            return self._folder_changed(path, mask)
        return SoftwareChange("user_place", path)

    def _folder_changed(self, path: str, mask: int) -> SoftwareChange | None:
        """A folder of a user place came or went: what is in it, or was, is looked for by a walk."""
        if mask & (IN_CREATE | IN_MOVED_TO):
            self._add(Path(path), "user_place", _PLACE)
        elif mask & (IN_DELETE | IN_MOVED_FROM):
            self._sources.pop(path, None)
        else:
            return None
        empty = bool(mask & IN_CREATE) and not _has_entries(path)
        return None if empty else SoftwareChange("user_place")


def _has_entries(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
