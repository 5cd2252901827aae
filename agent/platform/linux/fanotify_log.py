"""fanotify by ctypes: being told of the use of files afterwards (never asked before).

Sources: fanotify(7), fanotify_init(2), fanotify_mark(2), name_to_handle_at(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
from struct import Struct
from typing import Final

from msgspec import Struct as Record

from agent.platform.linux.fanotify import MalformedError, parse_events

FAN_MODIFY, FAN_CLOSE_WRITE, FAN_OPEN = 0x2, 0x8, 0x20
FAN_MOVED_FROM, FAN_MOVED_TO, FAN_CREATE, FAN_DELETE = 0x40, 0x80, 0x100, 0x200
FAN_Q_OVERFLOW, FAN_EVENT_ON_CHILD, FAN_ONDIR = 0x4000, 0x08000000, 0x40000000

_CLOEXEC_NONBLOCK: Final = 0x1 | 0x2
_UNLIMITED_MARKS: Final = 0x20
_REPORT_DFID_NAME: Final = 0x400 | 0x800
_MARK_ADD, _MARK_DONT_FOLLOW, _MARK_ONLYDIR, _MARK_FLUSH, _MARK_FILESYSTEM = 0x1, 0x4, 0x8, 0x80, 0x100
_O_NOATIME: Final = 0o1000000
_EVENT_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | _O_NOATIME
_AT_FDCWD, _AT_HANDLE_FID = -100, 0x200
_METADATA = Struct("=IBBHQii")  # event_len, vers, reserved, metadata_len, mask, fd, pid
_INFO = Struct("=BBH8sIi")  # info_type, pad, len, fsid, handle_bytes, handle_type
_DFID_NAME: Final = 2
_HANDLE_BYTES: Final = 128
_READ_BYTES: Final = 32 * 1024
_VERSION: Final = 3

_libc = ctypes.CDLL(None, use_errno=True)

Key = bytes
"""File system id, type and bytes of the handle: names one folder."""


class _Handle(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * _HANDLE_BYTES))


class Named(Record, frozen=True):
    """What happened (``mask``), by whom, in which folder, to which name."""

    mask: int
    pid: int
    folder: Key
    name: str


def parse_named(data: bytes) -> list[Named]:
    """Read a buffer of events with folder and name. Raises MalformedError. An overflow has an empty folder."""
    events = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _METADATA.size:
            raise MalformedError(f"{len(data) - offset} bytes left")
        length, version, _, header, mask, _, pid = _METADATA.unpack_from(data, offset)
        if version != _VERSION or header < _METADATA.size or not header <= length <= len(data) - offset:
            raise MalformedError(f"event of {length} bytes, header of {header}, version {version}")
        folder, name = _folder_and_name(data[offset + header : offset + length])
        events.append(Named(mask, pid, folder, name))
        offset += length
    return events


def _folder_and_name(infos: bytes) -> tuple[Key, str]:
    offset = 0
    while offset < len(infos):
        if len(infos) - offset < 4:
            raise MalformedError(f"{len(infos) - offset} bytes of a record left")
        kind, length = infos[offset], int.from_bytes(infos[offset + 2 : offset + 4], "little")
        if not 4 <= length <= len(infos) - offset:
            raise MalformedError(f"record of {length} bytes")
        if kind == _DFID_NAME:
            if length < _INFO.size:
                raise MalformedError(f"record of {length} bytes")
            _, _, _, fsid, size, type_ = _INFO.unpack_from(infos, offset)
            end = offset + _INFO.size + size
            if end > offset + length:
                raise MalformedError(f"handle of {size} bytes")
            name = infos[end : offset + length].partition(b"\0")[0]
            return _key(fsid, type_, infos[offset + _INFO.size : end]), os.fsdecode(name)
        offset += length
    return b"", ""


def _key(fsid: bytes, type_: int, handle: bytes) -> Key:
    return fsid + type_.to_bytes(4, "little", signed=True) + handle


def key_of(folder: str) -> Key:
    """The name that events will have for a folder. Raises OSError: EOPNOTSUPP where the file system has no handles."""
    fsid = (os.statvfs(folder).f_fsid & (1 << 64) - 1).to_bytes(8, "little")
    found, mount_id = _Handle(size=_HANDLE_BYTES), ctypes.c_int()
    for flags in (0, _AT_HANDLE_FID):  # overlayfs has handles only to tell files apart (Linux 6.6)
        done = _libc.name_to_handle_at(
            _AT_FDCWD, os.fsencode(folder), ctypes.byref(found), ctypes.byref(mount_id), flags
        )
        if done == 0:
            return _key(fsid, found.type, bytes(found.handle[: found.size]))
        if ctypes.get_errno() != errno.EOPNOTSUPP:
            break
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)


class NamedGroup:
    """Told of the use of names in folders, marked one by one: that also sees other mounts and mount namespaces."""

    def __init__(self) -> None:
        """Raises OSError: EPERM without CAP_SYS_ADMIN, EINVAL before Linux 5.9."""
        flags = _CLOEXEC_NONBLOCK | _UNLIMITED_MARKS | _REPORT_DFID_NAME
        self.fd = _call("fanotify_init", _libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC), "")

    def mark(self, folder: str, mask: int) -> None:
        """Be told of what happens in a folder (not what a symlink points to). Raises OSError."""
        flags = _MARK_ADD | _MARK_ONLYDIR | _MARK_DONT_FOLLOW
        _mark(self.fd, flags, mask | FAN_EVENT_ON_CHILD | FAN_ONDIR, folder)

    def flush(self) -> None:
        """Forget every mark."""
        _mark(self.fd, _MARK_FLUSH, 0, "/")

    def read(self) -> list[Named]:
        """What happened; never blocks."""
        try:
            return parse_named(os.read(self.fd, _READ_BYTES))
        except BlockingIOError:
            return []

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class OpenedGroup:
    """Told of files of whole file systems, each with an open descriptor."""

    def __init__(self) -> None:
        """Raises OSError: EPERM without CAP_SYS_ADMIN."""
        self.fd = _call("fanotify_init", _libc.fanotify_init(_CLOEXEC_NONBLOCK, _EVENT_FLAGS), "")

    def mark_filesystem(self, path: str, mask: int) -> None:
        """Be told of the files of the file system ``path`` lies on. Raises OSError."""
        _mark(self.fd, _MARK_ADD | _MARK_FILESYSTEM, mask, path)

    def read(self, most: int) -> list[tuple[int, int, int]]:
        """At most so many (mask, fd, pid); never blocks. The caller closes every fd >= 0."""
        try:
            return parse_events(os.read(self.fd, _METADATA.size * most))
        except BlockingIOError:
            return []
        except OSError as problem:
            if problem.errno in (
                errno.EMFILE,
                errno.ENFILE,
                errno.ENXIO,
                errno.EACCES,
                errno.ENOENT,
                errno.ESTALE,
            ):
                return [(0, -1, 0)]  # this one could not be opened; the next may
            raise

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _mark(group: int, flags: int, mask: int, path: str) -> None:
    done = _libc.fanotify_mark(
        group, ctypes.c_uint(flags), ctypes.c_uint64(mask), _AT_FDCWD, os.fsencode(path)
    )
    _call("fanotify_mark", done, path)


def _call(name: str, result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", path)
    return result
