"""Waiting for a study: a bar on a terminal, nothing otherwise; Ctrl-C cancels it at the collector, too."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from collector.operator.client import Api, ProblemError
from collector.operator.texts import say
from protocol.text import Text

WAIT_S = 2
LOOKING = Text("記録を調べています", "looking at stored events")
CANCELLED = Text("調べるのをやめました", "the study was cancelled")
FAILED = Text("調べられませんでした: {error}", "the study failed: {error}")


def follow(api: Api, study: dict[str, Any]) -> dict[str, Any]:
    """The finished study. Raises ProblemError ``cancelled`` or ``study_failed``."""
    if study["state"] in {"waiting", "running"}:
        study = _waited(api, study)
    if study["state"] == "cancelled":
        raise ProblemError("cancelled", say(CANCELLED))
    if study["state"] != "done":
        raise ProblemError("study_failed", say(FAILED, error=study["error"]))
    return study


def _waited(api: Api, study: dict[str, Any]) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(
        *columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()
    )
    try:
        with bar:
            task = bar.add_task(say(LOOKING), total=study["total"] or None)
            while study["state"] in {"waiting", "running"}:
                study = api.get(f"/studies/{study['id']}", wait=WAIT_S)
                bar.update(task, completed=study["done"], total=study["total"] or None)
    except KeyboardInterrupt:
        return dict(api.post(f"/studies/{study['id']}/cancel", {}))
    return study
