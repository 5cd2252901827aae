"""``sekisho-collector``: the collector's service and its administration on the machine itself.

Exit code: 0 done, 1 refused or failed, 2 wrong usage. Errors go to stderr: what, where, what next.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperOption

from collector.cli import agents, checks, operators, service, setup, tokens
from collector.desk.site import SiteError
from collector.operator.output import aside, clean
from collector.operator.texts import NEXT, REFUSALS, REFUSED, WHERE, help_in, say, t
from policies.source import SourceError
from protocol.refusal import RefusedError
from protocol.text import Lang, Text, language

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=t("関所 — 収集サーバーの運用", "Sekisho: the collector's service"),
)
for module in (setup, service, checks, tokens, agents, operators):
    module.add_to(app)


@app.callback()
def options(lang: Annotated[str, typer.Option(help=t("ja または en", "ja or en"))] = "") -> None:
    """Hold what all commands share; the language itself was taken before parsing."""
    if lang not in {"", "ja", "en"}:
        raise typer.BadParameter("ja | en", param_hint="--lang")


def take_language(arguments: list[str]) -> tuple[Lang, list[str]]:
    """The language, and the arguments with ``--lang`` first, so that it may stand anywhere."""
    rest, chosen = [], ""
    words = iter(arguments)
    for word in words:
        if word == "--lang":
            chosen = next(words, "")
        elif word.startswith("--lang="):
            chosen = word.partition("=")[2]
        else:
            rest.append(word)
    return language(chosen or None), [*(["--lang", chosen] if chosen else []), *rest]


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
    say.lang, arguments = take_language(sys.argv[1:] if argv is None else argv)
    command = typer.main.get_command(app)
    _localise(command, say.lang)
    try:
        command.main(args=arguments, prog_name="sekisho-collector")
    except RefusedError as error:
        explain(error.name, error.detail, error.hint)
    except (SiteError, SourceError) as error:
        explain("bad_site_file" if isinstance(error, SiteError) else "bad_value", str(error), "")
    except OSError as error:
        explain("file", str(error), "")
    sys.exit(1)
