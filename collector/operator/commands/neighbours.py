"""neighbours, and neighbours segments | ports."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.texts import t
from protocol.text import Text

NEIGHBOURS = (
    (Text("セグメント", "segment"), "segment"),
    (Text("MAC", "MAC"), "mac"),
    (Text("台帳", "register"), "asset"),
    (Text("アドレス", "address"), "ip"),
    (Text("名乗った名前", "calls itself"), "hostname"),
    (Text("検知した方法", "seen by"), "via"),
    (Text("監視端末", "watcher"), "watcher"),
    (Text("二重", "copied"), "copied"),
    (Text("最初", "first"), "first"),
    (Text("最後", "last"), "last"),
)
SEGMENTS = (
    (Text("セグメント", "segment"), "segment"),
    (Text("監視端末", "watcher"), "watchers"),
    (Text("待機", "standing by"), "standby"),
    (Text("機器", "machines"), "machines"),
    (Text("台帳にない", "not registered"), "unknown"),
)
PORTS = (
    (Text("端末", "host"), "hostname"),
    (Text("口", "interface"), "interface"),
    (Text("スイッチ", "switch"), "switch"),
    (Text("ポート", "port"), "port"),
    (Text("方法", "by"), "via"),
    (Text("確認", "seen"), "seen"),
)


def list_neighbours(
    context: typer.Context,
    *,
    segment: Annotated[str, typer.Option(help=t("このセグメントだけ", "only this segment"))] = "",
    unknown: Annotated[
        bool, typer.Option("--unknown", help=t("台帳にない機器だけ", "only machines outside the register"))
    ] = False,
    json: Json = False,
) -> None:
    """List machines seen on LANs; with a subcommand, do that instead."""
    if context.invoked_subcommand is not None:
        return
    with connect(context) as api:
        found = api.get("/neighbours", segment=segment, asset="unknown" if unknown else "")
    _print(NEIGHBOURS, found, json=json)


def list_segments(context: typer.Context, *, json: Json = False) -> None:
    """List segments with the PC that watches each."""
    with connect(context) as api:
        found = api.get("/segments")
    _print(SEGMENTS, found, json=json)


def list_ports(context: typer.Context, *, json: Json = False) -> None:
    """List the switch ports that PCs hang on."""
    with connect(context) as api:
        found = api.get("/switch-ports")
    _print(PORTS, found, json=json)


def _print(columns: tuple[tuple[Text, str], ...], rows: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        output.json(rows)
    else:
        output.table(columns, map(_row, rows))


def _row(one: dict[str, Any]) -> dict[str, str]:
    """Times as a person reads them, lists in one cell."""
    times = {
        name.removesuffix("_us"): output.when(value) for name, value in one.items() if name.endswith("_us")
    }
    shown = {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in one.items()}
    return {**shown, **times}


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(invoke_without_command=True, help=t("網に現れた機器", "machines seen on LANs"))
    group.callback()(list_neighbours)
    group.command("segments", help=t("セグメントと監視端末", "segments and who watches them"))(list_segments)
    group.command("ports", help=t("端末のつながるスイッチのポート", "switch ports that PCs hang on"))(
        list_ports
    )
    app.add_typer(group, name="neighbours")
