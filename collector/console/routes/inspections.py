"""Self-inspections: open with facts, answer, correct, hand in, review."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.console.gate import note
from collector.console.roles import Caller
from collector.console.routes.common import (
    Call,
    Micros,
    OptionalQueryText,
    OptionalReason,
    PathText,
    Reason,
    caller_of,
    console_of,
    section_for,
)
from collector.console.routes.coverage import chosen, judged
from collector.inspections import desk
from collector.inspections.view import SheetView, sheet_view
from collector.registers import agents
from collector.registers.models_inspections import Inspection
from protocol.refusal import RefusedError

Name = Annotated[str, Meta(min_length=1, max_length=256)]
ItemId = Annotated[int, PathParameter(ge=1, le=(1 << 62) - 1)]
BASELINE = "baseline"


class NewInspection(Struct, frozen=True, forbid_unknown_fields=True):
    """For which section and fiscal year, asked for by which ordinance."""

    section: Name
    year: Annotated[int, Meta(ge=2000, le=9000)]
    ordinance: Name


class NewItem(Struct, frozen=True, forbid_unknown_fields=True):
    """A question of the section's own."""

    question: Reason


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a question."""

    answer: Literal["yes", "no", "none"]
    remark: OptionalReason = ""


class Correction(Struct, frozen=True, forbid_unknown_fields=True):
    """What will be done until when (UTC µs), or that it is done."""

    what: OptionalReason = ""
    due_us: Micros = 0
    done: bool = False


class Verdict(Struct, frozen=True, forbid_unknown_fields=True):
    """Accept what was handed in, or give it back."""

    text: Reason
    accept: bool = True


@get("/inspections", sync_to_thread=True)
def list_inspections(request: Call, section: OptionalQueryText = None) -> list[SheetView]:
    """Inspections, newest year first, without their questions; a section head sees the own section's."""
    caller, console = caller_of(request), console_of(request)
    wanted = section_for(caller, section)
    query = select(Inspection).order_by(Inspection.year.desc(), Inspection.section)
    if wanted is not None:
        query = query.where(Inspection.section == wanted)
    with console.store.read() as session:
        return [
            sheet_view(row, desk.items_of(session, row.id), console.clock(), whole=False)
            for row in session.scalars(query)
        ]


@post("/inspections", sync_to_thread=True)
def open_inspection(request: Call, data: JSONBody[NewInspection]) -> SheetView:
    """Begin a section's inspection, prefilled from coverage, alerts and permits. 409 ``wrong_state`` when it exists."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, section=data.section, year=data.year, ordinance=data.ordinance)
    with console.store.write() as session:
        asking = chosen(session, console, data.ordinance)
        if data.ordinance != BASELINE:
            asking += chosen(session, console, BASELINE)
        hosts = agents.list_agents(session, section=data.section)
        if not hosts:
            raise RefusedError(
                "not_found", f"no PC belongs to section {data.section!r}", "sekisho hosts list"
            )
        row = desk.open_inspection(
            session,
            asking,
            judged(session, console, asking, hosts),
            section=data.section,
            year=data.year,
            by=caller.name,
            now_us=console.clock(),
        )
        return _shown(session, row, console.clock())


@get("/inspections/{inspection_id:str}", sync_to_thread=True)
def get_inspection(request: Call, inspection_id: PathText) -> SheetView:
    """One inspection with its questions."""
    console = console_of(request)
    with console.store.read() as session:
        return _shown(session, _row(session, inspection_id, caller_of(request)), console.clock())


@post("/inspections/{inspection_id:str}/items", sync_to_thread=True)
def add_item(request: Call, inspection_id: PathText, data: JSONBody[NewItem]) -> SheetView:
    """Add a question of the section's own."""
    console = console_of(request)
    with console.store.write() as session:
        row = _row(session, inspection_id, caller_of(request))
        desk.add_item(session, row, data.question.strip())
        return _shown(session, row, console.clock())


@post("/inspections/{inspection_id:str}/items/{item_id:int}/answer", status_code=200, sync_to_thread=True)
def answer(request: Call, inspection_id: PathText, item_id: ItemId, data: JSONBody[Answer]) -> SheetView:
    """Answer a question."""
    caller, console = caller_of(request), console_of(request)
    with console.store.write() as session:
        row, now_us = _row(session, inspection_id, caller), console.clock()
        desk.answer(session, row, item_id, data.answer, data.remark, by=caller.name, now_us=now_us)
        return _shown(session, row, now_us)


@post("/inspections/{inspection_id:str}/items/{item_id:int}/correct", status_code=200, sync_to_thread=True)
def correct(request: Call, inspection_id: PathText, item_id: ItemId, data: JSONBody[Correction]) -> SheetView:
    """Plan or finish the correction of a finding."""
    caller, console = caller_of(request), console_of(request)
    with console.store.write() as session:
        row, now_us = _row(session, inspection_id, caller), console.clock()
        desk.correct(
            session,
            row,
            item_id,
            what=data.what,
            due_us=data.due_us,
            done=data.done,
            by=caller.name,
            now_us=now_us,
        )
        return _shown(session, row, now_us)


@post("/inspections/{inspection_id:str}/submit", status_code=200, sync_to_thread=True)
def submit(request: Call, inspection_id: PathText) -> SheetView:
    """Hand it in."""
    caller, console = caller_of(request), console_of(request)
    with console.store.write() as session:
        row, now_us = _row(session, inspection_id, caller), console.clock()
        return _shown(session, desk.submit(session, row, by=caller.name, now_us=now_us), now_us)


@post("/inspections/{inspection_id:str}/review", status_code=200, sync_to_thread=True)
def review(request: Call, inspection_id: PathText, data: JSONBody[Verdict]) -> SheetView:
    """Accept what was handed in, or give it back."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=data.text)
    with console.store.write() as session:
        row, now_us = _row(session, inspection_id, caller), console.clock()
        desk.review(session, row, data.text, accept=data.accept, by=caller.name, now_us=now_us)
        return _shown(session, row, now_us)


def _row(session: Session, inspection_id: str, caller: Caller) -> Inspection:
    return desk.get_inspection(session, inspection_id, caller.only_section)


def _shown(session: Session, row: Inspection, now_us: int) -> SheetView:
    return sheet_view(row, desk.items_of(session, row.id), now_us)


HANDLERS = (list_inspections, open_inspection, get_inspection, add_item, answer, correct, submit, review)
