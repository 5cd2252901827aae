"""Sheets for people: HTML to print and file, CSV for a spreadsheet. Made on the operator's side from the API's answer."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from protocol.text import Lang

COLUMNS = (
    "id", "ordinance", "article", "question", "state", "violations", "blocked", "unseen", "permits", "lapsed",
    "proposal", "answer", "remark", "correction", "due", "corrected",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FACTS = ("state", "violations", "blocked", "unseen", "permits", "lapsed")

_environment = Environment(
    loader=PackageLoader("collector.inspections"), autoescape=True, undefined=StrictUndefined
)


def day(micros: int) -> str:
    """A date in the operator's time zone; empty for never."""
    if not micros:
        return ""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).astimezone().strftime("%Y-%m-%d")


_environment.filters["day"] = day


def html(template: str, lang: Lang, **values: Any) -> str:
    """A page of its own: no script, nothing fetched. ``template`` is one of ``templates/``."""
    return _environment.get_template(template).render(lang=lang, **values)


def sheet_csv(sheet: dict[str, Any], lang: Lang) -> bytes:
    """A sheet as CSV: UTF-8 with byte order mark, CRLF (RFC 4180), as spreadsheets of city halls open it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item in sheet["items"]:
        values = {
            **item,
            **{name: item["facts"].get(name, "") for name in _FACTS},
            "question": item[f"question_{lang}"],
            "due": day(item["due_us"]),
            "corrected": day(item["corrected_us"]),
        }
        writer.writerow(harmless(values[name]) for name in COLUMNS)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def harmless(value: object) -> str:
    """A cell that no spreadsheet takes for a formula (CWE-1236)."""
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
