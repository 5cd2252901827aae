"""The kernel's mount table as text. Pure; format: proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

MAX_BYTES: Final = 8 << 20
MAX_ENTRIES: Final = 20_000
"""The kernel's own limit is 100,000 mounts in a namespace (``fs.mount-max``); a PC has a few dozen."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Entry(Struct, frozen=True, kw_only=True):
    """One mount. ``device`` is (major, minor); major 0 for file systems without a block device, and for
    btrfs.
    """

    mount_id: int
    device: tuple[int, int]
    root: str
    mountpoint: str
    options: frozenset[str]
    fs_type: str
    source: str
    super_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written through this mount."""
        return "ro" in self.options or "ro" in self.super_options


def parse(data: bytes) -> list[Entry]:
    """Read mountinfo. Lines that are not of the form are left out; at most :data:`MAX_ENTRIES` are read."""
    lines = data[:MAX_BYTES].decode("utf-8", "surrogateescape").split("\n", MAX_ENTRIES)[:MAX_ENTRIES]
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: str) -> Entry | None:
    before, dash, after = line.partition(" - ")
    fields, tail = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(tail) < 3:
        return None
    major, colon, minor = fields[2].partition(":")
    if not (
        colon
        and all(each.isascii() and each.isdigit() and len(each) < 12 for each in (fields[0], major, minor))
    ):
        return None
    return Entry(
        mount_id=int(fields[0]),
        device=(int(major), int(minor)),
        root=_unescape(fields[3]),
        mountpoint=_unescape(fields[4]),
        options=frozenset(fields[5].split(",")),
        fs_type=tail[0],
        source=_unescape(tail[1]),
        super_options=frozenset(tail[2].split(",")),
    )


def _unescape(text: str) -> str:
    r"""Space, tab, newline, backslash and # are written ``\ooo``, byte by byte."""
    if "\\" not in text:
        return text
    return _OCTAL.sub(lambda match: chr(int(match[1], 8) & 0x7F), text)
