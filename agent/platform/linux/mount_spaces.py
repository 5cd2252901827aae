"""The mount tables of a PC: that of the agent's own namespace, and those of the others (sandboxes,
containers, hiders).

Nothing tells of changes in another mount namespace, so they are looked at every few seconds, each through one
process that lives in it. A namespace kept alive by a file alone, without a process, is not found.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from agent.platform.linux import mount_calls, mount_table
from agent.platform.linux.mount_table import Entry

PERIOD_S: Final = 5.0
_CHILD_S: Final = 5.0


class Space(Struct, frozen=True):
    """Another mount namespace, seen through process ``pid``."""

    pid: int
    entries: tuple[Entry, ...]


class MountSpaces:
    """Mount namespaces below one ``/proc``."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self.others: list[Space] = []
        self._due_s = 0.0

    def own(self) -> list[Entry]:
        """The table of our own namespace, as it is now."""
        return _read_table(self._proc / "self" / "mountinfo")

    def everywhere(self) -> Iterator[Entry]:
        """Every mount, our own first; the others as they were when last looked at."""
        yield from self.own()
        for space in self.others:
            yield from space.entries

    def look(self, *, now: bool = False) -> None:
        """Read the tables of the other namespaces again if that is due, or ``now``."""
        if not now and time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + PERIOD_S
        seen = {"", _link(f"{self._proc}/self/ns/mnt")}
        self.others = []
        with os.scandir(self._proc) as processes:
            for process in processes:
                if process.name.isdigit() and (space := _link(f"{process.path}/ns/mnt")) not in seen:
                    seen.add(space)
                    table = _read_table(Path(process.path) / "mountinfo")
                    self.others.append(Space(int(process.name), tuple(table)))

    def act(self, act: str, space: Space, mountpoint: str, options: Iterable[str] = ()) -> None:
        """``unmount`` or ``read_only`` inside another namespace, by a short child. Raises OSError."""
        where = f"{act} in the namespace of process {space.pid}"
        namespace = os.open(self._proc / str(space.pid) / "ns" / "mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            root = os.open(self._proc / str(space.pid) / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fds = (namespace, root)
                command = [
                    sys.executable,
                    "-I",
                    mount_calls.__file__,
                    act,
                    *map(str, fds),
                    mountpoint,
                    *options,
                ]
                done = subprocess.run(command, pass_fds=fds, timeout=_CHILD_S, check=False)
            except subprocess.TimeoutExpired as error:
                raise OSError(errno.ETIMEDOUT, where, mountpoint) from error
            finally:
                os.close(root)
        finally:
            os.close(namespace)
        if done.returncode:
            raise OSError(done.returncode, where, mountpoint)


def _read_table(path: Path) -> list[Entry]:
    try:
        with path.open("rb") as file:
            return mount_table.parse(file.read(mount_table.MAX_BYTES))
    except OSError:  # the process is gone
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - for every process: pathlib takes four times as long
    except OSError:
        return ""
