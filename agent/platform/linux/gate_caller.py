"""The process that asks to execute something, as it is before the execution. Standard library only."""

from __future__ import annotations

import errno
import os
from fcntl import ioctl
from struct import Struct

CMDLINE_BYTES = 4096
_STATUS_BYTES = 2048
_INFO = Struct("<Q16xII32x")  # mask, (cgroup, pid, tgid), ppid, real uid: struct pidfd_info of linux/pidfd.h
_INFO_SIZE, _INFO_WANTED = 64, 0b11  # PIDFD_INFO_PID | PIDFD_INFO_CREDS
_GET_INFO = 0xC0000000 | _INFO_SIZE << 16 | 0xFF << 8 | 11
_GET_MOUNT_NAMESPACE = 0xFF << 8 | 3
_NOT_SUPPORTED = (errno.ENOTTY, errno.EINVAL, errno.ENOSYS)


class Caller:
    """What is known of a process; ``namespace`` is the inode of its mount namespace. Unknown is empty, 0, or uid -1."""

    __slots__ = ("cmdline", "exe", "namespace", "ppid", "uid")

    def __init__(self, pid: int) -> None:
        self.ppid, self.uid, self.namespace = 0, -1, 0
        self.exe = self.cmdline = b""
        try:
            self.exe = os.readlink(b"/proc/%d/exe" % pid)
            self.cmdline = _read(b"/proc/%d/cmdline" % pid, CMDLINE_BYTES).rstrip(b"\0").replace(b"\0", b" ")
            self.ppid, self.uid, self.namespace = identity(pid)
        except (OSError, IndexError, ValueError):  # of another pid namespace, or without an executable
            return


def identity(pid: int) -> tuple[int, int, int]:
    """Parent, real user id and mount namespace. Raises OSError, IndexError or ValueError.

    A pidfd tells them (Linux 6.13) for half of what /proc costs.
    """
    try:
        return _ask_pidfd(pid)
    except OSError as problem:
        if problem.errno not in _NOT_SUPPORTED:
            raise
    return ask_proc(pid)


def ask_proc(pid: int) -> tuple[int, int, int]:
    """As :func:`identity`, from /proc (proc(5))."""
    status = _read(b"/proc/%d/status" % pid, _STATUS_BYTES)
    parent = int(status.split(b"\nPPid:\t", 1)[1].split(b"\n", 1)[0])
    uid = int(status.split(b"\nUid:\t", 1)[1].split(b"\t", 1)[0])
    return parent, uid, os.stat(b"/proc/%d/ns/mnt" % pid).st_ino


def _ask_pidfd(pid: int) -> tuple[int, int, int]:
    fd = os.pidfd_open(pid)
    try:
        info = bytearray(_INFO_SIZE)
        info[0] = _INFO_WANTED
        ioctl(fd, _GET_INFO, info)
        namespace = ioctl(fd, _GET_MOUNT_NAMESPACE)
    finally:
        os.close(fd)
    try:
        mask, parent, uid = _INFO.unpack(info)
        if mask & _INFO_WANTED != _INFO_WANTED:
            raise ValueError(mask)
        return parent, uid, os.fstat(namespace).st_ino
    finally:
        os.close(namespace)


def _read(path: bytes, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)
