"""``sekisho``: what an operator types. Talks to the collector's API; signs on this side, with keys that stay here.

Exit code: 0 done, 1 refused or failed, 2 wrong usage. ``--json`` on every command; errors go to stderr.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperOption

from collector.operator.client import ProblemError
from collector.operator.commands import (
    account,
    alerts,
    audit,
    hosts,
    keys,
    orders,
    permits,
    policy,
    registers,
)
from collector.operator.commands.common import Run
from collector.operator.output import aside, clean
from collector.operator.texts import NEXT, REFUSALS, REFUSED, WHERE, help_in, say, t
from protocol.refusal import RefusedError
from protocol.text import Lang, Text, language

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=t("関所 — 収集サーバーを操作する", "Sekisho: work with the collector"),
)
for module in (account, hosts, alerts, registers, permits, policy, orders, audit, keys):
    module.add_to(app)


@app.callback()
def options(
    context: typer.Context,
    lang: Annotated[str, typer.Option(help=t("ja または en", "ja or en"))] = "",
    url: Annotated[
        str, typer.Option(help=t("収集サーバーの URL (SEKISHO_URL)", "URL of the collector (SEKISHO_URL)"))
    ] = "",
) -> None:
    """Hold what all commands share."""
    if lang not in {"", "ja", "en"}:
        raise typer.BadParameter("ja | en", param_hint="--lang")
    context.obj = Run(url or None)


def _early_language(arguments: list[str]) -> Lang:
    """The language is needed before the arguments are parsed, for ``--help``."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--lang="):
            return language(argument.partition("=")[2])
        if argument == "--lang" and index + 1 < len(arguments):
            return language(arguments[index + 1])
    return language()


def _localise(command: Any, lang: Lang) -> None:
    command.help = help_in(lang, command.help or "")
    for parameter in command.params:
        if isinstance(parameter, TyperOption | TyperArgument) and parameter.help:
            parameter.help = help_in(lang, parameter.help)
    for inner in getattr(command, "commands", {}).values():
        _localise(inner, lang)


def explain(name: str, detail: str, hint: str) -> None:
    """Print an error: what, where, what next."""
    meaning = REFUSALS.get(name, Text(name, name))
    aside(say(REFUSED, name=name, meaning=say(meaning)))
    if detail:
        aside(say(WHERE, detail=clean(detail)))
    if hint:
        aside(say(NEXT, hint=clean(hint)))


def main(argv: list[str] | None = None) -> None:
    """Run one command. Ends with SystemExit."""
    arguments = sys.argv[1:] if argv is None else argv
    say.lang = _early_language(arguments)
    command = typer.main.get_command(app)
    _localise(command, say.lang)
    try:
        command.main(args=arguments, prog_name="sekisho")
    except (ProblemError, RefusedError) as error:
        explain(error.name, error.detail, error.hint)
        sys.exit(1)
    except OSError as error:
        explain("file", str(error), "")
        sys.exit(1)


if __name__ == "__main__":
    main()
