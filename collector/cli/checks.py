"""check-config."""

from __future__ import annotations

import typer

from collector.checks import run_checks
from collector.cli.common import DATA, Data
from collector.config import Layout
from collector.operator import output
from collector.operator.commands.common import Json
from collector.operator.texts import say, t
from protocol.text import Text

MARKS = {"ok": Text("○", "ok"), "warn": Text("△ 注意", "warning"), "fail": Text("× 不可", "FAILED")}
COLUMNS = (
    (Text("結果", "result"), "status"),
    (Text("項目", "what"), "title"),
    (Text("詳しく", "detail"), "detail"),
    (Text("次に", "next"), "hint"),
)


def check_config(*, data: Data = DATA, json: Json = False) -> None:
    """Check everything the collector needs; exit code 1 when something fails."""
    found = list(run_checks(Layout(data)))
    good = all(one.status != "fail" for one in found)
    rows = [
        {
            "name": one.name,
            "status": one.status,
            "title": say(one.title),
            "detail": one.detail,
            "hint": say(one.hint),
        }
        for one in found
    ]
    if json:
        output.json({"ok": good, "checks": rows})
    else:
        output.table(COLUMNS, [{**row, "status": say(MARKS[row["status"]])} for row in rows])
    raise typer.Exit(0 if good else 1)


def add_to(app: typer.Typer) -> None:
    """Hang the command into ``app``."""
    app.command("check-config", help=t("動かせる状態か調べる", "check whether the collector can run"))(
        check_config
    )
