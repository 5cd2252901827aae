"""Text of a PDF, by pypdf. Pictures in it are not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import IO

from pypdf import PdfReader

from agent.scan.sink import Sink

logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def read_pdf(file: IO[bytes], sink: Sink) -> None:
    """Put the text of all pages and the document's properties into the sink. Raises Stop when a limit is reached."""
    try:
        reader = PdfReader(file, strict=False)
        if reader.is_encrypted and not _opened(reader):
            sink.note("encrypted")
            return
        for value in (reader.metadata or {}).values():
            sink.text(f"{value}\n")
        sink.end()
        for page in reader.pages:
            sink.entry()
            _read_page(page.extract_text, sink)
    except Exception:  # noqa: BLE001 - pypdf raises anything on a broken file
        sink.note("unreadable")
    finally:
        sink.end()


def _opened(reader: PdfReader) -> bool:
    """Whether it opens without a password. AES needs a library that is not installed: not opened either."""
    try:
        return bool(reader.decrypt(""))
    except Exception:  # noqa: BLE001 - see above
        return False


def _read_page(extract: Callable[[], str], sink: Sink) -> None:
    try:
        text = extract()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - one broken page does not hide the others
        sink.note("unreadable")
        return
    sink.spend(len(text))
    sink.text(text + "\n")
