"""Filling the registers: proposals from what was seen, and CSV files; both as batches that can be undone."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from collector.console.gate import note
from collector.console.routes.backtests import DAY_US, Days, StudyView, view
from collector.console.routes.common import (
    Call,
    OptionalReason,
    PathText,
    QueryLimit,
    QueryText,
    Text,
    caller_of,
    console_of,
)
from collector.desk import release
from collector.desk.draft import content_digest
from collector.desk.study import MOST_EVENTS, Plan
from collector.registers import batches, imports, seeding
from collector.registers.models_releases import ChangeBatch, ChangeRow, Proposal
from protocol.refusal import RefusedError

LARGEST_IMPORT = 12 * 1024 * 1024
"""A CSV file of 8 MiB in Base64, and its frame."""
Ids = Annotated[tuple[Text, ...], Meta(max_length=10_000)]


class NewSeed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Look for proposals in the last ``days``; ``kinds`` empty = all."""

    days: Days = 14
    kinds: tuple[seeding.SeedKind, ...] = ()
    most: Annotated[int, Meta(ge=1, le=MOST_EVENTS)] = MOST_EVENTS


class ProposalView(Struct, frozen=True, kw_only=True):
    """Something that was seen and is in no register; ``section`` is where it was seen most."""

    id: str
    kind: str
    subject: dict[str, Any]
    label: str
    state: str
    pcs: int
    sections: tuple[str, ...]
    section: str
    zone: str
    times: int
    first_us: int
    last_us: int
    decided_by: str
    decided_us: int
    batch_id: str


class Chosen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open proposals: by ``ids``; or, with ``all``, all of ``kind`` and ``section`` seen on at least ``min_pcs`` PCs."""

    ids: Ids = ()
    all: bool = False
    kind: Text = ""
    section: Text = ""
    min_pcs: Annotated[int, Meta(ge=1)] = 1
    reason: OptionalReason = ""


class Rejected(Struct, frozen=True):
    """How many will not be proposed again."""

    rejected: int


class NewImport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CSV file (bytes in Base64) for a register."""

    register: imports.Register
    name: Text = ""
    content: Annotated[bytes, Meta(max_length=LARGEST_IMPORT)]


class RowView(Struct, frozen=True):
    """One change of a batch."""

    number: int
    register: str
    key: str
    before: dict[str, Any] | None
    after: dict[str, Any]


class BatchView(Struct, frozen=True, kw_only=True):
    """A batch: staged | applied | discarded | undone. ``bad`` rows were left out, ``unchanged`` ones say nothing new."""

    id: str
    origin: str
    name: str
    state: str
    rows: int
    unchanged: int
    bad: tuple[dict[str, Any], ...]
    left_out: int
    created_us: int
    created_by: str
    applied_us: int
    applied_by: str
    closed_us: int
    closed_by: str
    changes: tuple[RowView, ...] = ()


def _batch(
    row: ChangeBatch, changes: list[ChangeRow] | None = None, left_out: int | None = None
) -> BatchView:
    names = set(BatchView.__struct_fields__) - {"changes", "left_out"}
    values = {name: getattr(row, name) for name in names}
    shown = tuple(RowView(one.number, one.register, one.key, one.before, one.after) for one in changes or ())
    return BatchView(**values, changes=shown, left_out=len(row.bad) if left_out is None else left_out)


def _proposal(row: Proposal) -> ProposalView:
    return ProposalView(**{name: getattr(row, name) for name in ProposalView.__struct_fields__})


@post("/registers/seed", sync_to_thread=True)
def seed(request: Call, data: JSONBody[NewSeed]) -> StudyView:
    """Look through stored events for what no register knows. A small store is done at once."""
    console, now_us = console_of(request), console_of(request).clock()
    with console.store.write() as session:
        _, bundle = release.make_draft(
            session, console.sources(session), created_by=caller_of(request).name, now_us=now_us
        )
    plan = Plan(
        since_us=now_us - data.days * DAY_US, until_us=now_us + DAY_US, kinds=data.kinds, most=data.most
    )
    content = content_digest(bundle).hex()
    row = console.studies.start("seed", plan, content=content, by=caller_of(request).name, at_us=now_us)
    note(request.scope, study=row.id)
    return view(row)


@get("/registers/proposals", sync_to_thread=True)
def list_proposals(request: Call, only: QueryText = "proposed", kind: QueryText = "") -> list[ProposalView]:
    """Proposals, those seen on most PCs first; ``only``: proposed | approved | rejected, empty = all."""
    with console_of(request).store.read() as session:
        return [_proposal(row) for row in seeding.list_proposals(session, state=only, kind=kind)]


@post("/registers/proposals/approve", status_code=200, sync_to_thread=True)
def approve(request: Call, data: JSONBody[Chosen]) -> BatchView:
    """Put what was proposed into the registers, as one batch; it takes effect with the next policy release."""
    console, caller = console_of(request), caller_of(request)
    note(request.scope, reason=data.reason)
    with console.store.write() as session:
        batch = seeding.approve(session, _selection(data), by=caller.name, now_us=console.clock())
        note(request.scope, batch=batch.id, rows=batch.rows)
        shown = _batch(batch)
    console.poke("registers", "detector")
    return shown


@post("/registers/proposals/reject", status_code=200, sync_to_thread=True)
def reject(request: Call, data: JSONBody[Chosen]) -> Rejected:
    """Never propose these again."""
    console, caller = console_of(request), caller_of(request)
    note(request.scope, reason=data.reason)
    with console.store.write() as session:
        count = seeding.reject(session, _selection(data), by=caller.name, now_us=console.clock())
        note(request.scope, rejected=count)
        return Rejected(count)


def _selection(data: Chosen) -> seeding.Selection:
    if not data.ids and not data.all:
        raise RefusedError("bad_value", "nothing is chosen", "ids, or --all")
    return seeding.Selection(ids=data.ids, kind=data.kind, min_pcs=data.min_pcs, section=data.section)


@post("/registers/imports", request_max_body_size=LARGEST_IMPORT, sync_to_thread=True)
def stage(request: Call, data: JSONBody[NewImport]) -> BatchView:
    """Check a CSV file and stage its good rows; no register changes. 422 ``bad_value`` when it cannot be read at all."""
    console, caller = console_of(request), caller_of(request)
    with console.store.write() as session:
        staged = imports.stage_file(
            session, data.register, data.name, data.content, created_by=caller.name, now_us=console.clock()
        )
        note(request.scope, batch=staged.batch.id, rows=staged.batch.rows, bad=staged.left_out)
        return _batch(staged.batch, left_out=staged.left_out)


@get("/registers/batches", sync_to_thread=True)
def list_batches(request: Call) -> list[BatchView]:
    """All batches, newest first."""
    with console_of(request).store.read() as session:
        return [_batch(row) for row in batches.list_batches(session)]


@get("/registers/batches/{batch_id:str}", sync_to_thread=True)
def get_batch(request: Call, batch_id: PathText, limit: QueryLimit = 100) -> BatchView:
    """One batch with its first changes."""
    with console_of(request).store.read() as session:
        row = batches.get_batch(session, batch_id)
        return _batch(row, batches.rows_of(session, batch_id, limit))


@post("/registers/batches/{batch_id:str}/apply", status_code=200, sync_to_thread=True)
def apply(request: Call, batch_id: PathText) -> BatchView:
    """Make all changes, or none: 409 ``stale`` when an entry changed since the batch was staged."""
    return _close(request, batch_id, "apply")


@post("/registers/batches/{batch_id:str}/discard", status_code=200, sync_to_thread=True)
def discard(request: Call, batch_id: PathText) -> BatchView:
    """Give a staged batch up."""
    return _close(request, batch_id, "discard")


@post("/registers/batches/{batch_id:str}/undo", status_code=200, sync_to_thread=True)
def undo(request: Call, batch_id: PathText) -> BatchView:
    """Unmake all changes, or none: 409 ``stale`` when an entry changed since, or is in use."""
    return _close(request, batch_id, "undo")


_WAYS = {"apply": batches.apply, "discard": batches.discard, "undo": batches.undo}


def _close(request: Call, batch_id: str, way: str) -> BatchView:
    console = console_of(request)
    note(request.scope, batch=batch_id)
    with console.store.write() as session:
        shown = _batch(_WAYS[way](session, batch_id, by=caller_of(request).name, now_us=console.clock()))
    console.poke("registers", "detector")
    return shown


HANDLERS = (
    seed, list_proposals, approve, reject, stage, list_batches, get_batch, apply, discard, undo,
)  # fmt: skip
