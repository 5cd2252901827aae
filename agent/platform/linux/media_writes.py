"""Files written to media: one fanotify mark for each mounted file system, which tells who wrote and hands over the open file.

inotify (and so watchdog) would need a watch for each folder, lose new folders for a moment, and never know who; see
``docs/decisions``. A written file stays open until it was looked at: its medium is busy for that long.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

from agent.platform.file_ports import Written
from agent.platform.linux import mount_calls
from agent.platform.linux.fanotify_log import FAN_CLOSE_WRITE, FAN_Q_OVERFLOW, OpenedGroup
from agent.platform.ports import Mount, Mounts, OverflowedError, Processes, UnsupportedError

MAX_MEDIA: Final = 64
_AT_ONCE: Final = 16
"""Events of one read: each opens a file."""


class LinuxMediaWrites:
    """Implements ``file_ports.MediaWrites`` for what a :class:`Mounts` shows."""

    def __init__(self, mounts: Mounts, processes: Processes, proc: Path = Path("/proc")) -> None:
        self._mounts = mounts
        self._processes = processes
        self._media: dict[int, Mount] = {}
        self._kept: list[Written] = []
        """Taken before a loss was noticed."""
        self.incomplete = ""
        try:
            self._group = OpenedGroup()
        except OSError as problem:
            raise UnsupportedError(
                "media_writes", str(problem), "needs CAP_SYS_ADMIN and fanotify"
            ) from problem
        try:
            self._table = os.open(proc / "self" / "mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            self._group.close()
            raise UnsupportedError("media_writes", str(problem), "/proc must be mounted") from problem

    def filenos(self) -> tuple[int, int]:
        return self._group.fd, self._table

    def watch(self) -> None:
        media: dict[int, Mount] = {}
        problems = []
        for mount in self._mounts.mounts():
            try:
                device = self._device(mount)
                if device not in media and len(media) < MAX_MEDIA:
                    known = self._media.get(device)
                    if known is None or known.mount_id != mount.mount_id:
                        self._group.mark_filesystem(mount.mountpoint, FAN_CLOSE_WRITE)
                    media[device] = mount
            except OSError as problem:
                if problem.errno != errno.ENOENT:  # gone meanwhile
                    problems.append(f"{mount.mountpoint}: {problem.strerror or problem}")
        self._media = media
        self.incomplete = "; ".join(problems)[:256]

    def writes(self, most: int) -> list[Written]:
        found, self._kept = self._kept, []
        lost = False
        while len(found) < most:
            events = self._group.read(min(_AT_ONCE, most - len(found)))
            if not events:
                break
            for mask, file, pid in events:
                lost = lost or bool(mask & FAN_Q_OVERFLOW) or not mask
                if file >= 0 and (written := self._written(file, pid)):
                    found.append(written)
        if lost:
            self._kept = found
            raise OverflowedError("fanotify")
        return found

    def path_of(self, file: int) -> str:
        return str(Path(f"/proc/self/fd/{file}").readlink()).removesuffix(" (deleted)")

    def close(self) -> None:
        self._group.close()
        while self._kept:
            os.close(self._kept.pop().file)
        if self._table >= 0:
            os.close(self._table)
            self._table = -1

    def _device(self, mount: Mount) -> int:
        """Device number of the files on a mount. Raises OSError where the mount cannot be reached by its mount point."""
        # Without this look a mount of another namespace, or a covered one, would lead to a disk of the PC.
        if mount_calls.mount_id_at(mount.mountpoint) != mount.mount_id:
            raise OSError(errno.EXDEV, "it cannot be reached from the agent's mount namespace")
        return Path(mount.mountpoint).stat().st_dev

    def _written(self, file: int, pid: int) -> Written | None:
        who = self._processes.live(pid) if pid else None
        found = os.fstat(file)
        mount = self._media.get(found.st_dev)
        if mount is None or not stat.S_ISREG(found.st_mode):
            os.close(file)
            return None
        return Written(time_us=time.time_ns() // 1000, pid=pid, mount=mount, file=file, who=who)
