"""applications list | show | add | examine | grant | refuse | withdraw."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.client import Api
from collector.operator.commands.common import Json, PassphraseFile, Yes, connect, ground_of
from collector.operator.commands.permit_parts import (
    STEPS,
    Basis,
    Condition,
    ContractOption,
    KeyOption,
    KindArgument,
    Many,
    NoConfidential,
    ReadOnly,
    What,
    begin_us,
    end_us,
    finish,
    pairs,
    scope_of,
    state_name,
    step_row,
    subject_of,
)
from collector.operator.commands.registers import filled
from collector.operator.texts import say, t
from protocol.text import Text

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
ApplicationArgument = Annotated[
    str, typer.Argument(metavar="APPLICATION", help=t("申請の番号", "id of the application"))
]
By = Annotated[str, typer.Option("--by", help=t("だれが（なければ自分）", "by whom (default: yourself)"))]
Why = Annotated[str, typer.Option("--reason", help=t("理由", "why"))]
COLUMNS = (
    (Text("申請", "application"), "id"),
    (Text("状態", "state"), "state"),
    (Text("待ち", "waits"), "waits"),
    (Text("種類", "kind"), "kind"),
    (Text("対象", "subject"), "subject"),
    (Text("申請者", "applicant"), "applicant"),
    (Text("課", "section"), "section"),
    (Text("端末", "host"), "hostname"),
    (Text("目的", "purpose"), "purpose"),
    (Text("日数", "days"), "days"),
    (Text("決められる人", "may decide"), "may_decide"),
    (Text("許可", "permit"), "permit_id"),
)
UNKNOWN = Text("{applicant}（台帳にない）", "{applicant} (in no register)")
GROUNDS = Text("許可の根拠にできる条: {grounds}", "can be granted under: {grounds}")
DAYS, HOURS = Text("{n}日", "{n} d"), Text("{n}時間", "{n} h")


def list_applications(
    context: typer.Context,
    *,
    only: Annotated[
        str,
        typer.Option(
            "--state", help="open | applied | examined | granted | refused | withdrawn | lapsed | all"
        ),
    ] = "open",
    mine: Annotated[
        bool, typer.Option("--mine-to-decide", help=t("自分が決められるもの", "those I may decide"))
    ] = False,
    section: Annotated[str, typer.Option(help=t("課", "section"))] = "",
    json: Json = False,
) -> None:
    """List applications, those that wait longest first."""
    with connect(context) as api:
        found = api.get(
            "/applications", only="" if only == "all" else only, section=section, mine=mine or None
        )
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(_row, found))


def show(context: typer.Context, application: ApplicationArgument, *, json: Json = False) -> None:
    """Show an application with its paper trail."""
    with connect(context) as api:
        found = api.get(f"/applications/{application}")
    if json:
        output.json(found)
        return
    output.table(COLUMNS, [_row(found["application"])])
    output.line("")
    output.table(STEPS, map(step_row, found["trail"]))
    if found["application"]["may_decide"]:
        output.line(say(GROUNDS, grounds=" ".join(found["grounds"])))


def add(
    context: typer.Context,
    kind: KindArgument,
    *,
    applicant: Annotated[str, typer.Option(help=t("申請者", "applicant"))],
    purpose: Annotated[str, typer.Option(help=t("目的", "what for"))],
    days: Annotated[int, typer.Option(min=1, max=3660, help=t("日数", "for how many days"))],
    what: What = None,
    host: Many = None,
    user: Many = None,
    section: Many = None,
    zone: Many = None,
    basis: Basis = "",
    contract: ContractOption = None,
    renews: Annotated[str, typer.Option(help=t("更新する許可", "permit it is to follow"))] = "",
    json: Json = False,
) -> None:
    """Enter an application for somebody."""
    body = {
        "applicant": applicant,
        "kind": kind,
        "subject": subject_of(what),
        "purpose": purpose,
        "days": days,
        "scope": scope_of(host, user, section, zone),
        "basis": basis,
        "contract": pairs(contract, "--contract"),
        "renews": renews,
    }
    with connect(context) as api:
        _show(api.post("/applications", body), json=json)


def examine(
    context: typer.Context,
    application: ApplicationArgument,
    *,
    note: Annotated[str, typer.Option(help=t("調べた結果", "what was found"))],
    by: By = "",
    json: Json = False,
) -> None:
    """Note what an examination found."""
    with connect(context) as api:
        _remark(api, application, "examine", note, by, json=json)


def refuse(
    context: typer.Context,
    application: ApplicationArgument,
    *,
    reason: Why,
    by: By = "",
    json: Json = False,
) -> None:
    """Decide against an application."""
    with connect(context) as api:
        _remark(api, application, "refuse", reason, by, json=json)


def withdraw(
    context: typer.Context, application: ApplicationArgument, *, reason: Why, json: Json = False
) -> None:
    """Take an application back."""
    with connect(context) as api:
        _remark(api, application, "withdraw", reason, "", json=json)


def grant(
    context: typer.Context,
    application: ApplicationArgument,
    *,
    ground: Annotated[str, typer.Option(help=t("条例:条", "ordinance:article"))],
    approver: Annotated[str, typer.Option(help=t("許可者（別の人）", "approver (somebody else)"))],
    reason: Why,
    begin: Annotated[
        str, typer.Option("--from", help=t("から（日付。なければ今）", "from (date; default: now)"))
    ] = "",
    until: Annotated[
        str, typer.Option(help=t("まで（なければ申請の日数）", "until (default: the days applied for)"))
    ] = "",
    host: Many = None,
    user: Many = None,
    section: Many = None,
    zone: Many = None,
    read_only: ReadOnly = False,
    no_confidential: NoConfidential = False,
    condition: Condition = None,
    device_class: Annotated[str, typer.Option(help=t("機器の種類", "device class"))] = "",
    basis: Basis = "",
    contract: ContractOption = None,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Grant an application, with conditions; without a scope it holds where it was applied for."""
    cited, from_us = ground_of(ground), begin_us(begin)
    body = {
        "ordinance": cited.ordinance,
        "article": cited.article,
        "approver": approver,
        "reason": reason,
        "from_us": from_us,
        "until_us": end_us(until, from_us) if until else 0,
        "scope": scope_of(host, user, section, zone) if host or user or section or zone else None,
        "read_only": read_only,
        "no_confidential": no_confidential,
        "conditions": condition or [],
        "device_class": device_class,
        "basis": basis,
        "contract": pairs(contract, "--contract"),
    }
    with connect(context) as api:
        granted = api.post(f"/applications/{application}/grant", body)
        finish(api, granted, key, passphrase_file, yes=yes, json=json)


def _remark(api: Api, application: str, deed: str, reason: str, by: str, *, json: bool) -> None:
    _show(api.post(f"/applications/{application}/{deed}", {"reason": reason, "person": by}), json=json)


def _show(application: dict[str, Any], *, json: bool) -> None:
    if json:
        output.json(application)
    else:
        output.table(COLUMNS, [_row(application)])


def _row(application: dict[str, Any]) -> dict[str, str]:
    names = ("id", "kind", "section", "hostname", "purpose", "permit_id")
    applicant = application["applicant"]
    return {
        **{name: str(application[name]) for name in names},
        "state": state_name(application["state"]),
        "waits": _span(application["waits_us"]),
        "subject": filled(application["subject"]),
        "applicant": applicant if application["known"] else say(UNKNOWN, applicant=applicant),
        "days": str(application["days"]),
        "may_decide": ", ".join(
            f"{one['person']} ({' '.join(one['offices'])})" for one in application["may_decide"]
        ),
    }


def _span(micros: int) -> str:
    if not micros:
        return ""
    text, unit = (DAYS, DAY_US) if micros >= 2 * DAY_US else (HOURS, HOUR_US)
    return say(text, n=micros // unit)


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("許可の申請", "applications for permits"))
    group.command("list", help=t("申請の一覧", "list applications"))(list_applications)
    group.command(help=t("申請の経緯", "an application and its paper trail"))(show)
    group.command(help=t("申請を登録する", "enter an application"))(add)
    group.command(help=t("調べた結果を書く", "note what was found"))(examine)
    group.command(help=t("許可する", "grant an application"))(grant)
    group.command(help=t("断る", "decide against it"))(refuse)
    group.command(help=t("取り下げる", "take it back"))(withdraw)
    app.add_typer(group, name="applications")
