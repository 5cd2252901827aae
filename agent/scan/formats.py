"""Which reader a file gets, by its first bytes (names lie)."""

from __future__ import annotations

import io
from typing import IO

from agent.scan.packed import read_gzip, read_zip
from agent.scan.plain import read_text
from agent.scan.sink import Sink

_HEAD = 1024
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Old .doc, .xls, .ppt, .msg, and the wrapper of encrypted new ones."""
_NO_TEXT = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"\x7fELF",
    b"\0\0\1\0", b"wOFF", b"wOF2", b"\0\1\0\0\0", b"OTTO",
)  # fmt: skip
"""Pictures, sound, films, fonts, programs: no text to read."""
_OTHER_ARCHIVES = (b"Rar!", b"7z\xbc\xaf\x27\x1c", b"BZh", b"\xfd7zXZ", b"MSCF", b"\x28\xb5\x2f\xfd")


def read(file: IO[bytes], name: str, sink: Sink, depth: int = 0) -> None:
    """Read a file into the sink. What cannot be read is noted there; raises Stop when a limit is reached."""
    head = file.read(_HEAD)
    file.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        read_zip(file, sink, depth, read)
    elif b"%PDF-" in head:
        from agent.scan.pdf import read_pdf

        read_pdf(file, sink)
    elif head.startswith(b"\x1f\x8b"):
        read_gzip(file, name, sink, depth, read)
    elif head.startswith(_COMPOUND):
        _read_compound(file, name, sink)
    elif head.startswith(_OTHER_ARCHIVES) or head[2:5] == b"-lh":
        sink.note("unreadable")
    elif not _without_text(head):
        read_text(file, name, sink)


def _without_text(head: bytes) -> bool:
    riff = head.startswith(b"RIFF") and head[8:12] in {b"WAVE", b"AVI ", b"WEBP"}
    return head.startswith(_NO_TEXT) or riff or head[4:8] == b"ftyp" or (head[:2] == b"MZ" and b"\0" in head)


def _read_compound(file: IO[bytes], name: str, sink: Sink) -> None:
    content = file.read(sink.limits.file_bytes)
    if "EncryptedPackage".encode("utf-16-le") in content:
        sink.note("encrypted")
    else:
        sink.note("unreadable")
        read_text(io.BytesIO(content), name, sink)
