"""rules test | check. The compiler (pySigma) is imported by those who need it: only these two commands do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collector.cli.common import DATA, Data
from collector.config import Layout
from collector.desk.law import installed_ordinances
from collector.desk.site import load_site
from collector.operator import output
from collector.operator.commands.common import Json
from collector.operator.texts import say, t
from policies.shipped import shipped_directory, shipped_library
from protocol.refusal import RefusedError
from protocol.text import Text

if TYPE_CHECKING:
    from policies.compile import Library

STATES = {
    "loaded": Text("○ 読み込める", "loaded"),
    "limited": Text("△ 一部の項目なしで読み込める", "loaded without some fields"),
    "not_collected": Text("－ 読み込まない（収集していない）", "not loaded (not collected)"),
    "refused": Text("× 誤りがある", "REFUSED"),
}
COLUMNS = (
    (Text("結果", "state"), "state"),
    (Text("件数", "rules"), "count"),
    (Text("理由", "reason"), "reason"),
)
PLACES = ((Text("どこ", "where"), "where"), (Text("何が", "what"), "what"), (Text("次に", "next"), "hint"))


def run_tests(
    directory: Annotated[
        Path | None, typer.Argument(help=t("規則の場所（既定: 同梱）", "rules (default: those shipped)"))
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Compile, lint and test rules."""
    from policies.testing import check_rules

    report = check_rules(directory or shipped_directory("rules"))
    output.line(report.json() if json else str(report))
    raise typer.Exit(0 if report.ok else 1)


def check(
    directory: Annotated[
        Path | None,
        typer.Argument(help=t("規則の場所（既定: データの rules/）", "rules (default: rules/ of the data)")),
    ] = None,
    *,
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Tell which rules of a directory can be loaded, and why others cannot; exit code 1 when one is wrong."""
    from collector.desk.own_rules import OWN
    from policies.compile import compile_library, rule_files

    place = directory or data / OWN
    if not place.is_dir():
        raise RefusedError("not_found", f"no directory {place}", "name one, or give --data")
    layout = Layout(data)
    lists = load_site(layout.policy).lists if layout.policy.exists() else {}
    shipped = shipped_library(lists)
    found = compile_library(
        rule_files(place, below=True), installed_ordinances(data), lists, known=shipped, go_on=True
    )
    summary = summarise(found, shipped)
    if json:
        output.json(summary)
    else:
        _print(summary)
    raise typer.Exit(1 if summary["counts"]["refused"] else 0)


def summarise(found: Library, shipped: Library) -> dict[str, Any]:
    """Counts by state and reason, and each rule that is not simply loaded."""
    limited = [one for one in found.limited if one not in shipped.limited]
    new = len(found.rules) - len(shipped.rules) + len(found.correlations) - len(shipped.correlations)
    states = Counter(one.why for one in found.left_out)
    reasons = Counter((one.why, one.detail) for one in found.left_out)
    reasons += Counter(("limited", limit) for one in limited for limit in one.limits)
    return {
        "counts": {
            "loaded": new - len(limited),
            "limited": len(limited),
            "not_collected": states["not_collected"],
            "refused": states["refused"],
        },
        "reasons": [
            {"state": state, "reason": reason, "count": count}
            for (state, reason), count in sorted(
                reasons.items(), key=lambda one: (one[0][0], -one[1], one[0])
            )
        ],
        "left_out": [
            {"file": one.file, "line": one.line, "state": one.why, "reason": one.detail, "hint": one.hint}
            for one in found.left_out
        ],
        "limited": [{"rule": one.rule, "file": one.file, "limits": one.limits} for one in limited],
    }


def _print(summary: dict[str, Any]) -> None:
    counts = [
        {"state": say(title), "count": str(summary["counts"][state]), "reason": ""}
        for state, title in STATES.items()
    ]
    reasons = [
        {"state": say(STATES[one["state"]]), "count": str(one["count"]), "reason": one["reason"]}
        for one in summary["reasons"]
    ]
    output.table(COLUMNS, [*counts, *reasons])
    wrong = [one for one in summary["left_out"] if one["state"] == "refused"]
    if wrong:
        rows = [
            {"where": f"{one['file']}:{one['line']}", "what": one["reason"], "hint": one["hint"]}
            for one in wrong
        ]
        output.table(PLACES, rows)


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    rules = typer.Typer(no_args_is_help=True, help=t("規則", "rules"))
    rules.command("test", help=t("規則を検査する", "check rules against their tests"))(run_tests)
    rules.command(help=t("どの規則を読み込めるか", "which rules can be loaded, and why others cannot"))(check)
    app.add_typer(rules, name="rules")
