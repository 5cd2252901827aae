"""inotify by ctypes (inotify(7)): 1 descriptor and no thread, where the watchdog package costs 4-5 MiB and threads."""

from __future__ import annotations

import ctypes
import os
import sys
from struct import Struct

from agent.platform.ports import OverflowedError

IN_ATTRIB, IN_CLOSE_WRITE = 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_Q_OVERFLOW, IN_IGNORED, IN_ISDIR = 0x4000, 0x8000, 0x40000000
_IN_ONLYDIR, _IN_DONT_FOLLOW = 0x01000000, 0x02000000
_EVENT = Struct("iIII")  # wd, mask, cookie, len
_READ_SIZE = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class MalformedError(ValueError):
    """The kernel's buffer did not hold what inotify(7) says."""


def parse_events(data: bytes) -> list[tuple[int, int, str]]:
    """Read (watch, mask, name) of each event in a buffer. Raises :class:`MalformedError`."""
    events = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _EVENT.size:
            raise MalformedError(f"{len(data) - offset} bytes left")
        watch, mask, _, length = _EVENT.unpack_from(data, offset)
        offset += _EVENT.size
        if length > len(data) - offset:
            raise MalformedError(f"name of {length} bytes, {len(data) - offset} left")
        name = data[offset : offset + length].partition(b"\0")[0]
        events.append((watch, mask, os.fsdecode(name)))
        offset += length
    return events


class Inotify:
    """Watches on folders, by path."""

    def __init__(self) -> None:
        """Raises OSError (EMFILE: too many instances for this user)."""
        self._fd = _call("inotify_init1", _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._paths: dict[int, str] = {}

    def fileno(self) -> int:
        return self._fd

    def add(self, folder: str, mask: int, *, most: int = sys.maxsize) -> bool:
        """Watch a folder (not what a symlink points to) unless ``most`` others are watched; a watched one gets the mask.

        Raises OSError; ENOSPC: the user's limit of watches.
        """
        flags = ctypes.c_uint32(mask | _IN_ONLYDIR | _IN_DONT_FOLLOW)
        watch = _call("inotify_add_watch", _libc.inotify_add_watch(self._fd, os.fsencode(folder), flags))
        if watch not in self._paths and len(self._paths) >= most:
            _libc.inotify_rm_watch(self._fd, watch)
            return False
        if self._paths.get(watch) != folder:
            self._paths[watch] = folder
        return True

    def read(self) -> list[tuple[str, int, str]]:
        """Return (folder, mask, name) of what happened; never blocks. Raises ``OverflowedError``."""
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return []
        happened = []
        for watch, mask, name in parse_events(data):
            if mask & IN_Q_OVERFLOW:
                raise OverflowedError("inotify")
            folder = self._paths.get(watch)
            if mask & IN_IGNORED:
                self._paths.pop(watch, None)
            elif folder is not None:
                happened.append((folder, mask, name))
        return happened

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _call(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
