"""explain: why an event was flagged."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.texts import say, state, t
from protocol.text import Text

COLUMNS = (
    (Text("規則", "rule"), "rule"),
    (Text("結果", "outcome"), "outcome"),
    (Text("項目", "field"), "field"),
    (Text("比べ方", "compared"), "op"),
    (Text("求める値", "wanted"), "wanted"),
    (Text("実際の値", "found"), "found"),
    (Text("どこから", "known by"), "known_by"),
)
ABOUT = Text(
    "{host} の {seq} 番 {kind}（方針 {policy} による）", "{kind} {seq} of {host}, by policy {policy}"
)
OTHER = Text("端末が判断した方針は {policy} です", "the PC judged it by policy {policy}")
NO_RULE = Text("どの規則にも当たりません", "no rule fires on it")
RULE = Text(
    "{id}（{level}）{title} — {articles}",
    "{id} ({level}) {title} — {articles}",
)
COUNTED = Text(
    "相関 {id}: {title} — {count} 件のうちの一つ（警報 {alert}）",
    "correlation {id}: {title} — one of {count} (alert {alert})",
)
OUTCOMES = {
    "both": Text("該当（端末・収集）", "fires (PC and collector)"),
    "collector": Text("該当（収集のみ）", "fires (collector only)"),
    "pc": Text("端末のみ該当", "fired on the PC only"),
    "none": Text("非該当", "does not fire"),
}
SILENT = Text("（相関用）", " (for correlations)")
KNOWN_BY = {"event": Text("イベント", "event"), "enrichment": Text("照合", "look-up")}
OPERATORS = {
    "eq": Text("等しい", "equals"),
    "contains": Text("含む", "contains"),
    "startswith": Text("で始まる", "starts with"),
    "endswith": Text("で終わる", "ends with"),
    "re": Text("正規表現に合う", "matches"),
    "cidr": Text("の中", "is inside"),
    "lt": Text("より小さい", "below"),
    "lte": Text("以下", "at most"),
    "gt": Text("より大きい", "above"),
    "gte": Text("以上", "at least"),
    "exists": Text("ある", "exists"),
}
NOT = Text("（ではない）", " (not)")


def explain(
    context: typer.Context,
    event_id: Annotated[
        str,
        typer.Argument(
            metavar="EVENT_ID", help=t("端末:番号（events の番号）", "HOST:NUMBER, as events shows it")
        ),
    ],
    *,
    rule: Annotated[
        str, typer.Option(help=t("この規則だけ（非該当でも）", "this rule only, even if it does not fire"))
    ] = "",
    generation: Annotated[
        int,
        typer.Option(
            min=0, help=t("この世代の方針で（既定: 今のもの）", "by that release (default: in force)")
        ),
    ] = 0,
    json: Json = False,
) -> None:
    """Tell which rules fire on an event, by which branch and which fields."""
    with connect(context) as api:
        found = api.get(f"/events/{quote(event_id, safe='')}/explain", rule=rule, generation=generation)
    if json:
        output.json(found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    event = found["event"]
    host = found["hostname"] or found["host_id"][:12]
    output.line(say(ABOUT, host=host, seq=found["seq"], kind=event["kind"], policy=found["policy"]))
    if event.get("policy") and event["policy"] != found["policy"]:
        output.line(say(OTHER, policy=event["policy"]))
    if not found["rules"]:
        output.line(say(NO_RULE))
    for one in found["rules"]:
        articles = " ".join(f"{cited['ordinance']} {cited['article']}" for cited in one["citations"])
        title = say(Text("{ja}", "{en}"), ja=one["title_ja"], en=one["title_en"])
        level = state(one["level"]) if one["level"] else ""
        output.line(say(RULE, id=one["id"], level=level, title=title, articles=articles))
    if found["rules"]:
        output.table(COLUMNS, [row for one in found["rules"] for row in _rows(one)])
    for part in found["correlations"]:
        title = say(Text("{ja}", "{en}"), ja=part["title_ja"], en=part["title_en"])
        count = part["event"].get("count", 0)
        output.line(say(COUNTED, id=part["rule_id"], title=title, count=count, alert=part["alert_id"]))


def _rows(rule: dict[str, Any]) -> list[dict[str, str]]:
    outcome = say(OUTCOMES[rule["found_by"]]) + (say(SILENT) if rule["silent"] else "")
    head = {"rule": rule["id"], "outcome": rule["error"] or outcome}
    reasons = rule["reasons"] or [None]
    return [
        {**(head if number == 0 else {}), **(_row(reason) if reason else {})}
        for number, reason in enumerate(reasons)
    ]


def _row(reason: dict[str, Any]) -> dict[str, str]:
    operator = OPERATORS.get(reason["op"])
    return {
        "field": reason["field"],
        "op": (say(operator) if operator else reason["op"]) + ("" if reason["holds"] else say(NOT)),
        "wanted": " | ".join(_plain(value) for value in reason["wanted"]),
        "found": _plain(reason["found"]),
        "known_by": say(KNOWN_BY[reason["known_by"]]),
    }


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "–" if value in (None, "") else str(value)


def add_to(app: typer.Typer) -> None:
    """Hang the command into ``app``."""
    app.command(
        help=t("なぜ警報になったか（規則・分岐・項目）", "why an event was flagged: rule, branch, fields")
    )(explain)
