"""alerts, acknowledge, events."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, ReasonOption, connect, duration_us
from collector.operator.texts import say, state, t
from protocol.text import Text

Limit = Annotated[int, typer.Option(min=1, max=1000, help=t("多くて何件", "at most so many"))]
FOLLOW_WAIT_S = 25

COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("時刻", "time"), "time"),
    (Text("度合い", "level"), "level"),
    (Text("端末", "host"), "host"),
    (Text("人", "person"), "person"),
    (Text("何が", "what"), "title"),
    (Text("条", "article"), "article"),
    (Text("処置", "action"), "action"),
    (Text("確認", "seen by"), "seen"),
)
EVENT_COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("時刻", "time"), "time"),
    (Text("端末", "host"), "host"),
    (Text("種類", "kind"), "kind"),
    (Text("処置", "action"), "action"),
    (Text("人", "person"), "person"),
    (Text("内容", "content"), "content"),
)
_COMMON = {"kind", "time_us", "action", "user", "owner", "zone", "policy"}


def row(alert: dict[str, Any]) -> dict[str, str]:
    """An alert as a line of the table."""
    title = say(Text("{ja}", "{en}"), ja=alert["title_ja"], en=alert["title_en"])
    return {
        "id": str(alert["id"]),
        "time": output.when(alert["event_us"]),
        "level": state(alert["level"]),
        "host": alert["hostname"] or alert["host_id"][:12],
        "person": alert["person"],
        "title": title + (f" ×{alert['count']}" if alert["count"] > 1 else ""),
        "article": " ".join(f"{cited['ordinance']} {cited['article']}" for cited in alert["citations"]),
        "action": state(alert["action"]),
        "seen": alert["acknowledged_by"],
    }


def list_alerts(
    context: typer.Context,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help=t("新しいものを待ち続ける", "keep waiting for new ones"))
    ] = False,
    level: Annotated[str, typer.Option(help=t("この度合い以上", "this level and worse"))] = "informational",
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List alerts; with --follow print each new one (JSON Lines with --json)."""
    with connect(context) as api:
        alerts = api.get("/alerts", limit=limit, level=level)
        if json and not follow:
            output.json(alerts)
            return
        _print(alerts, json=json)
        newest = alerts[-1]["id"] if alerts else 0
        while follow:
            alerts = api.get("/alerts", after_id=newest, limit=limit, level=level, wait_s=FOLLOW_WAIT_S)
            if alerts:
                newest = alerts[-1]["id"]
                _print(alerts, json=json)


def _print(alerts: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        for alert in alerts:
            output.json(alert)
    elif alerts:
        output.table(COLUMNS, map(row, alerts))


def acknowledge(
    context: typer.Context,
    alert: Annotated[int, typer.Argument(min=0, help=t("警報の番号", "id of the alert"))],
    *,
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Say that somebody has seen to an alert."""
    with connect(context) as api:
        changed = api.post(f"/alerts/{alert}/acknowledge", {"reason": reason})
    if json:
        output.json(changed)
    else:
        output.table(COLUMNS, [row(changed)])


def moment_us(text: str, option: str, now_us: int) -> int:
    """A time: ``2h`` ago, or a date (and time) in the operator's zone. Raises typer.BadParameter."""
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp()) * 1_000_000
    except ValueError:
        return now_us - duration_us(text, option)


def events(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help=t("端末", "PC"))] = "",
    kind: Annotated[str, typer.Option(help=t("種類（コンマで並べる）", "kinds, separated by commas"))] = "",
    user: Annotated[str, typer.Option(help=t("人（--reason が要る）", "person; needs --reason"))] = "",
    text: Annotated[str, typer.Option(help=t("この文字を含む", "holds this text"))] = "",
    since: Annotated[str, typer.Option(help=t("から（2h、2026-04-01）", "from (2h, 2026-04-01)"))] = "1d",
    until: Annotated[str, typer.Option(help=t("まで", "until"))] = "",
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help=t("古い順", "oldest first"))] = False,
    limit: Limit = 100,
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Search stored events."""
    now_us = time.time_ns() // 1000
    query: dict[str, Any] = {
        "host": host,
        "kind": kind,
        "user": user,
        "text": text,
        "limit": limit,
        "reason": reason,
    }
    query["since_us"] = moment_us(since, "--since", now_us)
    query["until_us"] = moment_us(until, "--until", now_us) if until else None
    query["oldest_first"] = "true" if oldest_first else None
    with connect(context) as api:
        found = api.get("/events", **query)
    if json:
        output.json(found)
    else:
        output.table(EVENT_COLUMNS, map(_event_row, found))


def _event_row(found: dict[str, Any]) -> dict[str, str]:
    event = found["event"]
    rest = {
        name: value for name, value in event.items() if name not in _COMMON and value not in ("", 0, [], None)
    }
    return {
        "id": f"{found['hostname'] or found['host_id'][:12]}:{found['seq']}",
        "time": output.when(event["time_us"]),
        "host": found["hostname"] or found["host_id"][:12],
        "kind": event["kind"],
        "action": state(event.get("action", "observed")),
        "person": event.get("user", "") or event.get("owner", ""),
        "content": " ".join(f"{name}={value}" for name, value in rest.items()),
    }


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    app.command("alerts", help=t("警報の一覧", "list alerts"))(list_alerts)
    app.command(help=t("警報を確認済みにする", "acknowledge an alert"))(acknowledge)
    app.command(help=t("記録を探す", "search stored events"))(events)
