"""Block devices below sysfs: what carries them, and which belong to the PC.

A disk is *internal* if it holds ``/``, ``/boot``, ``/usr``, ``/var`` or ``/home`` now, or if it was there at
the agent's first start and is fixed: not behind USB or FireWire, not virtual, no SD card, the kernel's
``removable`` is 0, and no PCI device above it is ``removable`` (Thunderbolt). Everything else is removable or
unknown. Device-mapper and RAID devices are what they stand on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from agent.platform.state_file import load_state, save_state

HOMES: Final = frozenset({"/", "/boot", "/usr", "/var", "/home"})
_DEPTH: Final = 8
_SNAPS: Final = "/var/lib/snapd/snaps/"
_USB_PORT: Final = re.compile(r"[0-9]+-[0-9.]+")

Number = tuple[int, int]


class InternalDisks(Struct):
    """Identities of the disks that were fixed parts of the PC at the agent's first start."""

    disks: list[str]


class BlockDevices:
    """Facts about block devices. ``state`` None: the list of internal disks lives as long as this object."""

    def __init__(self, sys: Path, state: Path | None = None) -> None:
        self._sys = sys
        self._internal = frozenset(self._first_start(state).disks)

    def _first_start(self, state: Path | None) -> InternalDisks:
        file = None if state is None else state / "internal-disks"
        if file is not None and (known := load_state(file, InternalDisks)) is not None:
            return known
        folder = self._sys / "block"
        disks = [entry.resolve() for entry in folder.iterdir()] if folder.is_dir() else []
        found = InternalDisks(sorted(_identity(disk) for disk in disks if _is_fixed(disk)))
        if file is not None and file.parent.is_dir():  # `doctor` before enrolment leaves nothing behind
            with contextlib.suppress(OSError):  # not kept, then it is found again at the next start
                save_state(file, found)
        return found

    def folder(self, number: Number) -> Path | None:
        """Sysfs folder of a block device; None if there is none with this number."""
        try:
            return (self._sys / "dev" / "block" / f"{number[0]}:{number[1]}").resolve(strict=True)
        except OSError:
            return None

    def sequence(self, number: Number) -> str:
        """``diskseq`` of the disk: changes whenever another medium is behind the same number."""
        folder = self._sys / "dev" / "block" / f"{number[0]}:{number[1]}"
        return _text(folder / "diskseq") or _text(folder / ".." / "diskseq")  # a partition's is its disk's

    def leaves(self, folder: Path, depth: int = 0) -> frozenset[Path]:
        """The disks a device finally stands on (through partitions, device-mapper, RAID)."""
        disk = _whole(folder)
        slaves = disk / "slaves"
        below = [entry.resolve() for entry in slaves.iterdir()] if depth < _DEPTH and slaves.is_dir() else []
        return (
            frozenset().union(*(self.leaves(each, depth + 1) for each in below))
            if below
            else frozenset({disk})
        )

    def homes(self, numbers: Iterable[Number]) -> frozenset[Path]:
        """Disks below the devices that hold the system now."""
        folders = [folder for number in numbers if (folder := self.folder(number)) is not None]
        return frozenset().union(*(self.leaves(folder) for folder in folders))

    def is_internal(self, folder: Path, homes: frozenset[Path]) -> bool:
        """Whether every disk below belongs to the PC."""
        return all(disk in homes or self._belongs(disk) for disk in self.leaves(folder))

    def _belongs(self, disk: Path) -> bool:
        if _text(disk / "loop" / "backing_file").startswith(_SNAPS):
            return True
        return _identity(disk) in self._internal and _is_fixed(disk)  # a USB disk may borrow a serial

    def size(self, folder: Path) -> int:
        """Bytes; sysfs counts sectors of 512."""
        text = _text(folder / "size")
        return int(text) * 512 if text.isdigit() else 0

    def serial(self, folder: Path) -> str:
        """Serial of the carrying device: that of the USB device above, else the disk's own."""
        for disk in sorted(self.leaves(folder)):
            for above in disk.parents:
                if _USB_PORT.fullmatch(above.name) and (serial := _text(above / "serial")):
                    return serial
            for name in ("serial", "device/serial", "wwid", "device/wwid"):
                if serial := _text(disk / name):
                    return serial
        return ""

    def node(self, folder: Path) -> str:
        """Name below ``/dev``."""
        for line in _text(folder / "uevent", 4096).splitlines():
            if line.startswith("DEVNAME="):
                return line.removeprefix("DEVNAME=")
        return folder.name

    def unplug(self, folder: Path) -> None:
        """Take the disks below from the kernel, so that I/O on open files fails. Raises OSError.

        SCSI disks (USB sticks are such) by ``delete``, others (SD cards) by unbinding their driver.
        """
        for disk in self.leaves(folder):
            device = disk / "device"
            if (device / "delete").exists():
                (device / "delete").write_text("1", encoding="ascii")
            else:
                (device / "driver" / "unbind").write_text(device.resolve().name, encoding="ascii")


def _whole(folder: Path) -> Path:
    return folder.parent if (folder / "partition").exists() else folder


def _is_fixed(disk: Path) -> bool:
    parts = disk.parts
    if "virtual" in parts or any(
        _USB_PORT.fullmatch(part) or re.fullmatch(r"(usb|fw)[0-9]+", part) for part in parts
    ):
        return False
    if any(part.startswith("mmc_host") for part in parts) and _text(disk / "device" / "type") != "MMC":
        return False
    return _text(disk / "removable") == "0" and not any(
        _text(above / "removable") == "removable" for above in disk.parents
    )


def _identity(disk: Path) -> str:
    """What tells one disk from another after a reboot: its serial or world-wide name, else its place."""
    for name in ("wwid", "device/wwid", "serial", "device/serial"):
        if own := _text(disk / name):
            return own
    return "place:" + "/".join(
        disk.parts[disk.parts.index("devices") :] if "devices" in disk.parts else disk.parts
    )


def _text(path: Path, limit: int = 256) -> str:
    """A sysfs attribute, printable; empty when it is not there."""
    try:
        with path.open("rb", buffering=0) as file:
            text = file.read(limit).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return "".join(each for each in text if each.isprintable() or each == "\n")
