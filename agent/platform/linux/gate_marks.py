"""Keeps the gate's fanotify groups on the file systems of the PC. Standard library only."""

from __future__ import annotations

import os

from agent.platform.linux.fanotify import Group
from agent.platform.linux.gate_mounts import PSEUDO, Mount, is_trusted, parse_mountinfo


class Marks:
    """Two groups, for trusted and for foreign file systems, on a PC whose root is ``root``.

    A file system is marked as a whole, whatever mount a program is reached by. One of which only a part is mounted here
    (a folder bound into a container or a test PC) belongs to somebody else: only that mount is marked. With a root
    other than ``/`` (tests) only mounts at or below it are marked, and never the file system ``/`` itself lies on.
    """

    def __init__(self, trusted: Group, foreign: Group, root: str, sys: str) -> None:
        self._groups = {True: trusted, False: foreign}
        self._root = os.fsencode(root)
        self._sys = os.path.realpath(sys)
        self._marked: set[str] = set()
        self.failed: dict[str, str] = {}
        """Mount points that could not be marked → why."""

    def __len__(self) -> int:
        return len(self._marked)

    def sync(self, data: bytes) -> None:
        """Mark what is new in this mountinfo and forget what is gone."""
        mounts = [mount for mount in parse_mountinfo(data) if self._concerns(mount)]
        self._marked &= {mount.device for mount in mounts} | {mount.id for mount in mounts}
        self.failed = {}
        self._mark_all(mounts, b"")

    def sync_process(self, pid: int) -> None:
        """Mark what a process in a mount namespace of its own has mounted; reached by its own root."""
        try:
            with open(f"/proc/{pid}/mountinfo", "rb") as table:
                mounts = parse_mountinfo(table.read())
        except OSError:
            return
        if self._root == b"/":
            self._mark_all([mount for mount in mounts if mount.fs_type not in PSEUDO], b"/proc/%d/root" % pid)

    def _concerns(self, mount: Mount) -> bool:
        if mount.fs_type in PSEUDO:
            return False
        if self._root == b"/":
            return True
        place: bytes = mount.mountpoint
        inside = place == self._root or place.startswith(self._root + b"/")
        return inside and bool(mount.device != _device_name(os.stat("/").st_dev))

    def _mark_all(self, mounts: list[Mount], prefix: bytes) -> None:
        whole = {mount.device for mount in mounts if mount.top == b"/" or mount.mountpoint == self._root}
        for mount in mounts:
            key = mount.device if mount.device in whole else mount.id
            if key not in self._marked:
                self._mark(mount, prefix + mount.mountpoint, key, whole=mount.device in whole)

    def _mark(self, mount: Mount, path: bytes, key: str, *, whole: bool) -> None:
        group = self._groups[is_trusted(mount, self._root, self._sys)]
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if _mount_of(fd) != mount.id:
                    return  # hidden by a later mount, or gone again: what lies at that path now is another one
                exact = b"/proc/self/fd/%d" % fd
                if whole:
                    group.mark_filesystem(exact)
                else:
                    group.mark_mount(exact)
                self._marked.add(key)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return  # unmounted, or its process ended, meanwhile
        except OSError as problem:
            self.failed[os.fsdecode(mount.mountpoint)] = problem.strerror or str(problem)


def _mount_of(fd: int) -> str:
    """Id of the mount a descriptor was opened by, without asking the file system."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return line.split()[1].decode("ascii")
    return ""


def _device_name(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"
