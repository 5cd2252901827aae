"""umount2(2), mount(2) and the shutdown ioctl. Also a program: the same in another mount namespace, as a
short child.

A mount of another namespace can only be changed from inside it, and setns(2) to a mount namespace needs a
process of its own. Run as ``python -I mount_calls.py unmount|read_only NS_FD ROOT_FD MOUNTPOINT``; exit
status 0, or the errno. Imports the standard library only, so that the child starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_MS_RDONLY, _MS_REMOUNT = 0x1, 0x20
_FLAGS: Final = {
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "relatime": 0x200000,
}
_CLONE_NEWNS: Final = 0x20000
_FS_IOC_SHUTDOWN: Final = 0x8004587D
"""``_IOR('X', 125, __u32)``: XFS_IOC_GOINGDOWN, since taken over by ext4, f2fs, exfat and others."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def unmount(mountpoint: str, *, detach: bool) -> None:
    """umount2(2); ``detach`` takes the mount out of the tree though files on it are open. Raises OSError."""
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if detach else 0)
    _check(_libc.umount2(os.fsencode(mountpoint), flags), mountpoint)


def remount_read_only(mountpoint: str, options: Iterable[str]) -> None:
    """Make the file system read-only, other flags of this mount kept. Raises OSError (EBUSY: files are open
    for writing).
    """
    flags = _MS_REMOUNT | _MS_RDONLY
    for option in options:
        flags |= _FLAGS.get(option, 0)
    _check(_libc.mount(None, os.fsencode(mountpoint), None, ctypes.c_ulong(flags), None), mountpoint)


def shut_down(path: str) -> bool:
    """Write out and then fail all I/O of the file system at ``path``, also on files already open. False: it
    cannot.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, (0).to_bytes(4, sys.byteorder))
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def mount_id_at(path: str) -> int:
    """Id of the topmost mount at ``path``; -1 if it cannot be told."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text("ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("mnt_id:")), -1)
    except OSError:
        return -1
    finally:
        os.close(fd)


def enter(namespace: int, root: int) -> None:
    """Move this process into a mount namespace and the root directory its members see. Raises OSError."""
    _check(_libc.setns(namespace, _CLONE_NEWNS), "setns")
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _main(arguments: list[str]) -> int:
    act, namespace, root, mountpoint, *options = arguments
    try:
        enter(int(namespace), int(root))
        if act == "read_only":
            remount_read_only(mountpoint, options)
        else:
            try:
                unmount(mountpoint, detach=False)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                shut_down(mountpoint)
                unmount(mountpoint, detach=True)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
