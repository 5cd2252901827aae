"""What is in a file that somebody wants to execute. Standard library only.

Small files are read by the handler itself. Large ones are read by a child of it, so that everybody else's programs start
meanwhile: anybody could make a file of a terabyte out of nothing and try to execute it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections import namedtuple
from hashlib import md5, sha256

from agent.platform.linux.fanotify import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = 32 << 20
"""Bytes from which on a child reads (50-100 ms)."""
READ_SECONDS = 20.0
"""Reading that takes longer ends in ``gate_unsure``."""
MAX_READINGS = 8
"""Large files read at the same time; more are refused as ``gate_unsure``."""
_CHUNK = 1 << 20
_HEADER_BYTES = 4096
_PATH_MAX = 4096
_FARTHEST = 1 << 62
_PT_INTERP = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

Identity = tuple[int, ...]
"""Device, inode, mtime, ctime, size: other content means another identity (ctime cannot be set)."""
Content = namedtuple("Content", "md5 sha256 interpreter")  # noqa: PYI024 - see gate_wire


class UnsureError(Exception):
    """The file could not be read in time, or changed meanwhile."""


class LargeError(Exception):
    """The file is to be read by a child; the argument is its identity."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self.identity = identity


def identity_of(found: os.stat_result) -> Identity:
    """Return the identity of a file's content."""
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def read_content(fd: int, identity: Identity, beat: Callable[[], None]) -> Content:
    """Read a file whole; ``beat`` is called after every MiB. Raises OSError or :class:`UnsureError`."""
    until = time.monotonic() + READ_SECONDS
    weak, strong, offset = md5(usedforsecurity=False), sha256(), 0
    while chunk := os.pread(fd, _CHUNK, offset):
        weak.update(chunk)
        strong.update(chunk)
        offset += len(chunk)
        beat()
        if time.monotonic() > until:
            raise UnsureError
    if identity_of(os.fstat(fd)) != identity:
        raise UnsureError

    def read(size: int, at: int) -> bytes:
        return os.pread(fd, size, at) if at < _FARTHEST else b""

    return Content(weak.digest(), strong.digest(), interpreter_of(read(_HEADER_BYTES, 0), read))


def interpreter_of(header: bytes, read: Callable[[int, int], bytes]) -> bytes:
    """Return the path in ``#!`` (execve(2)) or PT_INTERP (elf(5)) of a file that begins with ``header``.

    ``read(length, offset)`` reads the file. Empty when there is none or the header makes no sense.
    """
    if header.startswith(b"#!"):
        words = header[2:256].split(b"\n", 1)[0].split()
        return words[0] if words else b""
    if header[:4] != b"\x7fELF" or len(header) < 64 or header[4] not in (1, 2) or header[5] not in (1, 2):
        return b""
    wide, order = header[4] == 2, "little" if header[5] == 1 else "big"

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], order)  # type: ignore[arg-type]

    word = 8 if wide else 4
    table = number(header, 32 if wide else 28, word)
    entry, count = (number(header, at, 2) for at in ((54, 56) if wide else (42, 44)))
    for index in range(min(count, 64)):
        program = read(entry, table + index * entry) if entry else b""
        if number(program, 0, 4) == _PT_INTERP and len(program) >= 32:
            offset, size = number(program, 8 if wide else 4, word), number(program, 32 if wide else 16, word)
            return read(min(size, _PATH_MAX), offset).rstrip(b"\0")
    return b""


class Reading:
    """One large file being read: the question that waits for it, and the child's process."""

    def __init__(self, group: Group, fd: int, pid: int, identity: Identity) -> None:
        self.group, self.fd, self.pid, self.identity = group, fd, pid, identity
        self.until = time.monotonic() + READ_SECONDS
        self.child = 0


class Readings:
    """The children. ``private``: descriptors a child must not hold (it would keep a dead handler's lines open)."""

    def __init__(self, poller: select.epoll, private: tuple[int, ...]) -> None:
        self._poller = poller
        self._private = private
        self._going: dict[int, Reading] = {}

    def __len__(self) -> int:
        return len(self._going)

    def start(self, reading: Reading) -> bool:
        """Begin; False when there are too many."""
        if len(self._going) >= MAX_READINGS:
            return False
        outlet, inlet = os.pipe()
        reading.child = os.fork()
        if reading.child == 0:
            self._read(reading, inlet)
        os.close(inlet)
        self._going[outlet] = reading
        self._poller.register(outlet, select.EPOLLIN)
        return True

    def finished(self, ready: set[int]) -> list[tuple[Reading, Content | None]]:
        """Those that ended, each with the content, or None for one that took too long or went wrong."""
        now = time.monotonic()
        return [
            (reading, self._end(outlet, reading, done=outlet in ready))
            for outlet, reading in list(self._going.items())
            if outlet in ready or now > reading.until
        ]

    def _read(self, reading: Reading, inlet: int) -> None:
        """Be the child."""
        try:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            for fd in self._private:
                os.close(fd)
            content = read_content(reading.fd, reading.identity, lambda: None)
            os.write(inlet, b"".join(content))
        finally:
            os._exit(0)

    def abandon(self, *, allow: bool) -> None:
        """Answer all that still wait, and end their children."""
        for outlet, reading in list(self._going.items()):
            self._end(outlet, reading, done=False)
            reading.group.answer(reading.fd, allow=allow)
            os.close(reading.fd)

    def _end(self, outlet: int, reading: Reading, *, done: bool) -> Content | None:
        self._poller.unregister(outlet)
        del self._going[outlet]
        data = os.read(outlet, 48 + _PATH_MAX) if done else b""
        os.close(outlet)
        os.kill(reading.child, signal.SIGKILL)
        os.waitpid(reading.child, 0)
        return Content(data[:16], data[16:48], data[48:]) if len(data) >= 48 else None
