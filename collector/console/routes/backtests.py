"""Before a release: checking the draft, and trying it on stored events."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from collector.console.gate import note
from collector.console.routes.common import (
    Call,
    Micros,
    PathNumber,
    QueryMicros,
    QueryText,
    Text,
    WaitSeconds,
    caller_of,
    console_of,
)
from collector.desk import release
from collector.desk.draft import content_digest
from collector.desk.release_checks import CheckReport, Remark, check, site_refused
from collector.desk.site_read import SiteError
from collector.desk.studies import UNDER_WAY
from collector.desk.study import MOST_EVENTS, Plan
from collector.registers.models_releases import Study

DAY_US = 86_400_000_000
LOOK_AGAIN_S = 0.2
Days = Annotated[int, Meta(ge=1, le=3650)]


class CheckView(Struct, frozen=True, kw_only=True):
    """What was run and what was found; ``ok``: nothing that keeps the draft from being released."""

    ok: bool
    rules: int
    tests: int
    branches: int
    remarks: tuple[Remark, ...]


class NewBacktest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last ``days`` of stored events, at most about ``most`` of the newest; ``section`` empty = all PCs.

    Compared with what ``ring`` has in force. Only one over all PCs stands for a release.
    """

    days: Days = 30
    section: Text = ""
    ring: Text = ""
    rollback_of: Micros = 0
    most: Annotated[int, Meta(ge=1, le=MOST_EVENTS)] = MOST_EVENTS


class StudyView(Struct, frozen=True, kw_only=True):
    """A study: waiting | running | done | cancelled | failed; ``report`` when it is done."""

    id: int
    kind: str
    state: str
    done: int
    total: int
    plan: dict[str, Any]
    report: dict[str, Any]
    error: str
    created_us: int
    created_by: str
    finished_us: int


def view(row: Study, *, whole: bool = True) -> StudyView:
    """A study as shown; not ``whole``: without its report."""
    values = {name: getattr(row, name) for name in StudyView.__struct_fields__}
    return StudyView(**values if whole else {**values, "report": {}})


@get("/policy/check", sync_to_thread=True)
def get_check(request: Call, rollback_of: QueryMicros = 0) -> CheckView:
    """Rules and their tests, and what works against itself in the draft; nothing is stored."""
    return _shown(_check(request, rollback_of))


def _shown(found: CheckReport) -> CheckView:
    return CheckView(ok=found.ok, **msgspec.structs.asdict(found))


def _check(request: Call, rollback_of: int) -> CheckReport:
    console = console_of(request)
    try:
        with console.store.read() as session:
            sources = console.sources(session)
            bundle = release.make_bundle(session, sources, 0, rollback_of=rollback_of, now_us=console.clock())
    except SiteError as error:
        return site_refused(error)
    text = console.layout.policy.read_text(encoding="utf-8")
    return check(bundle, sources.site, text, console.shipped_rules)


@post("/policy/backtests", sync_to_thread=True)
def start(request: Call, data: JSONBody[NewBacktest]) -> StudyView:
    """Check the draft and try it on stored events. A small store is done at once; else ask again for the outcome."""
    console, now_us = console_of(request), console_of(request).clock()
    found = _check(request, data.rollback_of)
    with console.store.write() as session:
        _, bundle = release.make_draft(
            session,
            console.sources(session),
            created_by=caller_of(request).name,
            now_us=now_us,
            rollback_of=data.rollback_of,
        )
    # A PC's clock may be ahead; what it sent is looked at all the same.
    plan = Plan(
        since_us=now_us - data.days * DAY_US,
        until_us=now_us + DAY_US,
        section=data.section,
        ring=data.ring,
        most=data.most,
    )
    row = console.studies.start(
        "backtest",
        plan,
        content=content_digest(bundle).hex(),
        by=caller_of(request).name,
        at_us=now_us,
        report={"check": msgspec.to_builtins(_shown(found))},
    )
    note(request.scope, study=row.id)
    return view(row)


@get("/studies", sync_to_thread=True)
def list_studies(request: Call, kind: QueryText = "") -> list[StudyView]:
    """Back-tests and searches for proposals, newest first, without their reports."""
    return [view(row, whole=False) for row in console_of(request).studies.list(kind)]


@get("/studies/{study_id:int}", sync_to_thread=True)
def get_study(request: Call, study_id: PathNumber, wait: WaitSeconds = 0) -> StudyView:
    """A study; ``wait``: seconds to wait for it to move on."""
    studies, ends = console_of(request).studies, time.monotonic() + wait
    row = first = studies.get(study_id)
    while row.state in UNDER_WAY and row.done == first.done and time.monotonic() < ends:
        time.sleep(LOOK_AGAIN_S)
        row = studies.get(study_id)
    return view(row)


@post("/studies/{study_id:int}/cancel", status_code=200, sync_to_thread=True)
def cancel(request: Call, study_id: PathNumber) -> StudyView:
    """End a study that is under way. 409 ``wrong_state``."""
    note(request.scope, study=study_id)
    return view(console_of(request).studies.cancel(study_id))


HANDLERS = (get_check, start, list_studies, get_study, cancel)
