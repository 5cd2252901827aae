"""Plain text in the encodings of Japanese offices, delimited tables, RTF, and what can be made out in other bytes."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from typing import IO

from agent.scan.sink import Sink

_CHUNK = 1 << 18
_SAMPLE = 1 << 16
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_TABLE_NAMES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_RTF = re.compile(
    rb"\\'([0-9a-f]{2})|\\u(-?[0-9]{1,6}) ?\??|\\(par|line|row|cell|tab)\b ?|\\[a-z]{1,32}-?[0-9]{0,10} ?|[{}\r\n]"
)


def encoding_of(sample: bytes) -> str:
    """Name of the encoding; empty for what is no text.

    UTF-8 and UTF-16 tell themselves; ISO-2022-JP has its escapes; Shift_JIS (CP932) and EUC-JP share most byte pairs, so
    the one that gives fewer rare characters wins.
    """
    for bom, name in _BOMS:
        if sample.startswith(bom):
            return name
    if name := _wide(sample):
        return name
    if len(_CONTROL.findall(sample)) > len(sample) // 256:
        return ""
    if b"\x1b$" in sample or b"\x1b(J" in sample:
        return "iso2022_jp"
    if _decodes(sample, "utf-8") is not None:
        return "utf-8"
    scores = {
        name: _rarity(text) for name in ("cp932", "euc_jp") if (text := _decodes(sample, name)) is not None
    }
    return min(scores, key=lambda name: scores[name]) if scores else ""


def _wide(sample: bytes) -> str:
    """UTF-16 without a mark: every other byte of ASCII is zero, of kana 0x30."""
    if len(sample) < 4:  # noqa: PLR2004 - two characters
        return ""
    for name, high in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        common = high.count(0) + high.count(0x30) + high.count(0xFF)
        if (
            high.count(0)
            and common > 0.5 * len(high)
            and _decodes(sample[: len(sample) & ~1], name) is not None
        ):
            low = sample[0::2] if name == "utf-16-le" else sample[1::2]
            return name if low.count(0) < len(low) // 64 + 1 else ""
    return ""


def _decodes(sample: bytes, name: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)().decode(sample)
    except ValueError:
        return None


_UNUSUAL = re.compile("[^\x00-\x7e\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]")


def _rarity(text: str) -> int:
    """How many characters are none of the usual ones of Japanese offices (half-width kana count: EUC reads so as CP932)."""
    return len(_UNUSUAL.findall(text))


def read_text(file: IO[bytes], name: str, sink: Sink) -> None:
    """A text or table; what is neither is searched for bytes that look like one and noted as unreadable."""
    sample = file.read(_SAMPLE)
    if sample.startswith(b"{\\rtf"):
        sink.text(_from_rtf(sample + file.read(sink.limits.file_bytes)))
        sink.end()
        return
    encoding = encoding_of(sample)
    if not encoding:
        _read_bytes(sample, file, sink)
        return
    separator = _TABLE_NAMES.get(name[name.rfind(".") :].lower(), "") if "." in name else ""
    lines = _decoded(sample, file, encoding, sink)
    if separator:
        _read_table(lines, separator, sink)
    else:
        for block in lines:
            sink.text(block)
    sink.end()


def _decoded(sample: bytes, file: IO[bytes], encoding: str, sink: Sink) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    block = sample
    while block:
        sink.spend(len(block))
        yield decoder.decode(block)
        block = file.read(_CHUNK)
    yield decoder.decode(b"", final=True)


def _read_table(blocks: Iterator[str], separator: str, sink: Sink) -> None:
    csv.field_size_limit(_CHUNK)
    lines = _lines(blocks)
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=separator)):
            sink.row(row)
            if number % 4096 == 0:
                sink.spend(0)
    except csv.Error:  # a quote that never ends: what is left is read as running text
        for line in lines:
            sink.text(line)


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """Lines; one without an end is handed on in pieces."""
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).splitlines(keepends=True) or [""]
        yield from whole
        if rest.endswith(("\n", "\r")) or len(rest) > _CHUNK // 2:
            yield rest
            rest = ""
    yield rest


def _from_rtf(data: bytes) -> str:
    """RTF as text: the escapes of Japanese text, paragraphs and cells; everything else is left out."""

    def plain(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes((int(match[1], 16),))
        if match[2]:
            return chr(int(match[2]) & 0xFFFF).encode("cp932", "replace")
        return {b"par": b"\n", b"line": b"\n", b"row": b"\n", b"cell": b"\t", b"tab": b"\t"}.get(
            match[3] or b"", b""
        )

    return _RTF.sub(plain, data).decode("cp932", "replace")


def _read_bytes(sample: bytes, file: IO[bytes], sink: Sink) -> None:
    """A format that is not understood: look for text in its bytes, 8-bit and UTF-16, and say that it was not read."""
    sink.note("unreadable")
    block = sample
    while block:
        sink.spend(len(block))
        sink.text(block.decode("cp932", "replace"))
        sink.end()
        sink.text(block.decode("utf-16-le", "replace"))
        sink.end()
        block = file.read(_CHUNK)
