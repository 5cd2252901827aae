"""``sekisho``: what an operator types. Talks to the collector's API; signs on this side, with keys that stay here.

Exit code: 0 done, 1 refused or failed, 2 wrong usage. ``--json`` on every command; errors go to stderr.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from collector.operator.client import ProblemError
from collector.operator.commands import (
    account,
    alerts,
    applications,
    audit,
    coverage,
    hosts,
    imports,
    indicators,
    inspections,
    keys,
    neighbours,
    orders,
    ordinances,
    permits,
    policy,
    registers,
    reviews,
    transfers,
)
from collector.operator.commands import explain as explanations
from collector.operator.commands.common import Run
from collector.operator.frame import explain, localise, take_language
from collector.operator.texts import say, t
from protocol.refusal import RefusedError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=t("関所 — 収集サーバーを操作する", "Sekisho: work with the collector"),
)
for module in (
    account,
    hosts,
    alerts,
    explanations,
    registers,
    imports,
    permits,
    applications,
    policy,
    ordinances,
    neighbours,
    orders,
    coverage,
    inspections,
    reviews,
    indicators,
    transfers,
    audit,
    keys,
):
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


def main(argv: list[str] | None = None) -> None:
    """Run one command. Ends with SystemExit."""
    say.lang, arguments = take_language(sys.argv[1:] if argv is None else argv)
    command = typer.main.get_command(app)
    localise(command, say.lang)
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
