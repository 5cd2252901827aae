"""Which file systems the gate asks about, and which of them it never trusts. Standard library only.

Source: mountinfo in proc(5). A file system is *trusted* when it lies on a fixed disk or in memory: programs on it are
judged by their content. Everything else that a program could come from is *foreign*: removable media, disk images,
network and FUSE file systems. Nothing on those is read (a FUSE server could hang the reader), everything is refused.
"""

from __future__ import annotations

import os
from collections import namedtuple

PSEUDO = frozenset((
    "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "resctrl", "rpc_pipefs", "securityfs",
    "selinuxfs", "smackfs", "sysfs", "tracefs",
))  # fmt: skip
"""Kernel interfaces: no program can lie there (devtmpfs: only root could put one there)."""
IN_MEMORY = frozenset(("tmpfs", "ramfs", "overlay", "aufs", "ecryptfs"))
_POOLS = frozenset(("zfs", "btrfs", "bcachefs"))
_REMOTE = ("fuse", "nfs", "cifs", "smb", "9p", "virtiofs", "afs", "ceph", "gfs2", "ocfs2")
_IMAGES = ("loop", "zram", "nbd", "ram", "sr")

Mount = namedtuple("Mount", "id device top mountpoint fs_type source")  # noqa: PYI024 - see gate_wire
"""``id`` of the mount and ``device`` (major:minor) as text; ``top`` is what of the file system is mounted: ``/`` = all."""


def parse_mountinfo(data: bytes) -> list[Mount]:
    """Read the mounts; lines that are no mountinfo are passed over."""
    mounts = []
    for line in data.split(b"\n"):
        left, mark, right = line.partition(b" - ")
        before, after = left.split(b" "), right.split(b" ")
        if not mark or len(before) < 6 or len(after) < 2:
            continue
        fs_type = after[0].decode("ascii", "replace")
        number, device = (word.decode("ascii", "replace") for word in (before[0], before[2]))
        mounts.append(
            Mount(number, device, _unescape(before[3]), _unescape(before[4]), fs_type, _unescape(after[1]))
        )
    return mounts


def _unescape(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        text = text.replace(code, char)
    return text


def is_trusted(mount: Mount, root: bytes, sys: str) -> bool:
    """Is this a fixed or in-memory file system? The root file system always is: the PC started from it."""
    fs_type: str = mount.fs_type
    if mount.mountpoint == root or fs_type in IN_MEMORY:
        return True
    if fs_type.startswith(_REMOTE):
        return False
    device: str = mount.device
    if device.startswith("0:"):
        if fs_type not in _POOLS:
            return False
        device = _device_of(mount.source)
        if not device:  # a zfs data set names a pool, not a device
            return fs_type == "zfs"
    return is_fixed_disk(device, sys)


def _device_of(source: bytes) -> str:
    try:
        number = os.stat(source).st_rdev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}" if number else ""


def is_fixed_disk(device: str, sys: str) -> bool:
    """Ask sysfs about major:minor: neither removable, nor on USB, nor an SD card, nor an image or memory disk."""
    try:
        path = os.path.realpath(f"{sys}/dev/block/{device}", strict=True)
    except OSError:
        return False
    name = path.rpartition("/")[2]
    slaves = _names(f"{path}/slaves")
    if slaves:  # device mapper, RAID: as good as the worst disk below
        return all(is_fixed_disk(_text(f"{path}/slaves/{slave}/dev"), sys) for slave in slaves)
    if name.startswith(_IMAGES) or "/usb" in path:
        return False
    while path.startswith(f"{sys}/") and len(path) > len(sys) + 1:
        if _text(f"{path}/removable") in ("1", "removable") or _text(f"{path}/device/type") == "SD":
            return False
        path = path.rpartition("/")[0]
    return True


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 64).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return ""
