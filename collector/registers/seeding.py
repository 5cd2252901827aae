"""Proposals for the registers: what was seen and nothing knows, for a person to approve or reject, one or many at once.

The same thing always has the same id, so looking again adds up and never asks twice; what was rejected stays rejected.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers import batches
from collector.registers.models_releases import ChangeBatch, Proposal
from protocol.refusal import RefusedError

SeedKind = Literal["devices", "media", "machines", "software", "destinations"]
SEED_KINDS: tuple[SeedKind, ...] = get_args(SeedKind)
ASSET_KINDS: Mapping[str, str] = {"devices": "device", "media": "medium", "machines": "other"}
MOST_SECTIONS = 20


class Sighting(Struct, kw_only=True):
    """Something that was seen. ``zone`` only for destinations."""

    kind: str
    subject: dict[str, Any]
    label: str
    zone: str = ""
    pcs: set[str]
    sections: Counter[str]
    times: int = 0
    first_us: int = 0
    last_us: int = 0


class Outcome(Struct, frozen=True, kw_only=True):
    """How many proposals are new, were there already, and stay rejected."""

    new: int = 0
    known: int = 0
    rejected: int = 0


class Selection(Struct, frozen=True, kw_only=True):
    """Which open proposals are meant: these ``ids``; without any, all of ``kind`` seen on at least ``min_pcs`` PCs."""

    ids: tuple[str, ...] = ()
    kind: str = ""
    min_pcs: int = 1
    section: str = ""


def proposal_id(kind: str, subject: Mapping[str, Any], zone: str = "") -> str:
    """The id of a proposal for this subject."""
    named = msgspec.msgpack.encode([kind, zone, sorted(subject.items())])
    return f"s-{hashlib.sha256(named).hexdigest()[:12]}"


def propose(session: Session, sightings: Iterable[Sighting]) -> Outcome:
    """Write sightings down as proposals; figures of known ones are brought up to date. Must run in a write transaction."""
    counts: Counter[str] = Counter()
    for one in sightings:
        number = proposal_id(one.kind, one.subject, one.zone)
        row = session.get(Proposal, number)
        if row is None:
            row = Proposal(id=number, kind=one.kind, subject=one.subject, zone=one.zone, state="proposed")
            session.add(row)
            counts["new"] += 1
        else:
            counts["rejected" if row.state == "rejected" else "known"] += 1
        ranked = [section for section, _ in one.sections.most_common(MOST_SECTIONS)]
        row.label, row.pcs, row.times = one.label, len(one.pcs), one.times
        row.sections, row.section = ranked, ranked[0] if ranked else ""
        row.first_us = min(row.first_us or one.first_us, one.first_us)
        row.last_us = max(row.last_us or 0, one.last_us)
        if row.state == "approved" and batches.entry(session, _register(row), row.id) is None:
            row.state, row.batch_id = "proposed", ""  # somebody took it off the register again
    session.flush()
    return Outcome(**counts)


def list_proposals(session: Session, *, state: str = "proposed", kind: str = "") -> list[Proposal]:
    """Proposals, those seen on most PCs first; ``state`` and ``kind`` empty = all."""
    query = select(Proposal).order_by(Proposal.pcs.desc(), Proposal.times.desc(), Proposal.id)
    if state:
        query = query.where(Proposal.state == state)
    if kind:
        query = query.where(Proposal.kind == kind)
    return list(session.scalars(query))


def approve(session: Session, selection: Selection, *, by: str, now_us: int) -> ChangeBatch:
    """Put what was proposed into the registers, as one batch that can be undone.

    Raises RefusedError ``not_found`` (no such open proposal), ``stale`` (an entry is there already).
    """
    rows = _selected(session, selection)
    changes = [_change(session, index, row, by) for index, row in enumerate(rows, 1)]
    batch = batches.stage(session, changes, origin="seed", created_by=by, now_us=now_us)
    batches.apply(session, batch.id, by=by, now_us=now_us)
    for row in rows:
        row.state, row.batch_id, row.decided_by, row.decided_us = "approved", batch.id, by, now_us
    session.flush()
    return batch


def reject(session: Session, selection: Selection, *, by: str, now_us: int) -> int:
    """Never propose these again; returns how many. Raises RefusedError ``not_found``."""
    rows = _selected(session, selection)
    for row in rows:
        row.state, row.decided_by, row.decided_us = "rejected", by, now_us
    session.flush()
    return len(rows)


def _selected(session: Session, selection: Selection) -> list[Proposal]:
    if selection.ids:
        found = [session.get(Proposal, one) for one in dict.fromkeys(selection.ids)]
        open_ones = [row for row in found if row is not None and row.state == "proposed"]
        if len(open_ones) != len(found):
            missing = set(selection.ids) - {row.id for row in open_ones}
            raise RefusedError(
                "not_found",
                f"no open proposal {', '.join(sorted(missing))}",
                "sekisho registers proposals list",
            )
        return open_ones
    rows = list_proposals(session, kind=selection.kind)
    rows = [row for row in rows if row.pcs >= selection.min_pcs and selection.section in {"", row.section}]
    if not rows:
        raise RefusedError(
            "not_found", "no open proposal of that kind", "sekisho registers seed looks for some"
        )
    return rows


def _register(row: Proposal) -> str:
    return "assets" if row.kind in ASSET_KINDS else "allowances"


def _change(session: Session, number: int, row: Proposal, by: str) -> batches.Change:
    note = f"{row.label} ({row.pcs} PCs, {row.times}×; {by})"
    if _register(row) == "assets":
        after = {"kind": ASSET_KINDS[row.kind], "subject": row.subject, "section": row.section}
    else:
        kind = "software" if row.kind == "software" else "destination"
        after = {"kind": kind, "subject": row.subject, "zone": row.zone}
    return batches.Change(
        number=number,
        register=_register(row),
        key=row.id,
        before=batches.entry(session, _register(row), row.id),
        after={**after, "note": note, "active": True},
    )
