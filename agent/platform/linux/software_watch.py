"""Tells when software may have changed: inotify on package databases, site-packages and the places users can write."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

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
from agent.platform.linux.packages_places import MAX_WATCHES, program_stat
from agent.platform.ports import SoftwareChange, SoftwareSource, UnsupportedError

_DATABASE = IN_MOVED_TO | IN_CLOSE_WRITE
_ENTRIES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
_PLACE = IN_CLOSE_WRITE | IN_ATTRIB | _ENTRIES
_PIP_SUFFIXES = (".dist-info", ".egg-info")


_MASKS: dict[SoftwareSource, int] = {
    "dpkg": _DATABASE,
    "rpm": _DATABASE,
    "pip": _ENTRIES,
    "npm": _ENTRIES,
    "user_place": _PLACE,
}


class LinuxSoftwareWatch:
    """Implements ``ports.SoftwareWatch``. Which folders there are is told by the inventory child, which looks for them."""

    def __init__(self) -> None:
        self._databases: dict[str, SoftwareSource] = {}
        """Folders watched for something else than user places."""
        try:
            self._inotify = Inotify()
        except OSError as problem:
            hint = "raise fs.inotify.max_user_instances"
            raise UnsupportedError("software_watch", str(problem), hint) from problem

    def fileno(self) -> int:
        return self._inotify.fileno()

    def changes(self) -> Iterable[SoftwareChange]:
        found: dict[SoftwareChange, None] = {}
        for folder, mask, name in self._inotify.read():
            if change := self._change(folder, mask, name):
                found[change] = None
        return list(found)

    def watch(self, source: SoftwareSource, folders: Iterable[str]) -> bool:
        """One that is gone meanwhile is no failure. A folder of a database stays one inside a user place."""
        watched = [self._add(folder, source) for folder in folders]
        return all(watched)

    def is_program(self, path: str) -> bool:
        return program_stat(path) is not None

    def close(self) -> None:
        self._inotify.close()

    def _add(self, folder: str, source: SoftwareSource) -> bool:
        if source == "user_place" and folder in self._databases:
            return True
        try:
            if not self._inotify.add(folder, _MASKS[source], most=MAX_WATCHES):
                return False
        except OSError as problem:
            return problem.errno != errno.ENOSPC
        if source != "user_place":
            self._databases[folder] = source
        return True

    def _change(self, folder: str, mask: int, name: str) -> SoftwareChange | None:
        source = self._databases.get(folder, "user_place")
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
            self._add(path, "user_place")
        elif mask & (IN_DELETE | IN_MOVED_FROM):
            self._databases.pop(path, None)
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
