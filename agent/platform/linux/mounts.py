"""Mounted media: the mount table, what lies behind it, and taking it away or making it read-only.

Watched by POLLPRI on ``/proc/self/mountinfo``. Other mount namespaces of the PC are looked at every few
seconds, since nothing tells of changes there; a medium mounted in several is reported once, as seen from the
agent's own if it is there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from agent.platform.linux import mount_calls, superblock
from agent.platform.linux.block_devices import HOMES, BlockDevices, Number
from agent.platform.linux.mount_spaces import MountSpaces
from agent.platform.linux.mount_table import Entry
from agent.platform.ports import Mount, UnsupportedError

_ROUNDS: Final = 64
"""Mounts of one medium removed in one go; more is reported as failure and tried again at the next check."""
_UNNUMBERED: Final = frozenset({"btrfs", "bcachefs"})
"""Block file systems whose mounts show an anonymous device number."""


class Medium(Struct, frozen=True, kw_only=True):
    """What stands behind a device number now."""

    internal: bool
    media_id: str = ""
    fs_uuid: str = ""
    label: str = ""
    size: int = 0
    serial: str = ""


class LinuxMounts:
    """Mounted block devices that are removable or unknown, in this and the other mount namespaces."""

    def __init__(self, proc: Path, sys_root: Path, root: Path, state: Path | None = None) -> None:
        self._proc = proc
        self._spaces = MountSpaces(proc)
        self._root = root
        self._blocks = BlockDevices(sys_root, state)
        self._media: dict[tuple[Number, str, str], Medium] = {}
        self._system: tuple[Number, ...] = ()
        self._homes: frozenset[Path] = frozenset()
        self._fd = -1

    def fileno(self) -> int:
        """Signals POLLPRI (and POLLERR, always together) when the table changed. Raises UnsupportedError."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._proc / "self" / "mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise UnsupportedError("mounts_unreadable", str(error), "/proc must be mounted") from error
        return self._fd

    def mounts(self) -> list[Mount]:
        """Removable or unknown media now. Namespaces other than our own are at most
        :data:`mount_spaces.PERIOD_S` old.
        """
        own = self._spaces.own()
        self._spaces.look()
        system = tuple(self._number(entry) for entry in own if entry.mountpoint in HOMES)
        if system != self._system:
            self._system = system
            self._homes = self._blocks.homes(system)
            self._media.clear()
        found = [mount for entry in own if (mount := self._mount(entry))]
        seen = {self._number(entry) for entry in own}
        for entry in (entry for space in self._spaces.others for entry in space.entries):
            if (number := self._number(entry)) not in seen:
                seen.add(number)
                found += filter(None, [self._mount(entry)])
        # A medium that is not mounted may be formatted anew behind the same number.
        self._media = {key: medium for key, medium in self._media.items() if key[0] in seen}
        return found

    def remove(self, mount: Mount) -> str:
        """Unmount a medium everywhere; where it is busy, end its I/O and detach it. Read back from the mount
        tables.

        Returns ``unmounted`` or ``detached``. Raises OSError (ENOENT: it is not mounted any more).
        """
        number = self._find(mount)
        how = "unmounted"
        for _ in range(_ROUNDS):
            mounted = [entry for entry in self._spaces.own() if self._number(entry) == number]
            if not mounted:
                break
            if self._unmount(mounted[-1], number):
                how = "detached"
        self._spaces.look(now=True)
        failure: OSError | None = None
        for space in self._spaces.others:
            for entry in reversed(space.entries):
                if self._number(entry) == number:
                    how = "detached"
                    try:
                        self._spaces.act("unmount", space, entry.mountpoint)
                    except OSError as error:  # its last process may have ended: the table tells
                        failure = error
        if how == "detached":
            self._spaces.look(now=True)
        left = [entry.mountpoint for entry in self._spaces.everywhere() if self._number(entry) == number]
        if left:
            raise failure or OSError(errno.EBUSY, "still mounted", left[0])
        return how

    def make_read_only(self, mount: Mount) -> None:
        """Make the file system of a medium read-only for every mount of it; read back.

        Raises OSError: EBUSY while a file is open for writing, ENOENT when it is not mounted any more.
        """
        number = self._find(mount)
        own = [entry for entry in self._spaces.own() if self._number(entry) == number]
        if own:
            bare = [entry for entry in own if mount_calls.mount_id_at(entry.mountpoint) == entry.mount_id]
            if not bare:
                raise OSError(errno.EBUSY, "covered by another mount", own[0].mountpoint)
            mount_calls.remount_read_only(bare[0].mountpoint, bare[0].options)
        for space in [] if own else self._spaces.others:
            for entry in space.entries:
                if self._number(entry) == number:
                    self._spaces.act("read_only", space, entry.mountpoint, entry.options)
        self._spaces.look(now=True)
        for entry in self._spaces.everywhere():
            if self._number(entry) == number and not entry.read_only:
                raise OSError(errno.EIO, "still writable", entry.mountpoint)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _number(self, entry: Entry) -> Number:
        if entry.device[0] or entry.fs_type not in _UNNUMBERED:
            return entry.device
        try:
            node = Path(entry.source).stat().st_rdev
        except OSError:
            return entry.device
        return os.major(node), os.minor(node)

    def _mount(self, entry: Entry) -> Mount | None:
        medium = self._medium(self._number(entry), entry.fs_type)
        if medium is None or medium.internal:
            return None
        return Mount(
            mount_id=entry.mount_id,
            source=entry.source,
            mountpoint=entry.mountpoint,
            fs_type=entry.fs_type,
            read_only=entry.read_only,
            removable=True,
            media_id=medium.media_id,
            fs_uuid=medium.fs_uuid,
            label=medium.label,
            size=medium.size,
            serial=medium.serial,
        )

    def _medium(self, number: Number, fs_type: str) -> Medium | None:
        """Look up a device; None where there is no block device (network, memory and user-space file
        systems).
        """
        if not number[0]:
            return None
        sequence = self._blocks.sequence(number)
        key = (number, sequence, fs_type)
        if (known := self._media.get(key)) is not None:
            return known
        if (folder := self._blocks.folder(number)) is None:
            return None
        if self._blocks.is_internal(folder, self._homes):
            medium = Medium(internal=True)
        else:
            uuid, label = superblock.read(
                str(self._root / "dev" / self._blocks.node(folder)), number, fs_type
            )
            size, serial = self._blocks.size(folder), self._blocks.serial(folder)
            # What names itself in no way cannot be told from its like: it is new each time it is plugged in.
            named = uuid or serial or f"unnamed {sequence}"
            text = "\0".join(("sekisho medium 1", serial, uuid, str(size), named))
            digest = hashlib.sha256(text.encode()).hexdigest()
            medium = Medium(
                internal=False, media_id=digest, fs_uuid=uuid, label=label, size=size, serial=serial
            )
        self._media[key] = medium
        return medium

    def _find(self, mount: Mount) -> Number:
        for entry in self._spaces.everywhere():
            if entry.mount_id == mount.mount_id and entry.mountpoint == mount.mountpoint:
                return self._number(entry)
        raise OSError(errno.ENOENT, "not mounted any more", mount.mountpoint)

    def _unmount(self, entry: Entry, number: Number) -> bool:
        """Unmount one place; True if it had to be detached. Raises OSError."""
        self._uncover(entry)
        try:
            mount_calls.unmount(entry.mountpoint, detach=False)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if not mount_calls.shut_down(entry.mountpoint):
                self._silence(entry, number)
            mount_calls.unmount(entry.mountpoint, detach=True)
            return True
        return False

    def _uncover(self, entry: Entry) -> None:
        """Refuse to unmount what is not ours: something of the PC may have been mounted over the medium."""
        top = mount_calls.mount_id_at(entry.mountpoint)
        if top == entry.mount_id:
            return
        cover = next((each for each in self._spaces.own() if each.mount_id == top), None)
        if cover is None or (cover.device[0] and self._number(cover) != self._number(entry)):
            raise OSError(errno.EBUSY, "covered by another mount", entry.mountpoint)

    def _silence(self, entry: Entry, number: Number) -> None:
        """Without a shutdown ioctl: no more writing if nobody writes now, and the disk taken from the kernel."""
        with contextlib.suppress(OSError):
            mount_calls.remount_read_only(entry.mountpoint, entry.options)
        folder = self._blocks.folder(number)
        if folder is not None:
            with contextlib.suppress(OSError):
                self._blocks.unplug(folder)
