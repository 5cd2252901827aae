"""Text and tables as the files that offices keep them in."""

from __future__ import annotations

import io
import random
import zipfile
from xml.sax.saxutils import escape

ENCODINGS = ("utf-8", "cp932", "euc_jp", "iso2022_jp", "utf-16")
Rows = list[list[str]]
File = tuple[str, bytes]
"""Name and content."""


def as_text(dice: random.Random, text: str) -> File:
    encoding = dice.choice(ENCODINGS)
    return "document.txt", text.encode(encoding, "replace")


def as_csv(dice: random.Random, titles: list[str], rows: Rows) -> File:
    lines = [",".join(row) for row in ([titles, *rows] if dice.random() < 0.9 else rows)]
    return "table.csv", ("\r\n".join(lines) + "\r\n").encode(
        dice.choice(("utf-8-sig", "cp932", "utf-8")), "replace"
    )


def as_xlsx(_: random.Random, titles: list[str], rows: Rows) -> File:
    """A workbook as spreadsheets write it: texts shared, numbers as numbers (which lose leading zeros)."""
    texts: dict[str, int] = {}

    def cell(at: int, row: int, value: str) -> str:
        place = f"{chr(ord('A') + at)}{row}"
        if value.isascii() and value.isdigit():
            return f'<c r="{place}"><v>{int(value)}</v></c>'
        return f'<c r="{place}" t="s"><v>{texts.setdefault(value, len(texts))}</v></c>'

    body = "".join(
        f'<row r="{number}">{"".join(cell(at, number, value) for at, value in enumerate(row))}</row>'
        for number, row in enumerate([titles, *rows], 1)
    )
    return "book.xlsx", _zip(
        {
            "[Content_Types].xml": "<Types/>",
            "xl/worksheets/sheet1.xml": f"<worksheet><sheetData>{body}</sheetData></worksheet>",
            "xl/sharedStrings.xml": f"<sst>{''.join(f'<si><t>{escape(one)}</t></si>' for one in texts)}</sst>",
        }
    )


def as_docx(_: random.Random, text: str) -> File:
    paragraphs = "".join(f"<w:p><w:r><w:t>{escape(line)}</w:t></w:r></w:p>" for line in text.splitlines())
    return "letter.docx", _zip(
        {
            "[Content_Types].xml": "<Types/>",
            "word/document.xml": f'<w:document xmlns:w="w"><w:body>{paragraphs}</w:body></w:document>',
        }
    )


def as_pdf(_: random.Random, text: str) -> File:
    """One line under the other, in a font whose codes are Unicode."""
    from reportlab.pdfbase import pdfmetrics  # type: ignore[import-untyped]
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont  # type: ignore[import-untyped]
    from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

    if "HeiseiMin-W3" not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont("HeiseiMin-W3"))
    held = io.BytesIO()
    canvas = Canvas(held, invariant=True)
    lines = text.splitlines()
    for first in range(0, len(lines), 50):
        canvas.setFont("HeiseiMin-W3", 10)
        for at, line in enumerate(lines[first : first + 50]):
            canvas.drawString(40, 800 - 15 * at, line)
        canvas.showPage()
    canvas.save()
    return "print.pdf", held.getvalue()


def as_zip(inner: File) -> File:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(*inner)
    return "packed.zip", held.getvalue()


def _zip(parts: dict[str, str]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return held.getvalue()
