"""tokens create | list | revoke."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from collector.cli.common import DATA, Data, actor, audited, opened
from collector.config import Layout
from collector.desk.site import load_site
from collector.desk.trust import trust_in_force
from collector.operator import output
from collector.operator.commands.common import Json, duration_us
from collector.operator.texts import say, t
from collector.registers.models import Token
from collector.registers.store import now_us
from collector.registers.tokens import issue_token, list_tokens, revoke_token, token_state, token_text
from protocol.refusal import RefusedError
from protocol.text import Text

MADE = Text(
    "登録票（一度だけ表示します）:\n\n  {token}\n\n"
    "端末で: sekisho-agent enrol --collector {address} --token （上の文字列）\n区域 {zone}、{uses} 台まで、{until} まで",
    "enrolment token (shown once):\n\n  {token}\n\n"
    "on the PC: sekisho-agent enrol --collector {address} --token (the text above)\nzone {zone}, {uses} PCs, until {until}",
)
COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("区域", "zone"), "zone"),
    (Text("課", "section"), "section"),
    (Text("残り", "left"), "left"),
    (Text("期限", "expires"), "expires"),
    (Text("状態", "state"), "state"),
    (Text("作成者", "made by"), "created_by"),
)
STATES = {
    "usable": Text("有効", "usable"),
    "revoked": Text("取消", "revoked"),
    "expired": Text("期限切れ", "expired"),
    "used_up": Text("使用済み", "used up"),
}


def create(
    *,
    zone: Annotated[str, typer.Option(help=t("端末の区域", "zone of the PCs"))],
    section: Annotated[str, typer.Option(help=t("所管課", "section"))] = "",
    uses: Annotated[int, typer.Option(min=1, max=100_000, help=t("何台まで", "how many PCs"))] = 1,
    expires: Annotated[str, typer.Option(help=t("有効な長さ（7d, 12h）", "valid for (7d, 12h)"))] = "7d",
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Make a token."""
    lifetime_us = duration_us(expires, "--expires")
    check_zone(data, zone)
    with opened(data) as store, store.write() as session:
        root = trust_in_force(session)
        row, secret = issue_token(
            session,
            zone=zone,
            section=section,
            uses=uses,
            lifetime_us=lifetime_us,
            created_by=actor(),
            now_us=now_us(),
        )
        audited(session, "tokens create", {"id": row.id, "zone": zone, "section": section, "uses": uses})
    text = token_text(root.collector_key, root.root_key, secret)
    if json:
        output.json({**facts(row), "token": text})
    else:
        until = output.when(row.expires_us)
        output.line(say(MADE, token=text, address=root.addresses[0], zone=zone, uses=uses, until=until))


def check_zone(data: Path, zone: str) -> None:
    """The zone stands in the site file. Raises RefusedError ``bad_value``; SiteError; OSError."""
    site = load_site(Layout(data).policy)
    names = [*(one.name for one in site.zones), site.unassigned_zone]
    if zone not in names:
        raise RefusedError(
            "bad_value", f"zone {zone!r} is not defined in policy.yaml", "zones: " + ", ".join(names)
        )


def facts(row: Token) -> dict[str, Any]:
    """A token for a program; never its secret."""
    return {
        "id": row.id,
        "zone": row.zone,
        "section": row.section,
        "uses": row.uses,
        "left": row.uses_left,
        "expires_us": row.expires_us,
        "created_us": row.created_us,
        "created_by": row.created_by,
        "state": token_state(row, now_us()),
    }


def listing(*, data: Data = DATA, json: Json = False) -> None:
    """List tokens."""
    with opened(data) as store, store.read() as session:
        found = [facts(row) for row in list_tokens(session)]
    if json:
        output.json(found)
        return
    output.table(
        COLUMNS,
        [
            {
                **one,
                "left": f"{one['left']}/{one['uses']}",
                "expires": output.when(one["expires_us"]),
                "state": say(STATES[one["state"]]),
            }
            for one in found
        ],
    )


def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help=t("一覧の番号", "id from the list"))],
    *,
    data: Data = DATA,
) -> None:
    """Make a token worthless."""
    with opened(data) as store, store.write() as session:
        revoke_token(session, token_id)
        audited(session, "tokens revoke", {"id": token_id})


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("端末の登録票", "enrolment tokens"))
    group.command(help=t("作る", "make one"))(create)
    group.command("list", help=t("一覧", "list them"))(listing)
    group.command(help=t("取り消す", "revoke one"))(revoke)
    app.add_typer(group, name="tokens")
