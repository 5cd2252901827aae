"""What ``sekisho`` and ``sekisho-collector`` share as commands: language before parsing, and how errors are told."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperOption

from collector.operator.output import aside, clean
from collector.operator.texts import NEXT, REFUSALS, REFUSED, WHERE, help_in, say
from protocol.text import Lang, Text, language


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


def localise(command: Any, lang: Lang) -> None:
    """Put all help texts of a command and those below it into one language."""
    command.help = help_in(lang, command.help or "")
    for parameter in command.params:
        if isinstance(parameter, TyperOption | TyperArgument) and parameter.help:
            parameter.help = help_in(lang, parameter.help)
    for inner in getattr(command, "commands", {}).values():
        localise(inner, lang)


def explain(name: str, detail: str, hint: str) -> None:
    """Print an error: what, where, what next."""
    meaning = REFUSALS.get(name, Text(name, name))
    aside(say(REFUSED, name=name, meaning=say(meaning)))
    if detail:
        aside(say(WHERE, detail=clean(detail)))
    if hint:
        aside(say(NEXT, hint=clean(hint)))
