"""keys new | show: signing keys on the operator's own side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collector.operator import output
from collector.operator.commands.common import Json, PassphraseFile, read_passphrase
from collector.operator.keyfile import read_header, save_key
from collector.operator.texts import NEW_PASSPHRASE, say, t
from protocol.keys import fingerprint, new_sign_pair
from protocol.text import Text

File = Annotated[Path, typer.Argument(help=t("鍵のファイル", "key file"))]
MADE = Text(
    "鍵を {path} に作りました。指紋 {id}\n公開鍵 {public}",
    "made key {path}, fingerprint {id}\npublic key {public}",
)
SHOWN = Text(
    "指紋 {id}\n公開鍵 {public}\n合言葉 {closed}",
    "fingerprint {id}\npublic key {public}\npassphrase {closed}",
)
BACKUP = Text(
    "控えを別の場所に。失くした鍵は作り直せません", "keep a copy elsewhere: a lost key cannot be made again"
)


def new(
    path: File,
    *,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool,
        typer.Option(
            "--no-passphrase",
            help=t("合言葉なし（機械が使う鍵だけ）", "without a passphrase (keys of machines only)"),
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Make a key pair and close it with a passphrase."""
    passphrase: str | None = None
    if passphrase_file is not None:
        passphrase = read_passphrase(passphrase_file)
    elif not no_passphrase:
        passphrase = typer.prompt(say(NEW_PASSPHRASE), hide_input=True, confirmation_prompt=True, err=True)
    pair = new_sign_pair()
    save_key(path, pair, passphrase)
    facts = {"path": str(path), "id": fingerprint(pair.public), "public": pair.public.hex()}
    if json:
        output.json(facts)
    else:
        output.line(say(MADE, **facts))
        output.aside(say(BACKUP))


def show(path: File, *, json: Json = False) -> None:
    """Show fingerprint and public key; needs no passphrase."""
    header = read_header(path)
    facts = {"path": str(path), "id": fingerprint(header.public), "public": header.public.hex()}
    if json:
        output.json({**facts, "closed": header.kdf != "none"})
    else:
        output.line(say(SHOWN, **facts, closed="○" if header.kdf != "none" else "×"))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("署名鍵", "signing keys"))
    group.command(help=t("鍵を作る", "make a key"))(new)
    group.command(help=t("指紋を見る", "show the fingerprint"))(show)
    app.add_typer(group, name="keys")
