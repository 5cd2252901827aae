"""Archives, and the office documents that are archives: OOXML and ODF."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from typing import IO

from agent.scan.markup import DocumentHandler, SharedTexts, SheetHandler, UnreadableError, parse
from agent.scan.sink import Sink, Stop

Read = Callable[[IO[bytes], str, Sink, int], None]
"""(file, name, sink, depth): the reader of whatever lies inside."""

_CHUNK = 1 << 16
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, KeyError)
_PROPERTIES = ("docProps/", "meta.xml")


class _Bounded(io.RawIOBase):
    """One member while it is unpacked: counts, and stops a bomb."""

    def __init__(self, member: IO[bytes] | gzip.GzipFile, packed: int, sink: Sink) -> None:
        self._member, self._packed, self._sink = member, packed, sink
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._member.read(_CHUNK if size < 0 else min(size, _CHUNK))
        self._size += len(data)
        limits = self._sink.limits
        if self._size > limits.ratio_from and self._size > limits.ratio * max(1, self._packed):
            raise Stop("too_large")
        self._sink.spend(len(data))
        return data


def read_zip(file: IO[bytes], sink: Sink, depth: int, read: Read) -> None:
    """An archive or office document. What cannot be opened is noted; raises Stop when a limit is reached."""
    try:
        archive = zipfile.ZipFile(file)
    except _BROKEN:
        sink.note("unreadable")
        return
    with archive:
        names = {info.filename for info in archive.infolist()}
        if "[Content_Types].xml" in names:
            _Document(archive, sink).read_ooxml()
        elif "mimetype" in names and "content.xml" in names:
            _Document(archive, sink).read_odf()
        else:
            _read_members(archive, sink, depth, read)


def read_gzip(file: IO[bytes], name: str, sink: Sink, depth: int, read: Read) -> None:
    """One file, compressed."""
    if depth >= sink.limits.depth:
        sink.note("too_deep")
        return
    packed = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as member:
            read(_held(_Bounded(member, packed, sink), sink), name.removesuffix(".gz"), sink, depth + 1)
    except _BROKEN:
        sink.note("unreadable")


def _read_members(archive: zipfile.ZipFile, sink: Sink, depth: int, read: Read) -> None:
    if depth >= sink.limits.depth:
        sink.note("too_deep")
        return
    for info in archive.infolist():
        sink.entry()
        sink.labels.look(info.filename)
        if info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            sink.note("encrypted")
            continue
        try:
            with archive.open(info) as member:
                read(_held(_Bounded(member, info.compress_size, sink), sink), info.filename, sink, depth + 1)
        except _BROKEN:
            sink.note("unreadable")
        finally:
            sink.end()


def _held(member: _Bounded, sink: Sink) -> io.BytesIO:
    """A member in memory, since its reader may want to seek. Raises Stop."""
    held = io.BytesIO()
    while chunk := member.read(_CHUNK):
        if held.tell() + len(chunk) > sink.limits.member_bytes:
            raise Stop("too_large")
        held.write(chunk)
    held.seek(0)
    return held


class _Document:
    """The parts of an office document, each read as a stream; a broken one does not hide the others."""

    def __init__(self, archive: zipfile.ZipFile, sink: Sink) -> None:
        self._archive, self._sink = archive, sink

    def read_ooxml(self) -> None:
        shared = SharedTexts(self._sink)
        parts = [info for info in self._archive.infolist() if info.filename.endswith(".xml")]
        for info in sorted(parts, key=lambda info: info.filename != "xl/sharedStrings.xml"):
            name = info.filename
            if name == "xl/sharedStrings.xml":
                self._part(info, shared)
            elif name.startswith("xl/worksheets/"):
                self._part(info, SheetHandler(self._sink, shared.texts))
            elif name.startswith(
                ("word/", "ppt/slides/", "ppt/notesSlides/", "xl/drawings/", "docProps/", "customXml/")
            ):
                self._part(
                    info,
                    _Properties(self._sink) if name.startswith(_PROPERTIES) else DocumentHandler(self._sink),
                )
            elif name.startswith("xl/comments"):
                self._part(info, DocumentHandler(self._sink))
            else:
                self._sink.entry()

    def read_odf(self) -> None:
        for info in self._archive.infolist():
            if info.filename in {"content.xml", "styles.xml"}:
                self._part(info, DocumentHandler(self._sink))
            elif info.filename == "meta.xml":
                self._part(info, _Properties(self._sink))
            elif info.filename == "META-INF/manifest.xml":
                self._look_encrypted(info)
            else:
                self._sink.entry()

    def _look_encrypted(self, info: zipfile.ZipInfo) -> None:
        self._sink.entry()
        try:
            with self._archive.open(info) as member:
                if b"encryption-data" in member.read(_CHUNK):
                    self._sink.note("encrypted")
        except (*_BROKEN, RuntimeError):
            self._sink.note("unreadable")

    def _part(self, info: zipfile.ZipInfo, handler: DocumentHandler | SharedTexts | SheetHandler) -> None:
        self._sink.entry()
        if info.flag_bits & _ENCRYPTED:
            self._sink.note("encrypted")
            return
        try:
            with self._archive.open(info) as member:
                parse(_Bounded(member, info.compress_size, self._sink), handler)  # type: ignore[arg-type]
        except (*_BROKEN, UnreadableError):
            self._sink.note("unreadable")
        finally:
            self._sink.end()


class _Properties(DocumentHandler):
    """Title, keywords and the like: each a line of its own, so that a label among them stands out."""

    def end(self, name: str) -> None:
        self.sink.text("\n")
