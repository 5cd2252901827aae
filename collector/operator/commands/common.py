"""What several commands share: options, asking, keys, durations."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from collector.operator.client import Api, signed_in
from collector.operator.keyfile import load_key, read_header
from collector.operator.output import aside
from collector.operator.texts import CONFIRM, NEEDS_YES, PASSPHRASE, STOPPED, say, t
from protocol.keys import SignPair, read_private
from protocol.orders import Ground

Json = Annotated[bool, typer.Option("--json", help=t("JSON で出す", "print JSON"))]
Yes = Annotated[bool, typer.Option("--yes", help=t("確かめずに進む", "do not ask"))]
ReasonOption = Annotated[
    str, typer.Option("--reason", help=t("理由（監査記録に残る）", "why; goes into the audit log"))
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help=t("合言葉を書いたファイル (0600)", "file that holds the passphrase (0600)")),
]
HostArgument = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help=t("端末の名前か、指紋の初め", "host name, or the beginning of its fingerprint")
    ),
]


class Run(Struct, frozen=True):
    """Options of this run."""

    url: str | None


def connect(context: typer.Context) -> Api:
    """A connection with the saved sign-in. Raises ProblemError."""
    run: Run = context.obj
    return signed_in(run.url)


def ask(*, yes: bool) -> None:
    """Go on only when the operator says so. Ends the command with 1 on no, 2 when nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        aside(say(NEEDS_YES))
        raise typer.Exit(2)
    if not typer.confirm(say(CONFIRM), err=True):
        aside(say(STOPPED))
        raise typer.Exit(1)


def read_passphrase(file: Path) -> str:
    """First line of a file that only its owner can read. Raises RefusedError ``foreign``; OSError."""
    return read_private(file).decode().splitlines()[0]


def open_key(path: Path, passphrase_file: Path | None) -> SignPair:
    """Open a key file, asking for its passphrase when it is closed. Raises RefusedError by name."""
    if read_header(path).kdf == "none":
        return load_key(path, None)
    if passphrase_file is not None:
        return load_key(path, read_passphrase(passphrase_file))
    if not sys.stdin.isatty():
        return load_key(path, None)  # refused with the hint to give --passphrase-file
    return load_key(path, typer.prompt(say(PASSPHRASE, path=path), hide_input=True, err=True))


_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration_us(text: str, option: str) -> int:
    """``30m``, ``4h``, ``7d``, ``2w`` in µs. Raises typer.BadParameter."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise typer.BadParameter("30m | 4h | 7d | 2w", param_hint=option)
    return int(found[1]) * _SECONDS[found[2]] * 1_000_000


def ground_of(text: str) -> Ground:
    """``nagoya:第58条``. Raises typer.BadParameter."""
    ordinance, _, article = text.partition(":")
    if not ordinance.strip() or not article.strip():
        raise typer.BadParameter("ORDINANCE:ARTICLE, nagoya:第58条", param_hint="--ground")
    return Ground(ordinance.strip(), article.strip())
