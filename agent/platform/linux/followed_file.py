"""A file that others append to, read from where it was left: rotation, truncation and a long absence are handled."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

MAX_CHUNK = 256 * 1024
"""Bytes read at once; the rest is read next time."""
MAX_BEHIND = 4 * 1024 * 1024
"""More than this is not caught up with: the oldest part is skipped, which is told."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Position(Struct):
    """How far a file was read. ``inode`` tells it from the one that takes its name after a rotation."""

    inode: int = 0
    offset: int = 0


class FollowedFile:
    """Reads what is new in a file. ``unit`` is the size of a record; text has 1.

    ``position`` None: begin at the end, what stands there already is not new.
    """

    def __init__(self, path: Path, position: Position | None, *, unit: int = 1) -> None:
        self._path, self._unit = path, unit
        self._fd = -1
        self.skipped = 0
        """Bytes that were never read."""
        self.position = position or self._end()

    def _end(self) -> Position:
        try:
            found = self._path.stat()
        except OSError:
            return Position()
        return Position(found.st_ino, found.st_size - found.st_size % self._unit)

    def before(self, size: int) -> bytes:
        """What was read last, up to the position: at most ``size`` bytes, whole records."""
        if self._fd < 0:
            self._fd = self._open()
        if self._fd < 0:
            return b""
        begin = max(0, self.position.offset - size + size % self._unit)
        return os.pread(self._fd, self.position.offset - begin, begin)

    def read(self) -> bytes:
        """New bytes, whole records only, at most :data:`MAX_CHUNK`; empty when there are none."""
        if self._fd < 0:
            self._fd = self._open()
            if self._fd < 0:
                return b""
        data = self._next()
        if data or not self._replaced():
            return data
        self.close()
        self._fd = self._open_new()
        return self._next() if self._fd >= 0 else b""

    def _open(self) -> int:
        """The file that was being read, under its name or the one a rotation gave it; else the new one from its start."""
        for path in (self._path, self._path.with_name(self._path.name + ".1")):
            try:
                fd = os.open(path, _FLAGS)
            except OSError:
                continue
            if os.fstat(fd).st_ino == self.position.inode:
                return fd
            os.close(fd)
        return self._open_new()

    def _open_new(self) -> int:
        try:
            fd = os.open(self._path, _FLAGS)
        except OSError:
            return -1
        self.position = Position(os.fstat(fd).st_ino, 0)
        return fd

    def _replaced(self) -> bool:
        try:
            return self._path.stat().st_ino != self.position.inode
        except OSError:
            return False  # moved away, and the new one is not there yet: the old one may still be written to

    def _next(self) -> bytes:
        size, at = os.fstat(self._fd).st_size, self.position.offset
        if size < at:
            at = 0  # cut: it begins anew
        if size - at > MAX_BEHIND:
            skip = size - at - MAX_BEHIND
            skip += -skip % self._unit
            self.skipped += skip
            at += skip
        data = os.pread(self._fd, MAX_CHUNK - MAX_CHUNK % self._unit, at) if size > at else b""
        if self._unit == 1:
            data = data[: data.rfind(b"\n") + 1] if len(data) < MAX_CHUNK else data
        else:
            data = data[: len(data) - len(data) % self._unit]
        self.position.offset = at + len(data)
        return data

    def close(self) -> None:
        """Close the file; the position stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
