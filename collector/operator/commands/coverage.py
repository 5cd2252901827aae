"""coverage: which article is served how on which PC."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.texts import say, t
from protocol.text import Text

COLUMNS = (
    (Text("規程", "ordinance"), "ordinance"),
    (Text("条", "article"), "article"),
    (Text("内容", "what it asks"), "asks"),
    (Text("対応", "served"), "state"),
    (Text("端末", "PCs"), "pcs"),
    (Text("理由", "why"), "why"),
)
STATES = {
    "enforced": Text("強制", "enforced"),
    "observed": Text("検知", "observed"),
    "recorded": Text("記録", "recorded"),
    "support": Text("支援", "support"),
    "organisation": Text("組織", "organisation"),
    "not_supported": Text("未対応", "not supported"),
}
WHY = {
    "": Text("", ""),
    "no_rule": Text("この条の規則がない: {detail}", "no rule serves it: {detail}"),
    "switched_off": Text("方針で停止中: {detail}", "switched off by the policy: {detail}"),
    "not_running": Text("端末で動いていない: {detail}", "not running on the PC: {detail}"),
    "no_policy": Text("方針がまだ届いていない", "no policy on the PC yet"),
    "not_built": Text("この版にはない: {detail}", "not in this version: {detail}"),
}
SINCE = Text("({when} から)", "(since {when})")
SILENT = Text("沈黙中の端末: {hosts}", "silent PCs: {hosts}")
TOTAL = Text("{ordinance}: {counts}", "{ordinance}: {counts}")
MANY = 3
"""Host names written out; more are counted."""


def show(
    context: typer.Context,
    *,
    ordinance: Annotated[str, typer.Option(help=t("この規程だけ", "only this ordinance"))] = "",
    section: Annotated[str, typer.Option(help=t("この課の端末だけ", "only PCs of this section"))] = "",
    host: Annotated[str, typer.Option(help=t("この端末だけ", "only this PC"))] = "",
    gaps: Annotated[
        bool, typer.Option("--gaps", help=t("未対応のものだけ", "only what is not supported"))
    ] = False,
    json: Json = False,
) -> None:
    """Show, article by article, what is enforced, observed, recorded, supported, or not, on which PC and since when."""
    with connect(context) as api:
        found = api.get("/coverage", ordinance=ordinance, section=section or None, host=host)
    if gaps:
        found["rows"] = [row for row in found["rows"] if row["state"] == "not_supported"]
    if json:
        output.json(found)
        return
    output.table(COLUMNS, map(_line, found["rows"]))
    for name, counts in found["totals"].items():
        shown = ", ".join(f"{say(STATES[state])} {counts[state]}" for state in STATES if state in counts)
        output.aside(say(TOTAL, ordinance=name, counts=shown))
    if found["silent"]:
        hosts = ", ".join(f"{one['host']} {output.when(one['since_us'])}" for one in found["silent"][:MANY])
        more = len(found["silent"]) - MANY
        output.aside(say(SILENT, hosts=hosts + (f" +{more}" if more > 0 else "")))


def _line(row: dict[str, Any]) -> dict[str, str]:
    worst = row["groups"][-1] if row["groups"] else None
    return {
        "ordinance": row["ordinance"],
        "article": row["article"],
        "asks": say(Text("{ja}", "{en}"), ja=row["ja"], en=row["en"]),
        "state": say(STATES[row["state"]]),
        "pcs": " ".join(f"{say(STATES[state])}:{count}" for state, count in row["pcs"].items()),
        "why": _why(worst) if worst and worst["state"] == "not_supported" else "",
    }


def _why(group: dict[str, Any]) -> str:
    parts = [say(WHY[group["why"]], detail=group["detail"])]
    if group["since_us"]:
        parts.append(say(SINCE, when=output.when(group["since_us"])))
    hosts = group["hosts"]
    if hosts:
        parts.append(", ".join(hosts[:MANY]) + (f" +{len(hosts) - MANY}" if len(hosts) > MANY else ""))
    return " ".join(parts)


def add_to(app: typer.Typer) -> None:
    """Hang the command into ``app``."""
    app.command("coverage", help=t("条ごとの対応状況", "which article is served how on which PC"))(show)
