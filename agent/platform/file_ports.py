"""What the agent needs to see the use of files, as Protocols (see ``ports``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from agent.platform.ports import Mount, ProcessInfo

AccessKind = Literal["read", "write", "create", "rename", "delete"]


class Access(Struct, frozen=True, kw_only=True):
    """A file of a watched place was used. ``pid`` 0: not known who; ``uid`` is then the owner of what appeared, or -1.

    ``who`` is the process as it was right then, None when it had ended.
    """

    time_us: int
    pid: int
    path: str
    access: AccessKind
    place: str
    uid: int = -1
    who: ProcessInfo | None = None


class AccessLog(Protocol):
    """Uses of files below certain folders, whatever path or mount namespace they are reached by."""

    incomplete: str
    """Why not every folder is watched; empty = all are."""

    def fileno(self) -> int:
        """Readable when :meth:`accesses` has something or has work left. Raises UnsupportedError."""
        ...

    def watch(self, places: Mapping[str, str]) -> None:
        """Watch these places (name → absolute folder) and no others; a folder that is not there is looked for later."""
        ...

    def accesses(self) -> list[Access]:
        """Drain, and look a little further through the folders; blocks for some milliseconds at most. Raises OverflowedError."""
        ...

    def source_of(self, pid: int, name: str, size: int) -> str:
        """The place from which a process read a file of that name or size lately; empty = none."""
        ...

    def close(self) -> None: ...


class Written(Struct, frozen=True, kw_only=True):
    """A file of a medium was closed after writing. ``file`` is open for reading and the taker's to close.

    ``who`` is the process as it was right then, None when it had ended.
    """

    time_us: int
    pid: int
    mount: Mount
    file: int
    who: ProcessInfo | None = None


class MediaWrites(Protocol):
    """Files written to removable or unknown media, in any mount namespace."""

    incomplete: str
    """Media that cannot be watched, and why; empty = all are."""

    def filenos(self) -> tuple[int, int]:
        """One readable when :meth:`writes` has something, one that signals POLLPRI when :meth:`watch` is due."""
        ...

    def watch(self) -> None:
        """Bring the watch to the media that are mounted now."""
        ...

    def writes(self, most: int) -> list[Written]:
        """Take at most so many; never blocks. Raises OverflowedError."""
        ...

    def path_of(self, file: int) -> str:
        """Where an open file lies now, by its last name."""
        ...

    def close(self) -> None: ...


def place_of(mount: Mount, path: str) -> str:
    """A path as seen below the mount point; the path itself where it lies elsewhere (another namespace)."""
    below = mount.mountpoint.rstrip("/") + "/"
    return path.removeprefix(below) if path.startswith(below) else path
