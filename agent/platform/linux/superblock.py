"""UUID and label of a file system, read from its superblock: three reads where ``blkid`` needs a process.

Formats: Linux ``fs/*/`` headers and libblkid's documentation of the magics. The medium is not trusted: every
read is bounded, and whatever does not carry the magic yields nothing.
"""

from __future__ import annotations

import os
import uuid
from typing import Final

_FIRST: Final = 4096
_BTRFS_AT: Final = 65_536
_ISO_AT: Final = 32_768


def read(path: str, device: tuple[int, int], fs_type: str) -> tuple[str, str]:
    """UUID and label of the file system on a device node; empty texts where there is none or it cannot be
    read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return "", ""
    try:
        node = os.fstat(fd).st_rdev
        if (os.major(node), os.minor(node)) != device:
            return "", ""
        offset = {"btrfs": _BTRFS_AT, "iso9660": _ISO_AT}.get(fs_type, 0)
        return identify(os.pread(fd, _FIRST, offset), offset)
    except OSError:
        return "", ""
    finally:
        os.close(fd)


def identify(block: bytes, offset: int = 0) -> tuple[str, str]:
    """UUID and label found in the 4 KiB at ``offset``, in the notation of ``blkid``."""
    if len(block) < _FIRST:
        return "", ""
    if offset == _BTRFS_AT:
        return (_uuid(block[32:48]), _text(block[299:555])) if block[64:72] == b"_BHRfS_M" else ("", "")
    if offset == _ISO_AT:
        return _iso(block) if block[1:6] == b"CD001" else ("", "")
    if block[1080:1082] == b"\x53\xef":
        return _uuid(block[1128:1144]), _text(block[1144:1160])
    if block[:4] == b"XFSB":
        return _uuid(block[32:48]), _text(block[108:120])
    if block[1024:1028] == b"\x10\x20\xf5\xf2":
        return _uuid(block[1132:1148]), _text(block[1148:2172], "utf-16-le")
    if block[1024:1028] == b"\xe2\xe1\xf5\xe0":
        return _uuid(block[1072:1088]), _text(block[1088:1104])
    return _dos(block)


def _dos(block: bytes) -> tuple[str, str]:
    """NTFS, exFAT, FAT32, FAT12/16: all begin with a jump and name themselves."""
    if block[3:11] == b"NTFS    ":
        return block[72:80][::-1].hex().upper(), ""
    if block[3:11] == b"EXFAT   ":
        return _short(block[100:104]), ""
    if block[82:87] == b"FAT32":
        return _short(block[67:71]), _text(block[71:82])
    if block[54:57] == b"FAT":
        return _short(block[39:43]), _text(block[43:54])
    return "", ""


def _iso(block: bytes) -> tuple[str, str]:
    made = block[813:829]
    date = made.decode("ascii", "replace")
    parts = (date[0:4], date[4:6], date[6:8], date[8:10], date[10:12], date[12:14], date[14:16])
    return "-".join(parts) if made.isdigit() else "", _text(block[40:72])


def _uuid(data: bytes) -> str:
    return str(uuid.UUID(bytes=data)) if any(data) else ""


def _short(data: bytes) -> str:
    return f"{data[3]:02X}{data[2]:02X}-{data[1]:02X}{data[0]:02X}"


def _text(data: bytes, encoding: str = "utf-8") -> str:
    text = data.decode(encoding, "replace").split("\0")[0].strip()
    return "".join(each for each in text if each.isprintable())
