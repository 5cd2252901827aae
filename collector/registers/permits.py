"""The permit register: granting under the article's own rules, revoking, and what of it goes into a policy release.

Whether a permit may be granted is decided by ``policies.permits``; here stands the paper trail. Nothing is deleted:
a permit is granted, and then expired by time or revoked by somebody.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.assets import subject_map
from collector.registers.models import PermitRow, Person
from collector.registers.people import get_person
from policies.model import Citation, Permit
from policies.ordinance import Ordinance, cite, find_article
from policies.permits import PermitError, PermitRequest, validate
from protocol.refusal import RefusedError

State = Literal["pending", "granted", "expired", "revoked"]
REMEMBERED_US = 90 * 24 * 3600 * 1_000_000
"""An expired permit stays in releases this long, so that PCs say “expired” and not “none”."""


def grant(
    session: Session,
    request: PermitRequest,
    ordinances: Mapping[str, Ordinance],
    *,
    granted_by: str,
    now_us: int,
    read_only: bool = False,
    not_permittable: Iterable[str] = (),
) -> PermitRow:
    """Enter a permit that the approver granted.

    Applicant and approver must be in the register of people and active. The approver's offices are taken from there,
    whatever ``request.approver_roles`` says. Raises ``policies.permits.PermitError`` with the reason it may not be
    granted, RefusedError ``not_found`` for a person who is not there.
    """
    applicant, approver = _active(session, request.applicant), _active(session, request.approver)
    request = replace(
        request, applicant=applicant.id, approver=approver.id, approver_roles=tuple(approver.roles)
    )
    validate(request, ordinances, not_permittable)
    if request.until_us <= now_us:
        raise PermitError("empty_period", "the permit is over already", "until must lie in the future")
    row = PermitRow(
        id=f"p-{secrets.token_hex(6)}",
        kind=request.kind,
        subject=subject_map(request.subject),
        scope={name: list(part) for name, part in msgspec.structs.asdict(request.scope).items() if part},
        applicant=applicant.id,
        approver=approver.id,
        approver_role=_office(request, ordinances),
        ordinance=request.ordinance,
        article=request.article,
        reason=request.reason.strip(),
        read_only=read_only,
        from_us=request.from_us,
        until_us=request.until_us,
        granted_us=now_us,
        granted_by=granted_by,
        revoked_us=0,
        revoked_by="",
        revoke_reason="",
    )
    session.add(row)
    session.flush()
    return row


def revoke(session: Session, permit_id: str, *, reason: str, revoked_by: str, now_us: int) -> PermitRow:
    """Take a permit back; PCs learn of it with the next release, the collector's own flagging too.

    Raises RefusedError ``not_found``, ``bad_value`` without a reason, ``already_there`` when it is revoked.
    """
    row = session.get(PermitRow, permit_id)
    if row is None:
        raise RefusedError("not_found", f"no permit {permit_id}")
    if not reason.strip():
        raise RefusedError("bad_value", "revoking a permit needs a reason")
    if row.revoked_us:
        raise RefusedError("already_there", f"permit {permit_id} is revoked")
    row.revoked_us, row.revoked_by, row.revoke_reason = now_us, revoked_by, reason.strip()
    session.flush()
    return row


def state_of(row: PermitRow, now_us: int) -> State:
    """State at ``now_us``; it follows from the times alone, nothing has to run for a permit to expire."""
    if row.revoked_us:
        return "revoked"
    if now_us >= row.until_us:
        return "expired"
    return "granted" if row.from_us <= now_us else "pending"


def list_permits(
    session: Session, *, kind: str = "", state: State | None = None, now_us: int = 0
) -> list[PermitRow]:
    """Permits, newest first. ``state`` as of ``now_us``; None = all."""
    query = select(PermitRow).order_by(PermitRow.granted_us.desc(), PermitRow.id)
    if kind:
        query = query.where(PermitRow.kind == kind)
    return [row for row in session.scalars(query) if state is None or state_of(row, now_us) == state]


def to_policy(row: PermitRow, ordinances: Mapping[str, Ordinance]) -> Permit:
    """The permit as PCs see it, with the citation of the edition that is loaded."""
    article = find_article(ordinances, row.ordinance, row.article)
    citation = cite(ordinances[row.ordinance], article) if article else Citation(row.ordinance, row.article)
    return msgspec.convert(
        {
            "id": row.id,
            "kind": row.kind,
            "subject": row.subject,
            "scope": row.scope,
            "from_us": row.from_us,
            "until_us": row.until_us,
            "article": msgspec.to_builtins(citation),
            "read_only": row.read_only,
        },
        Permit,
    )


def bundle_permits(session: Session, ordinances: Mapping[str, Ordinance], now_us: int) -> tuple[Permit, ...]:
    """What a release carries: every permit that is not revoked, also pending ones and those that ended lately."""
    query = (
        select(PermitRow)
        .where(PermitRow.revoked_us == 0, PermitRow.until_us > now_us - REMEMBERED_US)
        .order_by(PermitRow.id)
    )
    return tuple(to_policy(row, ordinances) for row in session.scalars(query))


def _active(session: Session, person_id: str) -> Person:
    row = get_person(session, person_id)
    if not row.active:
        raise RefusedError("not_found", "this person has left", "name somebody who is in office")
    return row


def _office(request: PermitRequest, ordinances: Mapping[str, Ordinance]) -> str:
    """The office that allowed the approver to approve: one the article names, else one that acts for it."""
    ordinance = ordinances[request.ordinance]
    article = find_article(ordinances, request.ordinance, request.article)
    assert article is not None  # noqa: S101 - `validate` has found it
    named = [role for role in article.permit_by if role in request.approver_roles]
    return named[0] if named else min(ordinance.approvers(article).intersection(request.approver_roles))
