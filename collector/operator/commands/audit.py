"""audit: who did what, and whether the chain holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.texts import say, t
from protocol.text import Text

COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("時刻", "time"), "time"),
    (Text("操作者", "operator"), "operator"),
    (Text("操作", "call"), "call"),
    (Text("結果", "status"), "status"),
    (Text("理由", "reason"), "reason"),
    (Text("詳しく", "detail"), "detail"),
)
HOLDS = Text(
    "記録は {entries} 件、つながっています。先頭 {entries}:{head}（書き留めておくと、後で切り取りが分かります）",
    "{entries} entries, the chain holds. Head {entries}:{head} (write it down: it shows a later cut)",
)
BROKEN = Text("記録 {at} で鎖が切れています（{what}）", "the chain is broken at entry {at} ({what})")


def audit(
    context: typer.Context,
    *,
    verify: Annotated[bool, typer.Option("--verify", help=t("鎖を確かめる", "check the chain"))] = False,
    head: Annotated[
        str,
        typer.Option(help=t("前に書き留めた先頭（番号:値）", "a head written down earlier (number:digest)")),
    ] = "",
    operator: Annotated[str, typer.Option(help=t("この操作者だけ", "only this operator"))] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help=t("多くて何件", "at most so many"))] = 50,
    json: Json = False,
) -> None:
    """List the newest entries, or check the chain (exit code 1 when it is broken)."""
    with connect(context) as api:
        if verify or head:
            number, _, digest = head.partition(":")
            _verified(api.get("/audit/verify", number=number, digest=digest), json=json)
            return
        entries = api.get("/audit", operator=operator, limit=limit)
    if json:
        output.json(entries)
    else:
        output.table(COLUMNS, map(_row, entries))


def _verified(answer: dict[str, Any], *, json: bool) -> None:
    if json:
        output.json(answer)
    elif answer["ok"]:
        output.line(say(HOLDS, entries=answer["entries"], head=answer["head"]))
    else:
        output.line(say(BROKEN, at=answer["broken_at"], what=answer["what"]))
    if not answer["ok"]:
        raise typer.Exit(1)


def _row(entry: dict[str, Any]) -> dict[str, str]:
    return {
        "id": str(entry["id"]),
        "time": output.when(entry["time_us"]),
        "operator": f"{entry['operator']} ({entry['role']})" if entry["operator"] else "-",
        "call": f"{entry['method']} {entry['path']}",
        "status": str(entry["status"]),
        "reason": entry["reason"],
        "detail": " ".join(f"{name}={value}" for name, value in entry["detail"].items()),
    }


def add_to(app: typer.Typer) -> None:
    """Hang the command into ``app``."""
    app.command(help=t("操作の記録", "the operators' audit log"))(audit)
