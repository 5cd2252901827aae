"""permits list | grant | revoke. With the policy key at hand the release follows at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.client import Api
from collector.operator.commands.alerts import moment_us
from collector.operator.commands.common import Json, PassphraseFile, Yes, connect, duration_us, ground_of
from collector.operator.commands.policy import DONE, sign_release
from collector.operator.commands.registers import filled
from collector.operator.texts import say, state, t
from protocol.text import Text

Value = Annotated[str, typer.Option(help=t("対象", "what is permitted"))]
Many = Annotated[
    list[str] | None,
    typer.Option(help=t("範囲（繰り返せる。なければどこでも）", "scope (repeatable; default: everywhere)")),
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help=t("方針の署名鍵。すぐに配る", "policy key: release at once"))
]
COLUMNS = (
    (Text("許可", "permit"), "id"),
    (Text("種類", "kind"), "kind"),
    (Text("状態", "state"), "state"),
    (Text("対象", "subject"), "subject"),
    (Text("範囲", "scope"), "scope"),
    (Text("申請", "applicant"), "applicant"),
    (Text("許可者", "approver"), "approver"),
    (Text("条", "article"), "article"),
    (Text("まで", "until"), "until"),
    (Text("理由", "reason"), "reason"),
)
DUE = Text(
    "端末にはまだ届いていません。署名して配ってください: sekisho policy apply --key FILE",
    "PCs do not know yet. Sign and release: sekisho policy apply --key FILE",
)


def list_permits(
    context: typer.Context,
    *,
    only: Annotated[str, typer.Option("--state", help="pending | granted | expired | revoked")] = "",
    json: Json = False,
) -> None:
    """List permits."""
    with connect(context) as api:
        found = api.get("/permits", only=only)
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(_row, found))


def grant(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="device | medium | software | destination")],
    *,
    applicant: Annotated[str, typer.Option(help=t("申請者", "applicant"))],
    approver: Annotated[str, typer.Option(help=t("許可者（別の人）", "approver (somebody else)"))],
    ground: Annotated[str, typer.Option(help=t("条例:条", "ordinance:article"))],
    reason: Annotated[str, typer.Option(help=t("理由", "why"))],
    until: Annotated[str, typer.Option(help=t("まで（30d、2027-03-31）", "until (30d, 2027-03-31)"))],
    begin: Annotated[
        str, typer.Option("--from", help=t("から（日付。なければ今）", "from (date; default: now)"))
    ] = "",
    device_id: Value = "",
    usb: Annotated[str, typer.Option(help=t("vendor:product（16進）", "vendor:product in hex"))] = "",
    serial: Value = "",
    media_id: Value = "",
    fs_uuid: Value = "",
    source: Value = "",
    package: Value = "",
    digest: Value = "",
    network: Value = "",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help=t("宛先の口（0 = すべて）", "port (0 = any)"))
    ] = 0,
    protocol: Value = "",
    device_class: Annotated[str, typer.Option(help=t("機器の種類", "device class"))] = "",
    host: Many = None,
    user: Many = None,
    section: Many = None,
    zone: Many = None,
    read_only: Annotated[bool, typer.Option("--read-only", help=t("読むだけ", "reading only"))] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Enter a granted permit."""
    cited, (vendor, _, product) = ground_of(ground), usb.partition(":")
    names = (
        "device_id",
        "serial",
        "media_id",
        "fs_uuid",
        "source",
        "package",
        "digest",
        "network",
        "port",
        "protocol",
    )
    values = (device_id, serial, media_id, fs_uuid, source, package, digest, network, port, protocol)
    from_us = moment_us(begin, "--from", time.time_ns() // 1000) if begin else time.time_ns() // 1000
    body = {
        "kind": kind,
        "subject": {**dict(zip(names, values, strict=True)), "vendor_id": vendor, "product_id": product},
        "scope": {"agents": host or [], "users": user or [], "sections": section or [], "zones": zone or []},
        "applicant": applicant,
        "approver": approver,
        "ordinance": cited.ordinance,
        "article": cited.article,
        "reason": reason,
        "from_us": from_us,
        "until_us": _end_us(until, from_us),
        "read_only": read_only,
        "device_class": device_class,
    }
    with connect(context) as api:
        _finish(api, api.post("/permits", body), key, passphrase_file, yes=yes, json=json)


def _end_us(text: str, from_us: int) -> int:
    """A date, or a duration counted from the beginning."""
    if "-" in text:
        return moment_us(text, "--until", from_us)
    return from_us + duration_us(text, "--until")


def revoke(
    context: typer.Context,
    permit: Annotated[str, typer.Argument(help=t("許可の番号", "id of the permit"))],
    *,
    reason: Annotated[str, typer.Option(help=t("理由", "why"))],
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take a permit back; with --key it is gone from PCs at once."""
    with connect(context) as api:
        changed = api.post(f"/permits/{permit}/revoke", {"reason": reason})
        _finish(api, changed, key, passphrase_file, yes=yes, json=json)


def _finish(
    api: Api,
    changed: dict[str, Any],
    key: Path | None,
    passphrase_file: Path | None,
    *,
    yes: bool,
    json: bool,
) -> None:
    """Show the permit, and release when the key is at hand."""
    permit = changed["permit"]
    if not json:
        output.table(COLUMNS, [_row(permit)])
    released = None
    if key is not None:
        released = sign_release(api, key, passphrase_file, f"{permit['id']}: {permit['state']}", yes=yes)
    if json:
        output.json(
            {**changed, "release_due": changed["release_due"] and released is None, "release": released}
        )
    elif released is not None:
        output.line(say(DONE, generation=released["generation"], digest=released["digest"][:12]))
    else:
        output.aside(say(DUE))


def _row(permit: dict[str, Any]) -> dict[str, str]:
    return {
        **{name: str(permit[name]) for name in ("id", "kind", "applicant", "approver", "reason")},
        "state": state(permit["state"]),
        "subject": filled(permit["subject"]),
        "scope": filled(permit["scope"]),
        "article": f"{permit['ordinance']} {permit['article']}",
        "until": output.when(permit["until_us"]),
    }


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("許可", "permits"))
    group.command("list", help=t("許可の一覧", "list permits"))(list_permits)
    group.command(help=t("許可を登録する", "enter a granted permit"))(grant)
    group.command(help=t("許可を取り消す", "take a permit back"))(revoke)
    app.add_typer(group, name="permits")
