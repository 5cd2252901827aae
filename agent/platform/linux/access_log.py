"""The use of files in confidential places: one fanotify mark for each folder below them.

A mark on the folder itself is seen whatever mount or namespace a file is reached by; a mark on the whole file system would
tell of every file of the PC. New folders are marked as they appear, and what was put into one before that is listed.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from agent.platform.file_ports import Access, AccessKind
from agent.platform.linux.fanotify_log import (
    FAN_CLOSE_WRITE,
    FAN_CREATE,
    FAN_DELETE,
    FAN_MODIFY,
    FAN_MOVED_FROM,
    FAN_MOVED_TO,
    FAN_ONDIR,
    FAN_OPEN,
    FAN_Q_OVERFLOW,
    Key,
    Named,
    NamedGroup,
    key_of,
)
from agent.platform.linux.mount_spaces import MountSpaces
from agent.platform.ports import OverflowedError, Processes, ProcessInfo, UnsupportedError

MAX_FOLDERS: Final = 8192
"""Folders watched: about 0.3 KiB each here and 1 KiB in the kernel."""
SLICE_S: Final = 0.01
"""How long folders are walked through before others of the main loop have their turn."""
AGAIN_S: Final = 5.0
"""How often it is looked whether a place came, or was replaced."""
FULL_S: Final = 3600.0
"""How often everything is walked through again: a file system may have been mounted below."""
SOURCE_S: Final = 60.0
MAX_READERS, READ_EACH = 256, 16
"""Processes whose last reads are remembered, and how many of each."""
_USES: Final[tuple[tuple[int, AccessKind], ...]] = (
    (FAN_DELETE, "delete"),
    (FAN_MOVED_FROM | FAN_MOVED_TO, "rename"),
    (FAN_CREATE, "create"),
    (FAN_MODIFY | FAN_CLOSE_WRITE, "write"),
    (FAN_OPEN, "read"),
)
_REMOTE: Final = ("nfs", "cifs", "smb", "ceph", "afs", "9p", "fuse", "autofs")
_MASK: Final = sum(mask for mask, _ in _USES)


class _Folder(Struct, frozen=True):
    path: str
    place: str
    fresh: bool = False
    """It just appeared: what is in it appeared too."""


class LinuxAccessLog:
    """Implements ``file_ports.AccessLog``."""

    def __init__(self, root: Path, processes: Processes, proc: Path = Path("/proc")) -> None:
        self._root = root
        self._proc = proc
        self._processes = processes
        self._group: NamedGroup | None = None
        self._epoll: select.epoll | None = None
        self._more = -1
        self._folders: dict[Key, _Folder] = {}
        self._places: dict[str, str] = {}
        self._tops: frozenset[str] = frozenset()
        self._remote: tuple[str, ...] = ()
        self._roots: dict[str, Key] = {}
        self._walk: Iterator[None] = iter(())
        self._todo: deque[_Folder] = deque()
        self._found: list[Access] = []
        self._readers: OrderedDict[int, deque[tuple[float, str, str]]] = OrderedDict()
        self._again_s = self._full_s = 0.0
        self._lost = False
        self.incomplete = ""

    def fileno(self) -> int:
        if self._epoll is None:
            self._open()
        assert self._epoll is not None  # noqa: S101 - for the type checker
        return self._epoll.fileno()

    def watch(self, places: Mapping[str, str]) -> None:
        self.fileno()
        wanted = {name: os.path.normpath(f"{self._root}/{path}") for name, path in places.items()}
        if wanted != self._places:
            self._places, self._tops = wanted, frozenset(wanted.values())
            if self._group is not None:
                self._group.flush()
            self._forget()
            self._recheck()

    def accesses(self) -> list[Access]:
        if self._group is None:
            return []
        self._drain()  # first: who ends soon must be looked at soon
        self._recheck()
        self._go_on()
        if self._lost:
            # New folders may be among what was lost.
            self._lost, self._full_s = False, 0.0
            raise OverflowedError("fanotify")
        found, self._found = self._found, []
        return found

    def source_of(self, pid: int, name: str, size: int) -> str:
        self._drain()
        since = time.monotonic() - SOURCE_S
        for when, path, place in reversed(self._readers.get(pid, ())):
            if when >= since and (path.rpartition("/")[2] == name or _size(path) == size):
                return place
        return ""

    def close(self) -> None:
        for closing in (self._group, self._epoll):
            if closing is not None:
                closing.close()
        if self._more >= 0:
            os.close(self._more)
        self._group, self._epoll, self._more = None, None, -1
        self._forget()
        self._places = {}

    # -- what happened -------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        # One read: somebody who writes without end must not hold the main loop.
        known: dict[int, ProcessInfo | None] = {}
        for event in self._group.read() if self._group else ():
            self._lost = self._lost or bool(event.mask & FAN_Q_OVERFLOW)
            if event.pid and event.pid not in known:
                known[event.pid] = self._processes.live(event.pid)
            self._take(event, known.get(event.pid))

    def _take(self, event: Named, who: ProcessInfo | None) -> None:
        folder = self._folders.get(event.folder)
        if folder is None or event.name in {"", "."} or event.pid == os.getpid():
            return
        path = f"{folder.path}/{event.name}"
        mask = event.mask
        if mask & FAN_ONDIR:
            if mask & (FAN_MOVED_FROM | FAN_DELETE):
                self._drop_below(path)
            if mask & (FAN_CREATE | FAN_MOVED_TO):
                self._queue(_Folder(path, folder.place, bool(mask & FAN_CREATE)))
            mask &= FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_CREATE
        now_us = time.time_ns() // 1000
        for bits, access in _USES:
            if mask & bits:
                self._found.append(
                    Access(
                        time_us=now_us, pid=event.pid, path=path, access=access, place=folder.place, who=who
                    )
                )
                break
        if mask & FAN_OPEN:
            self._remember(event.pid, path, folder.place)

    def _remember(self, pid: int, path: str, place: str) -> None:
        reads = self._readers.setdefault(pid, deque(maxlen=READ_EACH))
        reads.append((time.monotonic(), path, place))
        self._readers.move_to_end(pid)
        if len(self._readers) > MAX_READERS:
            self._readers.popitem(last=False)

    # -- folders -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._group = NamedGroup()
        except OSError as problem:
            hint = "needs CAP_SYS_ADMIN and Linux 5.9"
            raise UnsupportedError("access_log", str(problem), hint) from problem
        self._more = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._group.fd, select.EPOLLIN)
        self._epoll.register(self._more, select.EPOLLIN)

    def _recheck(self) -> None:
        """Look whether places came or were replaced, and through everything again where that is due."""
        now = time.monotonic()
        if now >= self._full_s:
            self._roots.clear()
            self._full_s, self._again_s = now + FULL_S, 0.0
        if now < self._again_s or not self._places:
            return
        self._again_s = now + AGAIN_S
        table = MountSpaces(self._proc).own()
        self._remote = tuple(entry.mountpoint for entry in table if entry.fs_type.startswith(_REMOTE))
        for name, path in self._places.items():
            if self._is_remote(path):
                self.incomplete = f"{path}: on a network or user-space file system"
            elif (key := _key(path)) and key != self._roots.get(name):
                self._roots[name] = key
                self._queue(_Folder(path, name))

    def _is_remote(self, path: str) -> bool:
        """Asking about such a path may hang for as long as its server does."""
        return any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in self._remote)

    def _forget(self) -> None:
        self._folders.clear()
        self._roots.clear()
        self._todo.clear()
        self._walk = iter(())
        self._again_s = self._full_s = 0.0
        self.incomplete = ""

    def _drop_below(self, path: str) -> None:
        """A folder left: what happens in it is no longer of this place."""
        gone = [
            key for key, one in self._folders.items() if one.path == path or one.path.startswith(path + "/")
        ]
        for key in gone:
            del self._folders[key]

    def _queue(self, folder: _Folder) -> None:
        if not self._todo:
            os.eventfd_write(self._more, 1)
        self._todo.append(folder)

    def _go_on(self) -> None:
        """Walk for :data:`SLICE_S`, and ask to be called again where there is more."""
        until = time.monotonic() + SLICE_S
        while time.monotonic() < until:
            if next(self._walk, True) is None:
                continue
            if not self._todo:
                break
            self._walk = self._enter(self._todo.popleft())
        else:
            return
        if self._more >= 0:
            try:
                os.eventfd_read(self._more)
            except BlockingIOError:
                return

    def _enter(self, folder: _Folder) -> Iterator[None]:
        """Mark a folder, then list it: nothing falls between. Yields ever so often."""
        if self._is_remote(folder.path):
            return
        try:
            key = key_of(folder.path)
            if key not in self._folders and len(self._folders) >= MAX_FOLDERS:
                self.incomplete = f"more than {MAX_FOLDERS} folders"
                return
            if self._group is not None:
                self._group.mark(folder.path, _MASK)
            self._folders[key] = folder
            with os.scandir(folder.path) as entries:
                for entry in entries:
                    if entry.path in self._tops:
                        continue  # a place of its own
                    if entry.is_dir(follow_symlinks=False):
                        self._todo.append(_Folder(entry.path, folder.place, folder.fresh))
                    elif folder.fresh:
                        self._appeared(entry, folder.place)
                    yield
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self.incomplete = f"{folder.path}: {problem.strerror}"

    def _appeared(self, entry: os.DirEntry[str], place: str) -> None:
        owner = entry.stat(follow_symlinks=False).st_uid
        now_us = time.time_ns() // 1000
        self._found.append(
            Access(time_us=now_us, pid=0, path=entry.path, access="create", place=place, uid=owner)
        )


def _key(path: str) -> Key:
    try:
        return key_of(path)
    except OSError:
        return b""


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1
