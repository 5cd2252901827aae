"""keys new | show | passphrase: signing keys on the operator's own side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collector.operator import output
from collector.operator.commands.common import Json, PassphraseFile, open_key, read_passphrase
from collector.operator.keyfile import close_anew, public_text, read_header, save_key
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
CLOSED = Text(
    "鍵 {path} を新しい合言葉で閉じました。指紋 {id}", "key {path} has a new passphrase, fingerprint {id}"
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
    """Make a key pair and close it with a passphrase; the public key goes beside it as ``.pub``."""
    passphrase = None if no_passphrase else _new_passphrase(passphrase_file)
    pair = new_sign_pair()
    save_key(path, pair, passphrase)
    path.with_suffix(".pub").write_text(public_text(pair.public, path.stem), encoding="ascii")
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


def passphrase(
    path: File,
    *,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(help=t("新しい合言葉のファイル (0600)", "file that holds the new passphrase (0600)")),
    ] = None,
    json: Json = False,
) -> None:
    """Close a key with another passphrase."""
    pair = open_key(path, passphrase_file)
    close_anew(path, pair, _new_passphrase(new_passphrase_file))
    facts = {"path": str(path), "id": fingerprint(pair.public)}
    if json:
        output.json(facts)
    else:
        output.line(say(CLOSED, **facts))


def _new_passphrase(file: Path | None) -> str:
    if file is not None:
        return read_passphrase(file)
    return str(typer.prompt(say(NEW_PASSPHRASE), hide_input=True, confirmation_prompt=True, err=True))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("署名鍵", "signing keys"))
    group.command(help=t("鍵を作る", "make a key"))(new)
    group.command(help=t("指紋を見る", "show the fingerprint"))(show)
    group.command(help=t("合言葉を変える", "change the passphrase"))(passphrase)
    app.add_typer(group, name="keys")
