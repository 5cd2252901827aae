"""policy show | list | diff | draft, and the group that ``release`` and ``rings`` hang into."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands import release, rings
from collector.operator.commands.common import Json, connect
from collector.operator.releasing import SAME
from collector.operator.texts import say, state, t
from protocol.text import Text

Ring = Annotated[
    str, typer.Option("--ring", help=t("この組の端末から見て", "as seen by the PCs of this ring"))
]
COLUMNS = (
    (Text("世代", "generation"), "generation"),
    (Text("状態", "status"), "status"),
    (Text("範囲", "for"), "ring"),
    (Text("端末", "PCs"), "pcs"),
    (Text("要約値", "digest"), "digest"),
    (Text("配布", "released"), "released"),
    (Text("だれが", "by"), "created_by"),
    (Text("理由", "reason"), "reason"),
)
EXPIRES = (Text("有効期限", "valid until"), "expires")
DUE = Text(
    "まだ配っていない変更があります: sekisho policy diff", "changes wait to be released: sekisho policy diff"
)
TO_ALL, PROMOTED = Text("すべて", "all"), Text("{ring} → すべて", "{ring} → all")
BACK_TO = Text("世代 {generation} に戻す: {reason}", "back to {generation}: {reason}")
WRITTEN = Text("{path} に書きました（{size} バイト）", "wrote {path} ({size} bytes)")


def show(context: typer.Context, *, ring: Ring = "", json: Json = False) -> None:
    """Show the release in force."""
    with connect(context) as api:
        current = api.get("/policy/current", ring=ring)
    if json:
        output.json(current)
        return
    output.table((*COLUMNS, EXPIRES), [{**_row(current), "expires": output.when(current["expires_us"])}])
    if current["due"]:
        output.aside(say(DUE))


def releases(context: typer.Context, *, json: Json = False) -> None:
    """List all releases."""
    with connect(context) as api:
        rows = api.get("/policy/releases")
    if json:
        output.json(rows)
    else:
        output.table(COLUMNS, map(_row, rows))


def show_diff(context: typer.Context, *, ring: Ring = "", json: Json = False) -> None:
    """Show what a release made now would change."""
    with connect(context) as api:
        answer = api.get("/policy/diff", ring=ring)
    if json:
        output.json(answer)
        return
    for text in answer["lines"] or [say(SAME)]:
        output.line(output.clean(text))


def draft(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help=t("書き出す先", "where to write it"))],
    json: Json = False,
) -> None:
    """Write the exact bytes that are to be signed, e.g. to sign them on another machine."""
    with connect(context) as api:
        answer = api.get("/policy/draft")
    body = base64.b64decode(answer["body"])
    out.write_bytes(body)
    if json:
        output.json({"path": str(out), **answer["release"]})
    else:
        output.line(say(WRITTEN, path=out, size=len(body)))


def _row(row: dict[str, Any]) -> dict[str, str]:
    ring, back = row["ring"], row["rollback_of"]
    scope = say(PROMOTED, ring=ring) if ring and row["promoted_us"] else ring or say(TO_ALL)
    reason = row["reason"]
    return {
        "generation": str(row["generation"]),
        "status": state(row["status"]),
        "ring": scope,
        "pcs": str(row["pcs"]),
        "digest": row["digest"][:12],
        "released": output.when(row["released_us"]),
        "created_by": row["created_by"],
        "reason": say(BACK_TO, generation=back, reason=reason) if back else reason,
    }


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("方針", "the policy"))
    group.command(help=t("効いている方針", "the release in force"))(show)
    group.command("diff", help=t("今配ると何が変わるか", "what a release made now would change"))(show_diff)
    group.command(help=t("署名する元を書き出す", "write the bytes to be signed"))(draft)
    group.command(
        "list", help=t("これまでの方針と、その端末の数", "all releases, and how many PCs run each")
    )(releases)
    group.command(help=t("list と同じ", "the same as list"))(releases)
    release.add_to(group)
    rings.add_to(group)
    app.add_typer(group, name="policy")
