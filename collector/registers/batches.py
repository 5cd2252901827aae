"""Changes of registers in bulk: staged, then applied all or none, then undone all or none.

Each row keeps the whole entry before and after. A row is applied only while the register still says what it said when
the row was staged, and undone only while it says what the row made of it: nobody's later work is overwritten.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import Asset, Operator, PermitRow, Person
from collector.registers.models_releases import Allowance, ChangeBatch, ChangeRow, Proposal
from protocol.refusal import RefusedError

MOST_ROWS = 20_000
Entry = dict[str, Any]
_SHOWN = 5


class Change(Struct, frozen=True, kw_only=True):
    """One row on its way into a batch; ``number`` is its line or position."""

    number: int
    register: str
    key: str
    before: Entry | None
    after: Entry


class _Register(NamedTuple):
    """A register as the batches use it: its table, the columns of an entry, and who else names an entry."""

    table: type[Asset | Person | Allowance]
    columns: tuple[str, ...]
    used_by: Callable[[Session, str], str]
    """What still refers to an entry, in words; empty = nothing."""


def _nobody(_session: Session, _key: str) -> str:
    return ""


def _uses_person(session: Session, key: str) -> str:
    if session.scalar(select(Operator.name).where(Operator.person_id == key).limit(1)):
        return "an operator's account"
    named = (PermitRow.applicant == key) | (PermitRow.approver == key)
    permit = session.scalar(select(PermitRow.id).where(named).limit(1))
    return f"permit {permit}" if permit else ""


REGISTERS: dict[str, _Register] = {
    "assets": _Register(Asset, ("kind", "subject", "section", "note", "active"), _nobody),
    "people": _Register(Person, ("name", "section", "roles", "active"), _uses_person),
    "allowances": _Register(Allowance, ("kind", "subject", "zone", "note", "active"), _nobody),
}


def entry(session: Session, register: str, key: str) -> Entry | None:
    """What a register says of ``key`` now; None for nothing, or an allowance that was taken back."""
    form = REGISTERS[register]
    row = session.get(form.table, key)
    gone = row is None or (isinstance(row, Allowance) and not row.active)
    return None if gone else {name: _plain(getattr(row, name)) for name in form.columns}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def stage(
    session: Session,
    changes: Iterable[Change],
    *,
    origin: str,
    created_by: str,
    now_us: int,
    name: str = "",
    unchanged: int = 0,
    bad: Iterable[Entry] = (),
) -> ChangeBatch:
    """Write a batch down; no register changes. Raises RefusedError ``bad_value`` beyond :data:`MOST_ROWS`."""
    rows = list(changes)
    if len(rows) > MOST_ROWS:
        raise RefusedError("bad_value", f"{len(rows)} changes, at most {MOST_ROWS} at once", "split the file")
    batch = ChangeBatch(
        id=f"b-{secrets.token_hex(5)}",
        origin=origin,
        name=name,
        state="staged",
        rows=len(rows),
        unchanged=unchanged,
        bad=list(bad),
        created_us=now_us,
        created_by=created_by,
    )
    session.add(batch)
    session.flush()
    session.add_all(
        ChangeRow(
            batch_id=batch.id, number=one.number, register=one.register, key=one.key,
            before=one.before, after=one.after,
        )
        for one in rows
    )  # fmt: skip
    session.flush()
    return batch


def apply(session: Session, batch_id: str, *, by: str, now_us: int) -> ChangeBatch:
    """Make all changes. Raises RefusedError ``wrong_state``, or ``stale`` when an entry changed since: then none is made."""
    batch = _in_state(session, batch_id, "staged")
    rows = _rows(session, batch_id)
    _check(session, rows, lambda row: row.before)
    for row in rows:
        _write(session, row, row.after, by, now_us)
    batch.state, batch.applied_us, batch.applied_by = "applied", now_us, by
    session.flush()
    return batch


def discard(session: Session, batch_id: str, *, by: str, now_us: int) -> ChangeBatch:
    """Give a staged batch up. Raises RefusedError ``wrong_state``."""
    batch = _in_state(session, batch_id, "staged")
    batch.state, batch.closed_us, batch.closed_by = "discarded", now_us, by
    session.flush()
    return batch


def undo(session: Session, batch_id: str, *, by: str, now_us: int) -> ChangeBatch:
    """Unmake all changes of an applied batch; proposals it approved are open again.

    Raises RefusedError ``wrong_state``, or ``stale`` when an entry was changed since or is in use: then none is unmade.
    """
    batch = _in_state(session, batch_id, "applied")
    rows = _rows(session, batch_id)
    _check(session, rows, lambda row: row.after)
    _check_unused(session, rows)
    for row in reversed(rows):
        _write(session, row, row.before, by, now_us)
    for proposal in session.scalars(select(Proposal).where(Proposal.batch_id == batch_id)):
        proposal.state, proposal.batch_id, proposal.decided_us, proposal.decided_by = "proposed", "", 0, ""
    batch.state, batch.closed_us, batch.closed_by = "undone", now_us, by
    session.flush()
    return batch


def get_batch(session: Session, batch_id: str) -> ChangeBatch:
    """One batch. Raises RefusedError ``not_found``."""
    batch = session.get(ChangeBatch, batch_id)
    if batch is None:
        raise RefusedError("not_found", f"no batch {batch_id}", "sekisho registers import list")
    return batch


def list_batches(session: Session) -> list[ChangeBatch]:
    """All batches, newest first."""
    return list(session.scalars(select(ChangeBatch).order_by(ChangeBatch.created_us.desc(), ChangeBatch.id)))


def rows_of(session: Session, batch_id: str, limit: int) -> list[ChangeRow]:
    """The first rows of a batch."""
    query = select(ChangeRow).where(ChangeRow.batch_id == batch_id).order_by(ChangeRow.number).limit(limit)
    return list(session.scalars(query))


def _in_state(session: Session, batch_id: str, state: str) -> ChangeBatch:
    batch = get_batch(session, batch_id)
    if batch.state != state:
        raise RefusedError("wrong_state", f"batch {batch_id} is {batch.state}, not {state}")
    return batch


def _rows(session: Session, batch_id: str) -> list[ChangeRow]:
    return rows_of(session, batch_id, MOST_ROWS)


def _check(session: Session, rows: list[ChangeRow], expected: Callable[[ChangeRow], Entry | None]) -> None:
    moved = [row.key for row in rows if entry(session, row.register, row.key) != expected(row)]
    if moved:
        shown = ", ".join(moved[:_SHOWN]) + (" …" if len(moved) > _SHOWN else "")
        raise RefusedError("stale", f"changed since, so nothing was done: {shown}", "stage it again")


def _check_unused(session: Session, rows: list[ChangeRow]) -> None:
    for row in rows:
        user = REGISTERS[row.register].used_by(session, row.key) if row.before is None else ""
        if user:
            raise RefusedError("stale", f"{row.key} is named by {user}, so nothing was undone")


def _write(session: Session, row: ChangeRow, wanted: Entry | None, by: str, now_us: int) -> None:
    form = REGISTERS[row.register]
    found = session.get(form.table, row.key)
    if wanted is None:
        # An allowance stays on record: going back to an older release has to know what lapsed.
        if isinstance(found, Allowance):
            found.active = False
        elif found is not None:
            session.delete(found)
    elif found is None:
        made = {"created_us": now_us, "created_by": by} if form.table is not Person else {}
        session.add(form.table(id=row.key, **wanted, **made))
    else:
        for name, value in wanted.items():
            setattr(found, name, value)
