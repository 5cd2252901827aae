"""permits list | show | use | grant | renew | revoke | release. With the policy key at hand the release follows at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from collector.operator import output
from collector.operator.commands.common import (
    Json,
    PassphraseFile,
    ReasonOption,
    Yes,
    connect,
    duration_us,
    ground_of,
)
from collector.operator.commands.permit_parts import (
    COLUMNS,
    DONE,
    STEPS,
    UP_TO_DATE,
    USES,
    Basis,
    Condition,
    ContractOption,
    KeyOption,
    KindArgument,
    Many,
    NoConfidential,
    PermitArgument,
    ReadOnly,
    What,
    begin_us,
    end_us,
    finish,
    pairs,
    permit_row,
    scope_of,
    step_row,
    subject_of,
    use_row,
)
from collector.operator.permit_signing import release_permits
from collector.operator.texts import say, t

Value = Annotated[str, typer.Option(help=t("対象", "what is permitted"))]
Approver = Annotated[str, typer.Option(help=t("許可者（別の人）", "approver (somebody else)"))]
Why = Annotated[str, typer.Option("--reason", help=t("理由", "why"))]
Until = Annotated[str, typer.Option(help=t("まで（30d、2027-03-31）", "until (30d, 2027-03-31)"))]


def list_permits(
    context: typer.Context,
    *,
    only: Annotated[
        str, typer.Option("--state", help="pending | granted | expired | renewed | revoked")
    ] = "",
    kind: Annotated[str, typer.Option(help=t("種類", "kind"))] = "",
    expiring: Annotated[
        str, typer.Option(help=t("この間に切れるもの（30d）", "those that end within this (30d)"))
    ] = "",
    json: Json = False,
) -> None:
    """List permits."""
    within = duration_us(expiring, "--expiring") if expiring else None
    with connect(context) as api:
        found = api.get("/permits", only=only, kind=kind, expiring_us=within)
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(permit_row, found))


def show(context: typer.Context, permit: PermitArgument, *, json: Json = False) -> None:
    """Show a permit with its paper trail and use log."""
    with connect(context) as api:
        found = api.get(f"/permits/{permit}")
    if json:
        output.json(found)
        return
    output.table(COLUMNS, [permit_row(found["permit"])])
    output.line("")
    output.table(STEPS, map(step_row, found["trail"]))
    output.line("")
    output.table(USES, map(use_row, found["uses"]))


def use(context: typer.Context, permit: PermitArgument, *, json: Json = False) -> None:
    """Show the use log of a permit."""
    with connect(context) as api:
        found = api.get(f"/permits/{permit}/use")
    if json:
        output.json(found)
    else:
        output.table(USES, map(use_row, found))


def grant(
    context: typer.Context,
    kind: KindArgument,
    *,
    applicant: Annotated[str, typer.Option(help=t("申請者", "applicant"))],
    approver: Approver,
    ground: Annotated[str, typer.Option(help=t("条例:条", "ordinance:article"))],
    reason: Why,
    until: Until,
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
    what: What = None,
    device_class: Annotated[str, typer.Option(help=t("機器の種類", "device class"))] = "",
    host: Many = None,
    user: Many = None,
    section: Many = None,
    zone: Many = None,
    read_only: ReadOnly = False,
    no_confidential: NoConfidential = False,
    condition: Condition = None,
    basis: Basis = "",
    contract: ContractOption = None,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Enter a granted permit."""
    cited, (vendor, _, product), from_us = ground_of(ground), usb.partition(":"), begin_us(begin)
    given = {
        "device_id": device_id, "vendor_id": vendor, "product_id": product, "serial": serial, "media_id": media_id,
        "fs_uuid": fs_uuid, "source": source, "package": package, "digest": digest, "network": network, "port": port,
        "protocol": protocol,
    }  # fmt: skip
    body = {
        "kind": kind,
        "subject": {**given, **subject_of(what)},
        "scope": scope_of(host, user, section, zone),
        "applicant": applicant,
        "approver": approver,
        "ordinance": cited.ordinance,
        "article": cited.article,
        "reason": reason,
        "from_us": from_us,
        "until_us": end_us(until, from_us),
        "read_only": read_only,
        "no_confidential": no_confidential,
        "conditions": condition or [],
        "device_class": device_class,
        "basis": basis,
        "contract": pairs(contract, "--contract"),
    }
    with connect(context) as api:
        finish(api, api.post("/permits", body), key, passphrase_file, yes=yes, json=json)


def renew(
    context: typer.Context,
    permit: PermitArgument,
    *,
    approver: Approver,
    reason: Why,
    until: Annotated[
        str,
        typer.Option(help=t("まで（日付、または今から 365d）", "until (a date, or 365d from now)")),
    ],
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Grant a permit anew: it goes on from its end, with the same conditions, under the same article."""
    body = {"approver": approver, "reason": reason, "until_us": end_us(until, time.time_ns() // 1000)}
    with connect(context) as api:
        finish(api, api.post(f"/permits/{permit}/renew", body), key, passphrase_file, yes=yes, json=json)


def revoke(
    context: typer.Context,
    permit: PermitArgument,
    *,
    reason: Why,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take a permit back; with --key it is gone from PCs at once, and nothing else is released with it."""
    with connect(context) as api:
        changed = api.post(f"/permits/{permit}/revoke", {"reason": reason})
        finish(api, changed, key, passphrase_file, yes=yes, json=json, extent="revoked")


def release(
    context: typer.Context,
    *,
    key: Annotated[Path, typer.Option("--key", help=t("方針の署名鍵", "policy key"))],
    revoked: Annotated[
        bool, typer.Option("--revoked", help=t("取り消しだけ", "only take away what was revoked"))
    ] = False,
    reason: ReasonOption = "",
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring PCs to the register of permits, without any other change of the policy."""
    with connect(context) as api:
        released = release_permits(
            api,
            key,
            passphrase_file,
            reason=reason or "permits release",
            yes=yes,
            extent="revoked" if revoked else "all",
        )
    if json:
        output.json(released)
    elif released:
        for one in released:
            output.line(say(DONE, generation=one["generation"], digest=one["digest"][:12]))
    else:
        output.aside(say(UP_TO_DATE))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("許可", "permits"))
    group.command("list", help=t("許可の一覧", "list permits"))(list_permits)
    group.command(help=t("許可の経緯と使用記録", "a permit, its paper trail and use log"))(show)
    group.command(help=t("許可の使用記録", "use log of a permit"))(use)
    group.command(help=t("許可を登録する", "enter a granted permit"))(grant)
    group.command(help=t("許可を更新する", "grant a permit anew"))(renew)
    group.command(help=t("許可を取り消す", "take a permit back"))(revoke)
    group.command(help=t("許可だけを端末に配る", "release permits only"))(release)
    app.add_typer(group, name="permits")
