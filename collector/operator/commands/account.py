"""login, logout, whoami, health."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collector.operator import output, session
from collector.operator.client import Api
from collector.operator.commands.common import Json, Run, connect, read_passphrase
from collector.operator.texts import NAME, PASSWORD, SIGNED_IN, SIGNED_OUT, role, say, t
from protocol.text import Text

HEALTH = Text(
    "{status} — 端末 {online}/{hosts} が応答、方針の世代 {generation}",
    "{status}: {online}/{hosts} PCs online, policy generation {generation}",
)


def login(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Option(help=t("操作者の名前", "operator name"))] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(help=t("パスワードを書いたファイル (0600)", "file that holds the password (0600)")),
    ] = None,
    json: Json = False,
) -> None:
    """Sign in for eight hours."""
    run: Run = context.obj
    url = session.url(run.url)
    name = name or typer.prompt(say(NAME), err=True)
    password = (
        read_passphrase(password_file)
        if password_file
        else typer.prompt(say(PASSWORD), hide_input=True, err=True)
    )
    with Api(url) as api:
        answer = api.post("/sessions", {"name": name, "password": password})
    saved = session.SavedSession(
        url, answer["token"], answer["operator"], answer["role"], answer["expires_us"]
    )
    session.save(saved)
    if json:
        output.json(
            {"url": url, "operator": saved.operator, "role": saved.role, "expires_us": saved.expires_us}
        )
    else:
        until = output.when(saved.expires_us)
        output.line(say(SIGNED_IN, operator=saved.operator, role=role(saved.role), until=until))


def logout(context: typer.Context, *, json: Json = False) -> None:
    """Sign out; the session is worthless afterwards."""
    try:
        with connect(context) as api:
            api.delete("/sessions")
    finally:
        session.forget()
    if json:
        output.json({"signed_in": False})
    else:
        output.line(say(SIGNED_OUT))


def whoami(context: typer.Context, *, json: Json = False) -> None:
    """Who is signed in, and where."""
    with connect(context) as api:
        me = api.get("/me")
    if json:
        output.json(me)
    else:
        output.line(" ".join(filter(None, [me["city"], me["operator"], role(me["role"]), me["section"]])))


def health(context: typer.Context, *, json: Json = False) -> None:
    """Whether the collector is well; needs no sign-in."""
    run: Run = context.obj
    with Api(session.url(run.url)) as api:
        answer = api.get("/health")
    if json:
        output.json(answer)
        return
    output.line(say(HEALTH, **answer))
    for problem in answer["problems"]:
        output.line(f"  {problem}")


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    app.command(help=t("サインインする（8時間）", "sign in (8 hours)"))(login)
    app.command(help=t("サインアウトする", "sign out"))(logout)
    app.command(help=t("誰としてサインインしているか", "who is signed in"))(whoami)
    app.command(help=t("収集サーバーの健康", "is the collector well?"))(health)
