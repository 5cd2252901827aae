"""Sheets for people: HTML to print and file, CSV for a spreadsheet. Made on the operator's side from the API's answer."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from protocol.text import Lang

if TYPE_CHECKING:
    from jinja2 import Environment

COLUMNS = (
    "id", "ordinance", "article", "question", "state", "violations", "blocked", "unseen", "permits", "lapsed",
    "proposal", "answer", "remark", "correction", "due", "corrected",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FACTS = ("state", "violations", "blocked", "unseen", "permits", "lapsed")


def day(micros: int) -> str:
    """A date in the operator's time zone; empty for never."""
    if not micros:
        return ""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).astimezone().strftime("%Y-%m-%d")


@cache
def _environment() -> Environment:
    # Not at the top: every command of the operator imports this module, and two of them make pages.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("collector.inspections"), autoescape=True, undefined=StrictUndefined
    )
    made.filters["day"] = day
    return made


def html(template: str, lang: Lang, **values: Any) -> str:
    """A page of its own: no script, nothing fetched. ``template`` is one of ``templates/``."""
    return _environment().get_template(template).render(lang=lang, **values)


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
