"""``make bench``: measure every budget of DESIGN §11 on this machine and write ``bench.json``.

A missed budget is shown, not a failure: the exit code is 0 as long as everything could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.bench import agent, flag, ingest, isolate, mynumber, rules
from tests.bench.budgets import FIGURES, by_place
from tests.capabilities import why_missing

REPORT = Path("bench.json")
Measure = Callable[[Callable[[str], None]], dict[str, float]]
HALL = ("linux", "root", "netns", "mountns", "nft", "fanotify", "loop", "ext4")
PARTS: dict[str, tuple[Measure, tuple[str, ...]]] = {
    "ingest": (ingest.measure, ()),
    "flag": (flag.measure, ()),
    "rules": (rules.measure, ()),
    "mynumber": (mynumber.measure, ()),
    "agent": (agent.measure, HALL),
    "isolate": (isolate.measure, HALL),
}
"""Part of ``bench.json`` → what measures it, and what the machine must be capable of."""
IDLE_LOAD = 0.5
MARKS = {"ok": "[green]✔ ok", "missed": "[red]✘ missed", "not measured": "[yellow]– not measured", "": ""}


def table_of(figures: dict[str, float], parts: list[str]) -> Table:
    """Every figure of these parts beside its budget."""
    table = Table(title="Sekisho 関所 — bench", title_justify="left")
    for heading, justify in (
        ("figure", "left"),
        ("what", "left"),
        ("measured", "right"),
        ("budget", "right"),
        ("", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # rich wants literals
    for figure in FIGURES:
        if figure.key.partition(".")[0] not in parts:
            continue
        value = figures.get(figure.key)
        shown = "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
        mark = MARKS[figure.judge(value)]
        table.add_row(figure.key, figure.what, f"{shown} {figure.unit}".rstrip(), figure.budget, mark)
    return table


def missing(needs: tuple[str, ...]) -> str:
    """Why this machine cannot measure something; empty if it can."""
    reasons = [f"{name}: {why}" for name in needs if (why := why_missing(name))]
    return "; ".join(reasons)


def measure(console: Console, parts: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Measure the parts one after the other; returns the figures, and why a part has none."""
    figures: dict[str, float] = {}
    failed: dict[str, str] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    for part in parts:
        run, needs = PARTS[part]
        if reason := missing(needs):
            failed[part] = f"this machine lacks {reason}"
            console.print(f"[yellow]–[/] {part}: {failed[part]}", highlight=False)
            continue
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(part)
            try:
                figures |= run(partial(_say, progress, task, part))
            except Exception as error:  # noqa: BLE001 - the other parts are measured all the same
                failed[part] = f"{type(error).__name__}: {error}"
        mark = "[red]✘[/]" if part in failed else "[green]✔[/]"
        console.print(f"{mark} {part} {failed.get(part, 'measured')}", highlight=False)
    return figures, failed


def _say(progress: Progress, task: TaskID, part: str, text: str) -> None:
    progress.update(task, description=f"{part}: {text}")


def report(figures: dict[str, float], failed: dict[str, str], load: float) -> dict[str, Any]:
    """What is written: figures by part, what was missed or could not be measured, and on what machine."""
    missed = [figure.key for figure in FIGURES if figure.judge(figures.get(figure.key)) == "missed"]
    machine = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": load,
        "time": int(time.time()),
    }
    rounded = {key: round(value, 3) for key, value in figures.items()}
    return {**by_place(rounded), "missed": missed, "failed": failed, "machine": machine}


def main() -> int:
    """Measure, tell, write; 1 when a part failed for another reason than what the machine lacks."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", metavar="PART,…", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}"
    )
    parts = parser.parse_args().only.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    load = round(os.getloadavg()[0], 2)
    if load > IDLE_LOAD:
        console.print(
            f"[yellow]this machine is busy (load {load}): the figures will be worse than they could be"
        )
    figures, failed = measure(console, parts)
    content = report(figures, failed, load)
    REPORT.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    console.print(table_of(figures, parts))
    missed = content["missed"]
    console.print(f"[red]missed: {', '.join(missed)}" if missed else "[green]no budget missed")
    console.print(f"written to {REPORT}")
    return 1 if any("lacks" not in reason for reason in failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
