"""operators add | list | disable | passwd."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import delete, select

from collector.cli.common import DATA, Data, audited, opened
from collector.operator import output
from collector.operator.commands.common import Json, read_passphrase
from collector.operator.texts import PASSWORD, role, say, t
from collector.registers.models import Operator, Session
from collector.registers.store import now_us
from protocol.refusal import RefusedError
from protocol.text import Text

COLUMNS = (
    (Text("名前", "name"), "name"),
    (Text("役割", "role"), "role"),
    (Text("課", "section"), "section"),
    (Text("職員", "person"), "person"),
    (Text("有効", "active"), "active"),
)
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("アカウント名", "account name"))]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help=t("パスワードを書いたファイル (0600)", "file that holds the password (0600)")
    ),
]


def read_password(file: Path | None) -> str:
    """From the file, or asked twice. Raises RefusedError ``bad_value`` when nobody can be asked; OSError."""
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        raise RefusedError("bad_value", "no terminal to ask for the password on", "give --password-file")
    return str(typer.prompt(say(PASSWORD), hide_input=True, confirmation_prompt=True, err=True))


def add(
    name: Name,
    *,
    role: Annotated[
        str,
        typer.Option(help="it_staff | network_admin | section_head | ciso | auditor"),
    ],
    section: Annotated[
        str, typer.Option(help=t("所管課（section_head には必須）", "section (a section_head needs it)"))
    ] = "",
    person: Annotated[str, typer.Option(help=t("職員の登録名", "login name in the register of people"))] = "",
    password_file: PasswordFile = None,
    data: Data = DATA,
) -> None:
    """Make an account."""
    from collector.console.accounts import add_operator  # brings the web framework along

    password = read_password(password_file)
    with opened(data) as store, store.write() as session:
        add_operator(
            session, name, password, role, now_us=now_us(), section=section, person_id=person or None
        )
        audited(session, "operators add", {"name": name, "role": role, "section": section})


def listing(*, data: Data = DATA, json: Json = False) -> None:
    """List accounts."""
    with opened(data) as store, store.read() as session:
        rows = list(session.scalars(select(Operator).order_by(Operator.name)))
    if json:
        output.json(
            [
                {
                    "name": row.name,
                    "role": row.role,
                    "section": row.section,
                    "person": row.person_id or "",
                    "active": row.active,
                    "locked_until_us": row.locked_until_us,
                    "created_us": row.created_us,
                }
                for row in rows
            ]
        )
        return
    output.table(
        COLUMNS,
        [
            {
                "name": row.name,
                "role": role(row.role),
                "section": row.section,
                "person": row.person_id or "",
                "active": "○" if row.active else "×",
            }
            for row in rows
        ],
    )


def disable(name: Name, *, data: Data = DATA) -> None:
    """Close an account; its sessions end at once."""
    with opened(data) as store, store.write() as session:
        row = session.get(Operator, name)
        if row is None:
            raise RefusedError("not_found", f"no operator {name}", "sekisho-collector operators list")
        others = session.scalars(select(Operator.name).where(Operator.active, Operator.name != name)).first()
        if others is None:
            raise RefusedError("bad_value", f"{name} is the last open account", "add another one first")
        row.active = False
        session.execute(delete(Session).where(Session.operator == name))
        audited(session, "operators disable", {"name": name})


def passwd(name: Name, *, password_file: PasswordFile = None, data: Data = DATA) -> None:
    """Set a new password, open the account again, end its sessions."""
    from collector.console.accounts import hash_password  # brings the web framework along

    hashed = hash_password(read_password(password_file))
    with opened(data) as store, store.write() as session:
        row = session.get(Operator, name)
        if row is None:
            raise RefusedError("not_found", f"no operator {name}", "sekisho-collector operators list")
        row.password_hash, row.active, row.failures, row.locked_until_us = hashed, True, 0, 0
        session.execute(delete(Session).where(Session.operator == name))
        audited(session, "operators passwd", {"name": name})


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("操作者のアカウント", "accounts of operators"))
    group.command(help=t("作る", "make one"))(add)
    group.command("list", help=t("一覧", "list them"))(listing)
    group.command(help=t("閉じる", "close one"))(disable)
    group.command(help=t("パスワードを変える", "set a password"))(passwd)
    app.add_typer(group, name="operators")
