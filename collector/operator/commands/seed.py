"""registers seed, and registers proposals list | approve | reject | undo."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, ReasonOption, connect
from collector.operator.commands.imports import batch_line
from collector.operator.commands.registers import filled
from collector.operator.following import follow
from collector.operator.texts import say, t
from protocol.text import Text

KINDS = "devices | media | machines | software | destinations"
Kind = Annotated[str, typer.Option("--kind", help=KINDS)]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help=t("提案の番号", "ids of proposals"))]
All = Annotated[bool, typer.Option("--all", help=t("開いている提案すべて", "every open proposal"))]
MinPcs = Annotated[
    int, typer.Option("--min-pcs", min=1, help=t("これ以上の端末で見たもの", "seen on at least so many PCs"))
]
Section = Annotated[str, typer.Option("--section", help=t("課", "section"))]
COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("種類", "kind"), "kind"),
    (Text("何", "what"), "label"),
    (Text("対象", "subject"), "subject"),
    (Text("端末", "PCs"), "pcs"),
    (Text("回数", "times"), "times"),
    (Text("課", "section"), "section"),
    (Text("区域", "zone"), "zone"),
    (Text("最初", "first"), "first"),
    (Text("最後", "last"), "last"),
)
SEEDED = Text(
    "記録 {events} 件から: 新しい提案 {new} 件、前からの提案 {known} 件、却下済み {rejected} 件",
    "from {events} events: {new} new proposals, {known} known, {rejected} rejected before",
)
NEXT = Text(
    "見る: sekisho registers proposals list、まとめて承認: sekisho registers proposals approve --all --kind KIND",
    "see them: sekisho registers proposals list; approve in bulk: sekisho registers proposals approve --all --kind KIND",
)
LEFT_OUT = Text(
    "種類が多すぎたため {count} 件を省きました", "{count} events were left out: too many different things"
)
REJECTED = Text("{count} 件を却下しました", "{count} proposals were rejected")


def seed(
    context: typer.Context,
    *,
    since: Annotated[str, typer.Option(help=t("さかのぼる日数（14d）", "how far back (14d)"))] = "14d",
    kind: Annotated[list[str] | None, typer.Option("--kind", help=KINDS)] = None,
    json: Json = False,
) -> None:
    """Propose for the registers what was seen and nothing knows."""
    days = _days(since)
    with connect(context) as api:
        study = follow(api, api.post("/registers/seed", {"days": days, "kinds": kind or []}))
        if json:
            output.json({**study, "proposals": api.get("/registers/proposals")})
            return
    report = study["report"]
    output.line(
        say(SEEDED, events=study["done"], **{name: report[name] for name in ("new", "known", "rejected")})
    )
    if report["left_out"]:
        output.aside(say(LEFT_OUT, count=report["left_out"]))
    output.aside(say(NEXT))


def _days(text: str) -> int:
    number = text.strip().removesuffix("d")
    if not number.isdigit() or not int(number):
        raise typer.BadParameter("14d", param_hint="--since")
    return int(number)


def proposals(
    context: typer.Context,
    *,
    kind: Kind = "",
    state: Annotated[str, typer.Option(help="proposed | approved | rejected | all")] = "proposed",
    json: Json = False,
) -> None:
    """List proposals, those seen on most PCs first."""
    with connect(context) as api:
        # An empty parameter would be left out, which means the proposed ones.
        states = ["proposed", "approved", "rejected"] if state == "all" else [state]
        rows = [row for one in states for row in api.get("/registers/proposals", only=one, kind=kind)]
    if json:
        output.json(rows)
    else:
        output.table(COLUMNS, map(_row, rows))


def approve(
    context: typer.Context,
    ids: Ids = None,
    *,
    everything: All = False,
    kind: Kind = "",
    section: Section = "",
    min_pcs: MinPcs = 1,
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Put proposals into the registers, as one batch."""
    body = _chosen(ids, everything=everything, kind=kind, section=section, min_pcs=min_pcs, reason=reason)
    with connect(context) as api:
        batch = api.post("/registers/proposals/approve", body)
    if json:
        output.json(batch)
    else:
        output.line(batch_line(batch))


def reject(
    context: typer.Context,
    ids: Ids = None,
    *,
    everything: All = False,
    kind: Kind = "",
    section: Section = "",
    min_pcs: MinPcs = 1,
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Never propose these again."""
    body = _chosen(ids, everything=everything, kind=kind, section=section, min_pcs=min_pcs, reason=reason)
    with connect(context) as api:
        done = api.post("/registers/proposals/reject", body)
    if json:
        output.json(done)
    else:
        output.line(say(REJECTED, count=done["rejected"]))


def _chosen(ids: list[str] | None, *, everything: bool, **rest: Any) -> dict[str, Any]:
    if bool(ids) == everything:
        raise typer.BadParameter("ID … | --all")
    return {"ids": ids or [], "all": everything, **rest}


def _row(row: dict[str, Any]) -> dict[str, str]:
    return {
        **{name: str(row[name]) for name in ("id", "kind", "label", "pcs", "times", "section", "zone")},
        "subject": filled(row["subject"]),
        "first": output.when(row["first_us"]),
        "last": output.when(row["last_us"]),
    }


def add_to(group: typer.Typer) -> typer.Typer:
    """Hang the commands into the group ``registers``; returns the group of proposals."""
    group.command(help=t("見たものから台帳の下書きを作る", "propose entries from what was seen"))(seed)
    inner = typer.Typer(no_args_is_help=True, help=t("台帳への提案", "proposals for the registers"))
    inner.command("list", help=t("提案の一覧", "list proposals"))(proposals)
    inner.command(help=t("台帳に入れる", "put them into the registers"))(approve)
    inner.command(help=t("もう提案しない", "never propose them again"))(reject)
    group.add_typer(inner, name="proposals")
    return inner
