"""review: the CISO's yearly management review."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from collector.fiscal import fiscal_year
from collector.inspections.render import html
from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.commands.inspections import WRITTEN
from collector.operator.texts import say, t
from protocol.text import Text

COLUMNS = (
    (Text("番号", "no."), "number"),
    (Text("事項", "item"), "title"),
    (Text("事実", "facts"), "facts"),
    (Text("講評", "remark"), "remark"),
)
APPROVED = Text("承認: ", "approved: ")
Year = Annotated[int, typer.Option(help=t("年度（省けば今年度）", "fiscal year; default this one"))]

app = typer.Typer(
    no_args_is_help=True, help=t("マネジメントレビュー（9事項）", "management review, nine items")
)


@app.command("show", help=t("9事項を事実とともに見る", "show the nine items with facts"))
def show(context: typer.Context, *, year: Year = 0, json: Json = False) -> None:
    """Show the review of a fiscal year."""
    with connect(context) as api:
        _print(api.get(f"/reviews/{_year(year)}"), json=json)


@app.command("remark", help=t("事項に講評を書く、承認する", "comment on an item, approve it"))
def remark(
    context: typer.Context,
    item: Annotated[int, typer.Argument(min=1, max=9)],
    text: str,
    *,
    approve: Annotated[bool, typer.Option("--approve", help=t("承認する", "approve it"))] = False,
    year: Year = 0,
    json: Json = False,
) -> None:
    """Add a remark to one of the nine items; earlier ones stay."""
    with connect(context) as api:
        body = {"item": item, "text": text, "approved": approve}
        _print(api.post(f"/reviews/{_year(year)}/remarks", body), json=json)


@app.command("export", help=t("報告書を HTML で書き出す", "write the report as HTML"))
def export(
    context: typer.Context, out: Annotated[Path, typer.Argument(help="review.html")], *, year: Year = 0
) -> None:
    """Write the report to a file."""
    with connect(context) as api:
        found = api.get(f"/reviews/{_year(year)}")
    out.write_text(html("review.html", say.lang, review=found), encoding="utf-8")
    output.aside(say(WRITTEN, path=out))


def _year(year: int) -> int:
    return year or fiscal_year(time.time_ns() // 1000)


def _print(found: dict[str, Any], *, json: bool) -> None:
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(_line, found["items"]))


def _line(item: dict[str, Any]) -> dict[str, str]:
    newest = item["remarks"][0] if item["remarks"] else None
    return {
        "number": str(item["number"]),
        "title": item[say.lang],
        "facts": ", ".join(f"{fact[say.lang]} {fact['value']}" for fact in item["facts"]),
        "remark": (say(APPROVED) if newest["approved"] else "") + newest["text"] if newest else "",
    }


def add_to(parent: typer.Typer) -> None:
    """Hang the commands into ``parent``."""
    parent.add_typer(app, name="review")
