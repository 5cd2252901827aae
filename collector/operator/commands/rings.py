"""policy ring list | set | clear."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, ReasonOption, connect
from collector.operator.texts import say, t
from protocol.text import Text

Hosts = Annotated[list[str] | None, typer.Option("--host", help=t("端末（繰り返せる）", "host (repeatable)"))]
Sections = Annotated[
    list[str] | None,
    typer.Option("--section", help=t("課の全端末（繰り返せる）", "all PCs of a section (repeatable)")),
]
COLUMNS = (
    (Text("組", "ring"), "ring"),
    (Text("端末", "PCs"), "pcs"),
    (Text("世代", "generation"), "generation"),
    (Text("まだの端末", "lagging"), "lagging"),
)
NONE = Text("（なし）", "(none)")
MOVED = Text("{moved} 台を組 {ring} に入れました", "{moved} PCs went into ring {ring}")
OUT = Text("{moved} 台を組から外しました", "{moved} PCs left their ring")
AHEAD = Text(
    "うち {ahead} 台は新しい世代のままです。それより新しい方針を配るまで戻りません",
    "{ahead} of them keep a newer generation until something newer goes to them",
)


def list_rings(context: typer.Context, *, json: Json = False) -> None:
    """List rings with their PCs."""
    with connect(context) as api:
        rows = api.get("/policy/rings")
    if json:
        output.json(rows)
        return
    shown = [{name: str(row[name]) for name in row} for row in rows]
    output.table(COLUMNS, [{**row, "ring": row["ring"] or say(NONE)} for row in shown])


def set_ring(
    context: typer.Context,
    ring: Annotated[str, typer.Argument(metavar="RING", help=t("組の名前", "name of the ring"))],
    *,
    host: Hosts = None,
    section: Sections = None,
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Put PCs into a ring."""
    _move(context, ring, host, section, reason, json=json)


def clear(
    context: typer.Context,
    *,
    host: Hosts = None,
    section: Sections = None,
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Take PCs out of their ring."""
    _move(context, "", host, section, reason, json=json)


def _move(
    context: typer.Context,
    ring: str,
    host: list[str] | None,
    section: list[str] | None,
    reason: str,
    *,
    json: bool,
) -> None:
    if not host and not section:
        raise typer.BadParameter("--host | --section")
    body = {"ring": ring, "hosts": host or [], "sections": section or [], "reason": reason}
    with connect(context) as api:
        moved: dict[str, Any] = api.post("/policy/rings", body)
    if json:
        output.json(moved)
        return
    output.line(say(MOVED if ring else OUT, moved=moved["moved"], ring=ring))
    if moved["ahead"]:
        output.aside(say(AHEAD, ahead=moved["ahead"]))


def add_to(group: typer.Typer) -> None:
    """Hang the commands into the group ``policy``."""
    ring = typer.Typer(
        no_args_is_help=True, help=t("先に配る端末の組", "rings of PCs that get a release early")
    )
    ring.command("list", help=t("組の一覧", "list rings"))(list_rings)
    ring.command("set", help=t("端末を組に入れる", "put PCs into a ring"))(set_ring)
    ring.command(help=t("端末を組から外す", "take PCs out of their ring"))(clear)
    group.add_typer(ring, name="ring")
