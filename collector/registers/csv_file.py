"""CSV as spreadsheets write it: UTF-8 with or without BOM, or CP932; titles in the first line (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from protocol.refusal import RefusedError

LARGEST = 8 * 1024 * 1024


def text_of(data: bytes) -> str:
    """The text of a file. Raises RefusedError ``oversized`` or ``bad_value``."""
    if len(data) > LARGEST:
        raise RefusedError("oversized", f"{len(data)} bytes, at most {LARGEST}", "split the file")
    for encoding in ("utf-8-sig", "cp932"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text
    raise RefusedError("bad_value", "the file is neither UTF-8 nor CP932 text", "save it as CSV (UTF-8)")


def cells_of(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line each row begins on, and its cells. Raises RefusedError ``bad_value`` where it is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise RefusedError(
                "bad_value", f"line {line}: not CSV: {error}", "check the quotes from there on"
            ) from error
        if row is None:
            return
        yield line, row
