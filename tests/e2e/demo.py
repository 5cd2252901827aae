"""``make demo``: the story of ``story`` told live, ending with a table and ``demo-report.json``.

Without root or without Linux there are no namespaces: then ``loopback`` tells what is possible, and what was skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.e2e.city import Told
from tests.e2e.story import STEPS, Story
from tests.e2e.testbed.installation import URL

REPORT = Path("demo-report.json")
Step = tuple[str, Callable[[], Told]]


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The table so far."""
    table = Table(title="Sekisho 関所", title_justify="left", expand=False)
    for heading, justify in (
        ("", "left"),
        ("step", "left"),
        ("what happened", "left"),
        ("article", "left"),
        ("ms", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        mark = "[green]✔" if row["ok"] else "[yellow]–" if row.get("skipped") else "[red]✘"
        table.add_row(mark, row["step"], row["what"], row.get("article", ""), f"{row['ms']:,.1f}")
    return table


def perform(step: Step) -> dict[str, Any]:
    """Tell one step; a failure becomes a row that says what to look at."""
    name, tell = step
    begin = time.monotonic()
    try:
        told = tell()
    except Exception as error:  # noqa: BLE001 - whatever went wrong belongs in the report
        return {
            "step": name,
            "ok": False,
            "ms": (time.monotonic() - begin) * 1000,
            "what": f"{type(error).__name__}: {error}",
        }
    return {"step": name, "ok": True, "ms": told.ms, "what": told.what, "article": told.article}


def tell_all(console: Console, steps: Iterable[Step], total: int) -> list[dict[str, Any]]:
    """Tell every step with live progress; stops at the first that fails, because the rest stands on it."""
    rows: list[dict[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("building the city hall", total=total)
        for step in steps:
            progress.update(task, description=step[0])
            rows.append(perform(step))
            row = rows[-1]
            mark = "[green]✔[/]" if row["ok"] else "[red]✘[/]"
            progress.console.print(f"{mark} {row['step']:<32} {row['what']}", highlight=False)
            progress.advance(task)
            if not row["ok"]:
                break
    return rows


def keep_running(console: Console, story: Story) -> None:
    """Leave everything on until interrupted, and say how to look around."""
    office, pc = story.site.office.machine, story.hall.pcs["lgwan-01"]
    inside = "nsenter --target={pid} --mount --net={net} --pid --uts --root --wd=/ bash"
    console.print("\n[bold]The city hall stays on. Ctrl-C switches it off.[/]")
    console.print(
        "An operator's PC (then: sekisho hosts, sekisho alerts --follow, sekisho isolate …; keys in /root/keys):"
    )
    tunnel = f"/proc/{story.hall.collector.pid}/ns/net"
    console.print(f"  SEKISHO_URL={URL} " + inside.format(pid=office.pid, net=tunnel), highlight=False)
    console.print("A city PC (then: sekisho-agent status, sekisho-agent doctor):")
    console.print("  " + inside.format(pid=pc.pid, net=f"/proc/{pc.pid}/ns/net"), highlight=False)
    console.print(f"Put {Path(sys.executable).parent} on PATH there. Logs: {story.logs}", highlight=False)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait()
    except KeyboardInterrupt:
        console.print("switching off")


def main() -> int:
    """Tell the story; exit code 0 when every step was ok."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the city hall running at the end")
    keep = parser.parse_args().keep
    console = Console(width=None if sys.stdout.isatty() else 160)
    begin = time.monotonic()
    if platform.system() != "Linux" or os.geteuid() != 0:
        from tests.e2e.loopback import loopback_story

        rows = loopback_story(console)
    else:
        with Story() as story:
            rows = tell_all(console, story.tell(), len(STEPS))
            failed = any(not row["ok"] for row in rows)
            REPORT.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
            console.print(table_of(rows))
            if failed:
                console.print(f"[red]logs of the services:[/] {story.keep_logs()}", highlight=False)
            if keep:
                keep_running(console, story)
    REPORT.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    console.print(f"{time.monotonic() - begin:.0f} s; report in {REPORT}")
    return 0 if all(row["ok"] or row.get("skipped") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
