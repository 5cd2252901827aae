"""``sekisho-collector``: the collector's service and its administration on the machine itself.

Exit code: 0 done, 1 refused or failed, 2 wrong usage. Errors go to stderr: what, where, what next.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from collector.cli import agents, checks, operators, ordinances, rules, service, setup, tokens
from collector.desk.site import SiteError
from collector.operator.frame import explain, localise, take_language
from collector.operator.texts import say, t
from policies.source import SourceError
from protocol.refusal import RefusedError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=t("関所 — 収集サーバーの運用", "Sekisho: the collector's service"),
)
for module in (setup, service, checks, tokens, agents, operators, ordinances, rules):
    module.add_to(app)


@app.callback()
def options(lang: Annotated[str, typer.Option(help=t("ja または en", "ja or en"))] = "") -> None:
    """Hold what all commands share; the language itself was taken before parsing."""
    if lang not in {"", "ja", "en"}:
        raise typer.BadParameter("ja | en", param_hint="--lang")


def main(argv: list[str] | None = None) -> None:
    """Run one command. Ends with SystemExit."""
    say.lang, arguments = take_language(sys.argv[1:] if argv is None else argv)
    command = typer.main.get_command(app)
    localise(command, say.lang)
    try:
        command.main(args=arguments, prog_name="sekisho-collector")
    except RefusedError as error:
        explain(error.name, error.detail, error.hint)
    except (SiteError, SourceError) as error:
        explain("bad_site_file" if isinstance(error, SiteError) else "bad_value", str(error), "")
    except OSError as error:
        explain("file", str(error), "")
    sys.exit(1)
