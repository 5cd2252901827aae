"""people and assets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.texts import t
from protocol.text import Text

Section = Annotated[str, typer.Option(help=t("課", "section"))]

PEOPLE = (
    (Text("ログイン名", "login"), "id"),
    (Text("氏名", "name"), "name"),
    (Text("課", "section"), "section"),
    (Text("職", "offices"), "roles"),
)
ASSETS = (
    (Text("番号", "id"), "id"),
    (Text("種類", "kind"), "kind"),
    (Text("課", "section"), "section"),
    (Text("何", "subject"), "subject"),
    (Text("備考", "note"), "note"),
)


def filled(subject: dict[str, Any]) -> str:
    """A subject or scope in one line: its filled fields."""
    return " ".join(f"{name}={value}" for name, value in subject.items() if value)


def list_people(context: typer.Context, *, section: Section = "", json: Json = False) -> None:
    """List people; with a subcommand, do that instead."""
    if context.invoked_subcommand is not None:
        return
    with connect(context) as api:
        people = api.get("/people", section=section)
    if json:
        output.json(people)
    else:
        output.table(PEOPLE, [{**person, "roles": " ".join(person["roles"])} for person in people])


def add_person(
    context: typer.Context,
    login: Annotated[str, typer.Argument(help=t("ログイン名", "login name"))],
    name: Annotated[str, typer.Argument(help=t("氏名", "name"))],
    *,
    section: Section = "",
    office: Annotated[
        list[str] | None,
        typer.Option(
            help=t("条例のいう職（network_manager など）", "office as ordinances name it (network_manager …)")
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Register a person."""
    with connect(context) as api:
        person = api.post("/people", {"id": login, "name": name, "section": section, "roles": office or []})
    if json:
        output.json(person)
    else:
        output.table(PEOPLE, [{**person, "roles": " ".join(person["roles"])}])


def list_assets(context: typer.Context, *, section: Section = "", json: Json = False) -> None:
    """List assets; with a subcommand, do that instead."""
    if context.invoked_subcommand is not None:
        return
    with connect(context) as api:
        assets = api.get("/assets", section=section)
    if json:
        output.json(assets)
    else:
        output.table(ASSETS, [{**asset, "subject": filled(asset["subject"])} for asset in assets])


def add_asset(
    context: typer.Context,
    asset: Annotated[str, typer.Argument(help=t("資産番号", "asset number"))],
    kind: Annotated[str, typer.Argument(help="device | medium | pc | printer | server | network | other")],
    *,
    device_id: Annotated[str, typer.Option(help=t("機器の識別子", "device id"))] = "",
    usb: Annotated[str, typer.Option(help=t("vendor:product（16進）", "vendor:product in hex"))] = "",
    serial: Annotated[str, typer.Option(help=t("製造番号", "serial number"))] = "",
    media_id: Annotated[str, typer.Option(help=t("媒体の識別子", "medium id"))] = "",
    fs_uuid: Annotated[str, typer.Option(help=t("ファイルシステムの UUID", "file system UUID"))] = "",
    mac: Annotated[str, typer.Option(help=t("MAC アドレス", "MAC address"))] = "",
    section: Section = "",
    note: Annotated[str, typer.Option(help=t("備考", "note"))] = "",
    json: Json = False,
) -> None:
    """Register something the city owns; a MAC counts at once, the rest with the next policy release."""
    vendor, _, product = usb.partition(":")
    subject = {
        "device_id": device_id,
        "vendor_id": vendor,
        "product_id": product,
        "serial": serial,
        "media_id": media_id,
        "fs_uuid": fs_uuid,
        "mac": mac,
    }
    with connect(context) as api:
        added = api.post(
            "/assets", {"id": asset, "kind": kind, "subject": subject, "section": section, "note": note}
        )
    if json:
        output.json(added)
    else:
        output.table(ASSETS, [{**added, "subject": filled(added["subject"])}])


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    people = typer.Typer(invoke_without_command=True, help=t("人の台帳", "the register of people"))
    people.callback()(list_people)
    people.command("add", help=t("人を登録する", "register a person"))(add_person)
    app.add_typer(people, name="people")
    assets = typer.Typer(invoke_without_command=True, help=t("資産の台帳", "the register of assets"))
    assets.callback()(list_assets)
    assets.command("add", help=t("資産を登録する", "register an asset"))(add_asset)
    app.add_typer(assets, name="assets")
