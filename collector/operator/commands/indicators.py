"""indicators: lists of hashes, addresses and names that somebody warned of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.alerts import moment_us
from collector.operator.commands.common import Json, connect, duration_us
from collector.operator.texts import say, t
from protocol.text import Text

COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("名前", "title"), "title"),
    (Text("出どころ", "source"), "source"),
    (Text("件数", "values"), "count"),
    (Text("いつまで", "until"), "until"),
    (Text("取り下げ", "withdrawn"), "withdrawn"),
    (Text("過去との照合", "looked back"), "matched"),
)
MATCHES = (
    (Text("端末", "host"), "host"),
    (Text("値", "value"), "value"),
    (Text("種類", "kind"), "kind"),
    (Text("回数", "times"), "count"),
    (Text("最初", "first"), "first"),
    (Text("最後", "last"), "last"),
)
BAD = Text("{line} 行目は使えません: {what}", "line {line} is no indicator: {what}")
BAD_COUNT = Text("使えない行: {count}", "rows that are none: {count}")
Id = Annotated[str, typer.Argument(metavar="LIST", help=t("一覧の番号", "id of the list"))]

app = typer.Typer(no_args_is_help=True, help=t("脅威の目印の一覧", "threat indicators"))


@app.command("list", help=t("一覧を並べる", "list the lists"))
def list_indicators(context: typer.Context, *, json: Json = False) -> None:
    """List indicator lists."""
    with connect(context) as api:
        _print(api.get("/indicators"), json=json)


@app.command("add", help=t("一覧を読み込む", "import a list"))
def add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help=t("CSV（1列目に値）", "CSV, values in the first column"))],
    *,
    title: Annotated[str, typer.Option(help=t("名前", "name of the list"))],
    source: Annotated[str, typer.Option(help=t("出どころ", "who shared it"))],
    valid: Annotated[str, typer.Option("--for", help=t("有効な期間", "for how long it holds"))] = "52w",
    json: Json = False,
) -> None:
    """Import a list; from now on it is compared with every event."""
    now_us = time.time_ns() // 1000
    body = {
        "title": title,
        "source": source,
        "from_us": now_us,
        "until_us": now_us + duration_us(valid, "--for"),
        "text": file.read_text(encoding="utf-8-sig"),
    }
    with connect(context) as api:
        found = api.post("/indicators", body)
    _print([found], json=json)
    for row in found["bad"]:
        output.aside(say(BAD, line=row["line"], what=row["what"]))
    if found["bad_count"]:
        output.aside(say(BAD_COUNT, count=found["bad_count"]))


@app.command("withdraw", help=t("使うのをやめる（記録は残る）", "stop using it; it stays on record"))
def withdraw(context: typer.Context, indicators: Id, *, json: Json = False) -> None:
    """Stop using a list."""
    with connect(context) as api:
        _print([api.post(f"/indicators/{indicators}/withdraw", {})], json=json)


@app.command("match", help=t("たまっている記録とさかのぼって照合する", "compare it with stored events"))
def match(
    context: typer.Context,
    indicators: Id,
    *,
    since: Annotated[
        str, typer.Option(help=t("どこから（90d、2026-04-01）", "from (90d, 2026-04-01)"))
    ] = "90d",
    reason: Annotated[str, typer.Option(help=t("理由", "why"))],
    json: Json = False,
) -> None:
    """Look back: every PC that named a listed value becomes an alert."""
    body = {"since_us": moment_us(since, "--since", time.time_ns() // 1000), "reason": reason}
    with connect(context) as api:
        found = api.post(f"/indicators/{indicators}/match", body)
    if json:
        output.json(found)
    else:
        output.table(MATCHES, map(_match_line, found))


def _match_line(one: dict[str, Any]) -> dict[str, str]:
    return {
        "host": one["host"],
        "value": one["value"],
        "kind": one["kind"],
        "count": str(one["count"]),
        "first": output.when(one["first_us"]),
        "last": output.when(one["last_us"]),
    }


def _print(rows: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        output.json(rows)
    else:
        output.table(COLUMNS, map(_line, rows))


def _line(row: dict[str, Any]) -> dict[str, str]:
    matched = output.when(row["matched_us"])
    return {
        "id": row["id"],
        "title": row["title"],
        "source": row["source"],
        "count": str(row["count"]),
        "until": output.when(row["until_us"]),
        "withdrawn": output.when(row["withdrawn_us"]),
        "matched": f"{matched} ({row['matches']})" if matched else "",
    }


def add_to(parent: typer.Typer) -> None:
    """Hang the commands into ``parent``."""
    parent.add_typer(app, name="indicators")
