"""hosts, and host show | approve | revoke | assign | release."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from collector.operator import output
from collector.operator.commands.common import HostArgument, Json, ReasonOption, connect
from collector.operator.texts import state, t
from protocol.text import Text

Filter = Annotated[str, typer.Option(help=t("これだけ", "only these"))]

COLUMNS = (
    (Text("端末", "host"), "hostname"),
    (Text("指紋", "fingerprint"), "id"),
    (Text("区域", "zone"), "zone"),
    (Text("課", "section"), "section"),
    (Text("状態", "status"), "status"),
    (Text("応答", "online"), "online"),
    (Text("隔離（実測）", "isolation (measured)"), "isolation"),
    (Text("方針", "policy"), "policy"),
    (Text("統制", "controls"), "controls"),
    (Text("健康", "health"), "health"),
    (Text("最後に見た時", "last seen"), "seen"),
)
_SHORT = 12


def row(host: dict[str, Any]) -> dict[str, str]:
    """A PC as a line of the table."""
    ordered = f" ({host['order']}: {state(host['order_state'])})" if host["order"] else ""
    return {
        "hostname": host["hostname"],
        "id": host["id"][:_SHORT],
        "zone": host["zone"],
        "section": host["section"],
        "status": state(host["status"]),
        "online": "○" if host["online"] else "×",
        "isolation": state(host["isolation"]) + ordered,
        "policy": _policy(host),
        "controls": " ".join(f"{name}:{state(mode)}" for name, mode in sorted(host["controls"].items())),
        "health": " ".join(host["health"]),
        "seen": output.when(host["last_seen_us"]),
    }


def _policy(host: dict[str, Any]) -> str:
    """The generation it runs; with what it is meant to have where that is another one, and its ring."""
    runs, meant = host["policy_generation"], host["policy_meant"]
    ring = f" [{host['ring']}]" if host["ring"] else ""
    other = "" if host["policy_current"] else f" ! → {meant}" if runs < meant else f" ({meant})"
    return f"{runs}{other}{ring}"


def list_hosts(
    context: typer.Context,
    *,
    status: Filter = "",
    zone: Filter = "",
    section: Filter = "",
    json: Json = False,
) -> None:
    """List PCs."""
    with connect(context) as api:
        hosts = api.get("/hosts", status=status, zone=zone, section=section)
    _print(hosts, json=json)


def show(context: typer.Context, host: HostArgument, *, json: Json = False) -> None:
    """Show one PC with everything known of it."""
    with connect(context) as api:
        found = api.get(f"/hosts/{quote(host, safe='')}")
    if json:
        output.json(found)
        return
    for name, value in found.items():
        shown = output.when(value) if name.endswith("_us") and name != "skew_us" else value
        output.line(f"{name}: {output.clean(str(shown))}")


def approve(
    context: typer.Context, host: HostArgument, *, reason: ReasonOption = "", json: Json = False
) -> None:
    """Let a pending PC join."""
    _decide(context, host, "approve", {"reason": reason}, json=json)


def release(
    context: typer.Context, host: HostArgument, *, reason: ReasonOption = "", json: Json = False
) -> None:
    """Let a quarantined PC work again."""
    _decide(context, host, "release-quarantine", {"reason": reason}, json=json)


def revoke(
    context: typer.Context,
    host: HostArgument,
    *,
    reason: Annotated[str, typer.Option(help=t("理由（監査記録に残る）", "why; goes into the audit log"))],
    json: Json = False,
) -> None:
    """Never take anything from this PC's key again."""
    _decide(context, host, "revoke", {"reason": reason}, json=json)


def assign(
    context: typer.Context,
    host: HostArgument,
    *,
    zone: Annotated[str, typer.Option(help=t("区域", "zone"))],
    section: Annotated[str, typer.Option(help=t("課", "section"))] = "",
    reason: ReasonOption = "",
    json: Json = False,
) -> None:
    """Say zone and section of a PC; takes effect with the next policy release."""
    _decide(context, host, "assign", {"zone": zone, "section": section, "reason": reason}, json=json)


def _decide(context: typer.Context, host: str, what: str, body: dict[str, str], *, json: bool) -> None:
    with connect(context) as api:
        changed = api.post(f"/hosts/{quote(host, safe='')}/{what}", body)
    _print([changed], json=json)


def _print(hosts: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        output.json(hosts)
    else:
        output.table(COLUMNS, map(row, hosts))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    app.command("hosts", help=t("端末の一覧", "list PCs"))(list_hosts)
    group = typer.Typer(no_args_is_help=True, help=t("一台の端末", "one PC"))
    group.command(help=t("すべて見る", "show everything known of it"))(show)
    group.command(help=t("参加を承認する", "let a pending PC join"))(approve)
    group.command(help=t("検疫を解く", "let a quarantined PC work again"))(release)
    group.command(help=t("鍵を失効させる（戻せない）", "revoke its key; there is no way back"))(revoke)
    group.command(help=t("区域と課を決める", "say its zone and section"))(assign)
    app.add_typer(group, name="host")
