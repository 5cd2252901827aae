"""transfers: what was handed out on media, by whom, and by whose leave."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.alerts import Limit, moment_us
from collector.operator.commands.common import Json, connect
from collector.operator.texts import state, t
from protocol.text import Text

COLUMNS = (
    (Text("時刻", "time"), "time"),
    (Text("端末", "host"), "host"),
    (Text("人", "person"), "person"),
    (Text("ファイル", "file"), "path"),
    (Text("媒体", "medium"), "medium"),
    (Text("中身", "holds"), "holds"),
    (Text("処置", "action"), "action"),
    (Text("許可", "permit"), "permit"),
    (Text("許可した人", "approver"), "approver"),
    (Text("根拠", "ground"), "ground"),
)


def transfers(
    context: typer.Context,
    *,
    section: Annotated[str, typer.Option(help=t("この課だけ", "only this section"))] = "",
    since: Annotated[str, typer.Option(help=t("から（2h、2026-04-01）", "from (2h, 2026-04-01)"))] = "30d",
    until: Annotated[str, typer.Option(help=t("まで", "until"))] = "",
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List files that were written to media, with the permit that covered them."""
    now_us = time.time_ns() // 1000
    with connect(context) as api:
        found = api.get(
            "/transfers",
            section=section or None,
            since_us=moment_us(since, "--since", now_us),
            until_us=moment_us(until, "--until", now_us) if until else None,
            limit=limit,
        )
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(_line, found))


def _line(one: dict[str, Any]) -> dict[str, str]:
    holds = [one["place"], *one["labels"], f"My Number ×{one['my_numbers']}" if one["my_numbers"] else ""]
    return {
        "time": output.when(one["time_us"]),
        "host": one["host"],
        "person": one["person"],
        "path": one["path"],
        "medium": one["medium"],
        "holds": " ".join(filter(None, holds)),
        "action": state(one["action"]),
        "permit": one["permit_id"] or one["permit"],
        "approver": one["approver"],
        "ground": one["ground"],
    }


def add_to(app: typer.Typer) -> None:
    """Hang the command into ``app``."""
    app.command(help=t("媒体で渡したものの記録", "what was handed out on media"))(transfers)
