"""XML parts of office documents, read as a stream: text, rows of tables, cells of sheets."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any
from xml.sax import SAXException
from xml.sax.handler import ContentHandler, feature_namespaces

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import create_parser

from agent.scan.sink import Sink, Stop

_CHUNK = 1 << 16
_BREAKS = {"p": "\n", "h": "\n", "br": "\n", "tab": "\t", "cr": "\n", "line-break": "\n", "s": " "}
_TEXT_LIMIT = 1 << 20
"""Characters of one cell or shared text; the rest of it is cut."""


class UnreadableError(Exception):
    """What should be a document is none."""


def parse(part: IO[bytes], handler: Handler) -> None:
    """Feed a part to a handler. Raises UnreadableError; Stop when a limit is reached."""
    parser = create_parser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    parser.setContentHandler(handler)
    parser.setFeature(feature_namespaces, False)
    try:
        while chunk := part.read(_CHUNK):
            parser.feed(chunk)
        parser.close()
    except (SAXException, DefusedXmlException, ValueError) as error:
        raise UnreadableError(type(error).__name__) from error


class Handler(ContentHandler):
    """Knows elements by their local name; nothing deeper than the limit."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink
        self._depth = 0

    def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802 - SAX's name
        self._depth += 1
        if self._depth > self.sink.limits.elements:
            raise Stop("too_deep")
        self.begin(name.rpartition(":")[2], attrs)

    def endElement(self, name: str) -> None:  # noqa: N802 - SAX's name
        self._depth -= 1
        self.end(name.rpartition(":")[2])

    def begin(self, name: str, attrs: Any) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""


class DocumentHandler(Handler):
    """Word processor and presentation parts (OOXML, ODF): paragraphs as lines, tables as rows."""

    _ROWS, _CELLS = frozenset({"tr", "table-row"}), frozenset({"tc", "table-cell"})

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self._value = ""

    def begin(self, name: str, attrs: Any) -> None:
        if name in self._ROWS:
            self._rows.append([])
        elif name in self._CELLS and self._rows:
            self._cell = []
            # A spreadsheet shows 1.23E+11 where its cell holds twelve digits.
            self._value = attrs.get("office:value", "") if attrs else ""
        elif name == "table" and not self._rows:
            self.sink.end()
        elif name in {"tab", "br", "cr", "line-break", "s"}:
            self._put(_BREAKS[name])

    def end(self, name: str) -> None:
        if name in self._ROWS and self._rows:
            self.sink.row(self._rows.pop())
        elif name in self._CELLS and self._rows:
            text = "".join(self._cell or ()).strip()
            self._rows[-1].append(whole_number(self._value) or text)
            self._cell = None
        elif name in {"p", "h"}:
            self._put("\n" if self._cell is None else " ")

    def characters(self, content: str) -> None:
        self._put(content)

    def _put(self, text: str) -> None:
        if self._cell is None:
            self.sink.text(text)
        elif len(self._cell) < _TEXT_LIMIT:
            self._cell.append(text)


class SharedTexts(Handler):
    """The texts that the sheets of a workbook refer to by number."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self.texts: list[str] = []
        self._parts: list[str] = []
        self._inside = self._phonetic = False
        self._size = 0

    def begin(self, name: str, attrs: Any) -> None:
        self._inside = self._inside or name == "t"
        self._phonetic = self._phonetic or name == "rPh"

    def end(self, name: str) -> None:
        if name == "t":
            self._inside = False
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            self.texts.append("".join(self._parts))
            self._parts.clear()
            self._count(64)

    def characters(self, content: str) -> None:
        if self._inside and not self._phonetic:
            self._parts.append(content)
            self._count(len(content) * 2)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self.sink.limits.member_bytes:
            raise Stop("too_large")


class SheetHandler(Handler):
    """One sheet of a workbook: rows of cells, headers and footers as text."""

    def __init__(self, sink: Sink, shared: list[str]) -> None:
        super().__init__(sink)
        self._shared = shared
        self._cells: list[str] = []
        self._kind = ""
        self._parts: list[str] | None = None
        self._column = 0

    def begin(self, name: str, attrs: Any) -> None:
        if name == "row":
            self._cells, self._column = [], 0
        elif name == "c":
            self._kind, self._column = attrs.get("t", ""), column_of(attrs.get("r", "")) or self._column + 1
        elif name in {"v", "t"} or name.endswith(("Header", "Footer")):
            self._parts = []

    def end(self, name: str) -> None:
        if name in {"v", "t"} and self._parts is not None:
            self._put("".join(self._parts))
            self._parts = None
        elif name.endswith(("Header", "Footer")) and self._parts is not None:
            self.sink.text("".join(self._parts) + "\n")
            self._parts = None
        elif name == "row":
            self.sink.row(self._cells)

    def characters(self, content: str) -> None:
        if self._parts is not None and len(self._parts) < _TEXT_LIMIT:
            self._parts.append(content)

    def _put(self, value: str) -> None:
        if self._kind == "s":
            index = int(value) if value.isascii() and value.isdigit() else -1
            value = self._shared[index] if 0 <= index < len(self._shared) else ""
        elif self._kind not in {"str", "inlineStr"}:
            value = whole_number(value) or value
        while len(self._cells) < min(self._column, MAX_COLUMN) - 1:
            self._cells.append("")
        self._cells.append(value)


MAX_COLUMN = 16_384
"""The last column of a sheet (ECMA-376)."""


def column_of(reference: str) -> int:
    """``B5`` → 2; 0 if it is no reference."""
    column = 0
    for letter in reference[:3]:
        if not "A" <= letter <= "Z":
            break
        column = column * 26 + ord(letter) - ord("A") + 1
    return column


def whole_number(value: str) -> str:
    """``1.23456789018E11`` → ``123456789018``; empty unless it is a whole number of at most fifteen digits."""
    if not value or len(value) > 32:  # noqa: PLR2004 - no number is that long
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    return str(int(number)) if abs(number) < 1e15 and number.is_integer() else ""  # noqa: PLR2004 - exact below


Make = Callable[[Sink], Handler]
