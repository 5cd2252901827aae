"""Tables and lines for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text as Plain

from collector.operator.texts import NOTHING, say
from protocol.text import Text

MICROS = 1_000_000
_COLOURS = {
    "critical": "bold red",
    "high": "red",
    "failed": "bold red",
    "unreachable": "yellow",
    "verified": "green",
}


def line(text: str) -> None:
    """One line of result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def aside(text: str) -> None:
    """One line beside the result (stderr), so that ``--json`` stays clean."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def json(value: Any) -> None:
    """The value as JSON: one line when piped, indented for a person."""
    data = msgspec.json.encode(value)
    line((msgspec.json.format(data, indent=2) if sys.stdout.isatty() else data).decode())


def when(micros: int) -> str:
    """A time in the operator's time zone; empty for never."""
    if not micros:
        return ""
    return datetime.fromtimestamp(micros / MICROS, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(columns: Sequence[tuple[Text, str]], rows: Iterable[Mapping[str, str]]) -> None:
    """Rows under titles: a table on a terminal, tab-separated with a title line otherwise.

    Text from PCs and people is shown as it is, without markup and without control characters.
    """
    cells = [[_clean(str(row.get(key, ""))) for _title, key in columns] for row in rows]
    titles = [say(title) for title, _key in columns]
    if not cells:
        aside(say(NOTHING))
    elif sys.stdout.isatty():
        pretty = Table(show_edge=False, pad_edge=False)
        for title in titles:
            pretty.add_column(title, overflow="fold")
        for row in cells:
            colour = next((_COLOURS[cell] for cell in row if cell in _COLOURS), None)
            pretty.add_row(*map(Plain, row), style=colour)
        Console().print(pretty)
    else:
        for row in [titles, *cells]:
            line("\t".join(row))


def _clean(text: str) -> str:
    """Without control characters: a file name of an attacker must not drive the operator's terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def clean(text: str) -> str:
    """:func:`_clean` for text outside tables; line breaks stay."""
    return "\n".join(map(_clean, text.splitlines()))
