"""registers import assets | people | list | show | apply | discard | undo: CSV files for the registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.texts import say, t
from protocol.text import Text

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help=t("CSV ファイル", "CSV file"))
]
BatchArgument = Annotated[str, typer.Argument(metavar="BATCH", help=t("束の番号", "number of the batch"))]
BAD = (
    (Text("行", "line"), "line"),
    (Text("列", "column"), "column"),
    (Text("理由", "reason"), "reason"),
)
BATCHES = (
    (Text("束", "batch"), "id"),
    (Text("状態", "state"), "state"),
    (Text("元", "from"), "origin"),
    (Text("ファイル", "file"), "name"),
    (Text("変更", "changes"), "rows"),
    (Text("省いた行", "left out"), "left_out"),
    (Text("作成", "made"), "created"),
    (Text("だれが", "by"), "created_by"),
)
CHANGES = (
    (Text("行", "line"), "number"),
    (Text("番号", "key"), "key"),
    (Text("前", "before"), "before"),
    (Text("後", "after"), "after"),
)
STATES = {
    "staged": Text("未適用", "staged"),
    "applied": Text("適用", "applied"),
    "discarded": Text("破棄", "discarded"),
    "undone": Text("取り消し", "undone"),
}
LINE = Text("束 {id}（{state}）: 変更 {rows} 件", "batch {id} ({state}): {rows} changes")
STAGED = Text(
    "束 {id}: 変更 {rows} 件を控えました。変わらない行 {unchanged} 件、省いた行 {left_out} 件。台帳はまだ変わっていません",
    "batch {id}: {rows} changes staged, {unchanged} rows unchanged, {left_out} rows left out; no register has changed",
)
NEXT = Text(
    "適用: sekisho registers import apply {id}、やめる: sekisho registers import discard {id}",
    "apply: sekisho registers import apply {id}; give up: sekisho registers import discard {id}",
)
UNDO = Text(
    "次の方針の配布から端末に効きます。戻す: sekisho registers import undo {id}",
    "PCs learn of it with the next policy release; take it back: sekisho registers import undo {id}",
)


def batch_line(batch: dict[str, Any]) -> str:
    """A batch in one line."""
    return say(LINE, id=batch["id"], state=say(STATES[batch["state"]]), rows=batch["rows"])


def assets(context: typer.Context, file: FileArgument, *, json: Json = False) -> None:
    """Stage a CSV file of assets."""
    _stage(context, "assets", file, json=json)


def people(context: typer.Context, file: FileArgument, *, json: Json = False) -> None:
    """Stage a CSV file of people."""
    _stage(context, "people", file, json=json)


def _stage(context: typer.Context, register: str, file: Path, *, json: bool) -> None:
    with connect(context) as api:
        body = {"register": register, "name": file.name, "content": file.read_bytes()}
        batch = api.post("/registers/imports", body)
    if json:
        output.json(batch)
        return
    named = {name: batch[name] for name in ("id", "rows", "unchanged", "left_out")}
    output.line(say(STAGED, **named))
    if batch["bad"]:
        output.table(
            BAD,
            [
                {"line": str(row["line"]), "column": row["column"], "reason": row[say.lang]}
                for row in batch["bad"]
            ],
        )
    output.aside(say(NEXT, id=batch["id"]))


def list_batches(context: typer.Context, *, json: Json = False) -> None:
    """List batches."""
    with connect(context) as api:
        rows = api.get("/registers/batches")
    if json:
        output.json(rows)
        return
    shown = [
        {
            **{name: str(row[name]) for name in ("id", "origin", "name", "rows", "left_out", "created_by")},
            "state": say(STATES[row["state"]]),
            "created": output.when(row["created_us"]),
        }
        for row in rows
    ]
    output.table(BATCHES, shown)


def show(context: typer.Context, batch: BatchArgument, *, json: Json = False) -> None:
    """Show what a batch changes."""
    with connect(context) as api:
        found = api.get(f"/registers/batches/{quote(batch, safe='')}", limit=1000)
    if json:
        output.json(found)
        return
    output.line(batch_line(found))
    rows = [
        {
            "number": str(row["number"]),
            "key": row["key"],
            "before": _shown(row["before"]),
            "after": _shown(row["after"]),
        }
        for row in found["changes"]
    ]
    output.table(CHANGES, rows)


def _shown(entry: dict[str, Any] | None) -> str:
    return msgspec.json.encode(entry).decode() if entry else ""


def apply(context: typer.Context, batch: BatchArgument, *, json: Json = False) -> None:
    """Make all changes of a batch, or none."""
    _close(context, batch, "apply", json=json)
    if not json:
        output.aside(say(UNDO, id=batch))


def discard(context: typer.Context, batch: BatchArgument, *, json: Json = False) -> None:
    """Give a staged batch up."""
    _close(context, batch, "discard", json=json)


def undo(context: typer.Context, batch: BatchArgument, *, json: Json = False) -> None:
    """Unmake all changes of a batch, or none."""
    _close(context, batch, "undo", json=json)


def _close(context: typer.Context, batch: str, way: str, *, json: bool) -> None:
    with connect(context) as api:
        done = api.post(f"/registers/batches/{quote(batch, safe='')}/{way}", {})
    if json:
        output.json(done)
    else:
        output.line(batch_line(done))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    from collector.operator.commands import seed

    group = typer.Typer(no_args_is_help=True, help=t("台帳をまとめて埋める", "fill the registers in bulk"))
    proposals = seed.add_to(group)
    proposals.command("undo", help=t("承認した束を取り消す", "undo an approved batch"))(undo)
    inner = typer.Typer(no_args_is_help=True, help=t("CSV から", "from CSV files"))
    inner.command(help=t("資産の CSV を控える", "stage a CSV of assets"))(assets)
    inner.command(help=t("人の CSV を控える", "stage a CSV of people"))(people)
    inner.command("list", help=t("束の一覧", "list batches"))(list_batches)
    inner.command(help=t("束の中身", "what a batch changes"))(show)
    inner.command(help=t("適用する（全部か、なしか）", "apply: all or none"))(apply)
    inner.command(help=t("捨てる", "discard"))(discard)
    inner.command(help=t("取り消す（全部か、なしか）", "undo: all or none"))(undo)
    group.add_typer(inner, name="import")
    app.add_typer(group, name="registers")
