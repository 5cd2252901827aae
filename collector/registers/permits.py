"""The permit register: granting under the article's own rules, renewing, revoking, and what of it goes into a release.

Whether a permit may be granted is decided by ``policies.granting``; here stands the paper trail. Nothing is deleted:
a permit is granted, and then expires by time, is renewed by another, or revoked by somebody.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.assets import subject_map
from collector.registers.models import PermitRow, Person
from collector.registers.people import get_person
from collector.registers.procedure import PermitState, check_permit_step, permit_state
from collector.registers.trail import Actor, add_step
from policies.granting import Contract, PermitError, PermitRequest, validate
from policies.model import Scope, Subject
from policies.ordinance import Ordinance, find_article
from protocol.refusal import RefusedError

SECTION_HEAD = "section_head"


class Terms(Struct, frozen=True, kw_only=True):
    """What a permit is bound to beyond subject, scope and period; ``renews``: the permit it follows."""

    read_only: bool = False
    no_confidential: bool = False
    conditions: tuple[str, ...] = ()
    renews: str = ""


PLAIN = Terms()


def grant(
    session: Session,
    request: PermitRequest,
    ordinances: Mapping[str, Ordinance],
    *,
    granted_by: str,
    now_us: int,
    terms: Terms = PLAIN,
    application_id: str = "",
    section: str = "",
    not_permittable: Iterable[str] = (),
) -> PermitRow:
    """Enter a permit that the approver granted; ``section``: the applicant's, where the register does not say.

    Applicant and approver must be in the register of people and active. The approver's offices are taken from there,
    whatever ``request.approver_roles`` says; a section head approves for the own section. Raises
    ``policies.granting.PermitError`` with the reason it may not be granted, RefusedError ``not_found`` for a person who
    is not there.
    """
    applicant, approver = active_person(session, request.applicant), active_person(session, request.approver)
    roles = offices_for(approver, applicant.section or section)
    request = replace(request, applicant=applicant.id, approver=approver.id, approver_roles=roles)
    validate(request, ordinances, not_permittable)
    if request.until_us <= now_us:
        raise PermitError("empty_period", "the permit is over already", "until must lie in the future")
    row = _row(request, terms, _office(request, ordinances))
    row.granted_us, row.granted_by = now_us, granted_by
    session.add(row)
    actor = Actor(operator=granted_by, person=approver.id, office=row.approver_role)
    about = {"application_id": application_id, "permit_id": row.id}
    add_step(session, "grant", state_of(row, now_us), actor, now_us=now_us, reason=row.reason, **about)
    session.flush()
    return row


def _row(request: PermitRequest, terms: Terms, office: str) -> PermitRow:
    return PermitRow(
        id=f"p-{secrets.token_hex(6)}",
        kind=request.kind,
        subject=subject_map(request.subject),
        scope=scope_map(request.scope),
        applicant=request.applicant,
        approver=request.approver,
        approver_role=office,
        ordinance=request.ordinance,
        article=request.article,
        reason=request.reason.strip(),
        read_only=terms.read_only,
        no_confidential=terms.no_confidential,
        conditions=[text.strip() for text in terms.conditions if text.strip()],
        basis=request.basis,
        contract={name: text for name, text in asdict(request.contract).items() if text},
        renews=terms.renews,
        from_us=request.from_us,
        until_us=request.until_us,
        revoked_us=0,
        revoked_by="",
        revoke_reason="",
    )


def renew(
    session: Session,
    permit_id: str,
    ordinances: Mapping[str, Ordinance],
    *,
    until_us: int,
    approver: str,
    reason: str,
    granted_by: str,
    now_us: int,
    not_permittable: Iterable[str] = (),
) -> PermitRow:
    """Grant a permit anew: what, where, conditions and article stay; it begins when the old one ends, or now.

    Raises what :func:`grant` raises, and RefusedError ``wrong_state`` (revoked, not begun), ``already_there`` (it was
    renewed), ``not_found``.
    """
    old = get_permit(session, permit_id)
    followers = successors(session, [permit_id])
    if permit_id in followers:
        raise RefusedError("already_there", f"permit {permit_id} is renewed by {followers[permit_id]}")
    check_permit_step(state_of(old, now_us), "renew", reason)
    request = _again(old, max(now_us, old.until_us), until_us, approver, reason)
    row = grant(
        session,
        request,
        ordinances,
        granted_by=granted_by,
        now_us=now_us,
        terms=_terms_again(old),
        not_permittable=not_permittable,
    )
    actor = Actor(operator=granted_by, person=row.approver, office=row.approver_role)
    add_step(
        session, "renew", "renewed", actor, now_us=now_us, reason=f"{row.id}: {reason}", permit_id=old.id
    )
    return row


def _terms_again(old: PermitRow) -> Terms:
    return Terms(
        read_only=old.read_only,
        no_confidential=old.no_confidential,
        conditions=tuple(old.conditions),
        renews=old.id,
    )


def _again(old: PermitRow, from_us: int, until_us: int, approver: str, reason: str) -> PermitRequest:
    return PermitRequest(
        kind=old.kind,  # type: ignore[arg-type]  # it was one of them when it was granted
        subject=msgspec.convert(old.subject, Subject),
        scope=msgspec.convert(old.scope, Scope),
        from_us=from_us,
        until_us=until_us,
        applicant=old.applicant,
        approver=approver,
        approver_roles=(),
        ordinance=old.ordinance,
        article=old.article,
        reason=reason,
        basis=old.basis,  # type: ignore[arg-type]
        contract=msgspec.convert(old.contract, Contract),
    )


def revoke(
    session: Session,
    permit_id: str,
    *,
    reason: str,
    revoked_by: str,
    now_us: int,
    person: str = "",
    office: str = "",
) -> PermitRow:
    """Take a permit back; PCs learn of it with the next release, the collector's own flagging too.

    Raises RefusedError ``not_found``, ``bad_value`` without a reason, ``already_there`` when it is revoked,
    ``wrong_state`` when it is over.
    """
    row = get_permit(session, permit_id)
    if row.revoked_us:
        raise RefusedError("already_there", f"permit {permit_id} is revoked")
    check_permit_step(state_of(row, now_us), "revoke", reason)
    row.revoked_us, row.revoked_by, row.revoke_reason = now_us, revoked_by, reason.strip()
    actor = Actor(operator=revoked_by, person=person, office=office)
    add_step(session, "revoke", "revoked", actor, now_us=now_us, reason=reason, permit_id=row.id)
    session.flush()
    return row


def get_permit(session: Session, permit_id: str) -> PermitRow:
    """One permit. Raises RefusedError ``not_found``."""
    row = session.get(PermitRow, permit_id)
    if row is None:
        raise RefusedError("not_found", f"no permit {permit_id}", "sekisho permits list")
    return row


def known_permits(session: Session) -> frozenset[str]:
    """Ids of all permits there ever were."""
    return frozenset(session.scalars(select(PermitRow.id)))


def state_of(row: PermitRow, now_us: int, *, renewed: bool = False) -> PermitState:
    """State at ``now_us``; it follows from the times alone, nothing has to run for a permit to expire."""
    return permit_state(row.from_us, row.until_us, now_us, revoked=row.revoked_us > 0, renewed=renewed)


def successors(session: Session, permit_ids: Iterable[str]) -> dict[str, str]:
    """Permit → the unrevoked one that renews it, of those that have one."""
    query = select(PermitRow.renews, PermitRow.id).where(
        PermitRow.renews.in_(list(permit_ids)), PermitRow.revoked_us == 0
    )
    return dict(session.execute(query).all())


def list_permits(
    session: Session, *, kind: str = "", state: PermitState | None = None, now_us: int = 0
) -> list[PermitRow]:
    """Permits, newest first. ``state`` as of ``now_us``, renewed ones count as expired; None = all."""
    query = select(PermitRow).order_by(PermitRow.granted_us.desc(), PermitRow.id)
    if kind:
        query = query.where(PermitRow.kind == kind)
    return [row for row in session.scalars(query) if state is None or state_of(row, now_us) == state]


def expiring(session: Session, now_us: int, within_us: int) -> list[PermitRow]:
    """Permits in force that end within a time and that nothing follows yet, the next to end first."""
    query = (
        select(PermitRow)
        .where(
            PermitRow.revoked_us == 0,
            PermitRow.from_us <= now_us,
            PermitRow.until_us > now_us,
            PermitRow.until_us <= now_us + within_us,
        )
        .order_by(PermitRow.until_us, PermitRow.id)
    )
    rows = list(session.scalars(query))
    followed = successors(session, [row.id for row in rows])
    return [row for row in rows if row.id not in followed]


def active_person(session: Session, person_id: str) -> Person:
    """Somebody in office. Raises RefusedError ``not_found``."""
    row = get_person(session, person_id)
    if not row.active:
        raise RefusedError("not_found", "this person has left", "name somebody who is in office")
    return row


def offices_for(person: Person, section: str) -> tuple[str, ...]:
    """Offices in which somebody may decide for a section: a section head's counts for the own one."""
    own = not section or not person.section or person.section == section
    return tuple(role for role in person.roles if own or role != SECTION_HEAD)


def scope_map(scope: Scope) -> dict[str, list[str]]:
    """A scope as the register keeps it: only its filled parts."""
    return {name: list(part) for name, part in asdict(scope).items() if part}


def _office(request: PermitRequest, ordinances: Mapping[str, Ordinance]) -> str:
    """The office that allowed the approver to approve: one the article names, else one that acts for it."""
    ordinance = ordinances[request.ordinance]
    article = find_article(ordinances, request.ordinance, request.article)
    assert article is not None  # noqa: S101 - `validate` has found it
    named = [role for role in article.permit_by if role in request.approver_roles]
    return named[0] if named else min(ordinance.approvers(article).intersection(request.approver_roles))
