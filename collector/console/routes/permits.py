"""Permits: who may use what, by whose leave, under which article, and what became of it."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.console.context import Console
from collector.console.gate import note
from collector.console.permit_views import PermitFile, PermitView, UseView, permit, step, use
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.console.routes.common import (
    Call,
    Micros,
    PathText,
    QueryMicros,
    QueryText,
    Reason,
    Text,
    caller_of,
    console_of,
    host_for,
    need_reason,
)
from collector.desk.site import load_site
from collector.registers import permits
from collector.registers.models import Agent, PermitRow, Person
from collector.registers.permit_use import totals, uses_of
from collector.registers.permits import Terms
from collector.registers.trail import trail_of
from policies.granting import MOST_CONDITIONS, Basis, Contract, PermitRequest
from policies.model import PermitKind, Scope, Subject
from protocol.refusal import RefusedError

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Conditions = Annotated[tuple[Text, ...], Meta(max_length=MOST_CONDITIONS)]


class NewPermit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application with its approval. ``scope.agents`` may hold host names or fingerprint prefixes.

    The approver's offices are those of the register of people, never of this call. Times are UTC µs, ``until_us``
    exclusive.
    """

    kind: PermitKind
    subject: Subject
    scope: Scope = Scope()
    applicant: Id
    approver: Id
    ordinance: Id
    article: Id
    reason: Reason
    from_us: Micros
    until_us: Micros
    read_only: bool = False
    no_confidential: bool = False
    conditions: Conditions = ()
    device_class: Text = ""
    basis: Basis = ""
    contract: Contract = Contract()


class Revocation(Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is taken back."""

    reason: Reason


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """Until when it goes on, by whose leave, why."""

    approver: Id
    reason: Reason
    until_us: Micros


class Granted(Struct, frozen=True):
    """The permit, and that it reaches PCs with the next policy release only."""

    permit: PermitView
    release_due: bool = True


@get("/permits", sync_to_thread=True)
def list_permits(
    request: Call, only: QueryText = "", kind: QueryText = "", expiring_us: QueryMicros = 0
) -> list[PermitView]:
    """Permits, newest first; ``only``: pending | granted | expired | renewed | revoked.

    ``expiring_us``: only those in force that end within so long and are not renewed, the next to end first. Section
    heads see their section's.
    """
    caller, console = caller_of(request), console_of(request)
    now_us = console.clock()
    with console.store.read() as session:
        if expiring_us:
            rows = permits.expiring(session, now_us, expiring_us)
        else:
            rows = permits.list_permits(session, kind=kind)
        shown = [row for row in rows if kind in {"", row.kind} and concerns(session, row, caller)]
        views = _views(session, shown, now_us)
    return [view for view in views if only in {"", view.state}]


@get("/permits/{permit_id:str}", sync_to_thread=True)
def show(request: Call, permit_id: PathText) -> PermitFile:
    """A permit with its paper trail and use log. 404 ``not_found``."""
    caller, console = caller_of(request), console_of(request)
    with console.store.read() as session:
        row = permit_for(session, permit_id, caller)
        (view,) = _views(session, [row], console.clock())
        return PermitFile(view, list(map(step, trail_of(session, permit_id=row.id))), _uses(session, row))


@get("/permits/{permit_id:str}/use", sync_to_thread=True)
def show_use(request: Call, permit_id: PathText) -> list[UseView]:
    """The use log of a permit, newest first."""
    with console_of(request).store.read() as session:
        return _uses(session, permit_for(session, permit_id, caller_of(request)))


@post("/permits", sync_to_thread=True)
def grant(request: Call, data: JSONBody[NewPermit]) -> Granted:
    """Enter a granted permit. Refusals are those of ``policies.granting`` (self_approval, role_not_named …).

    A section head enters what the account's own person approves, for the own section.
    """
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=data.reason, applicant=data.applicant, approver=data.approver)
    with console.store.write() as session:
        scope = resolved(session, data.scope, caller)
        check_approver(caller, data.approver)
        check_section(caller, scope)
        row = permits.grant(
            session,
            _request(data, scope),
            console.ordinances,
            granted_by=caller.name,
            now_us=console.clock(),
            terms=Terms(
                read_only=data.read_only, no_confidential=data.no_confidential, conditions=data.conditions
            ),
            not_permittable=barred(console),
        )
        note(request.scope, permit=row.id)
        return Granted(permit(row, console.clock()))


@post("/permits/{permit_id:str}/renew", sync_to_thread=True)
def renew(request: Call, permit_id: PathText, data: JSONBody[Renewal]) -> Granted:
    """Grant it anew: what, where, conditions and article stay. 409 when it is revoked, or renewed already."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=data.reason, permit=permit_id, approver=data.approver)
    with console.store.write() as session:
        permit_for(session, permit_id, caller)
        check_approver(caller, data.approver)
        row = permits.renew(
            session,
            permit_id,
            console.ordinances,
            until_us=data.until_us,
            approver=data.approver,
            reason=data.reason,
            granted_by=caller.name,
            now_us=console.clock(),
            not_permittable=barred(console),
        )
        note(request.scope, renewed_as=row.id)
        return Granted(permit(row, console.clock()))


@post("/permits/{permit_id:str}/revoke", status_code=200, sync_to_thread=True)
def revoke(request: Call, permit_id: PathText, data: JSONBody[Revocation]) -> Granted:
    """Take a permit back. It is gone from PCs with the next release (``/policy/permits`` makes one at once)."""
    caller, console = caller_of(request), console_of(request)
    reason = need_reason(data.reason, "revoking a permit")
    note(request.scope, reason=reason, permit=permit_id)
    with console.store.write() as session:
        permit_for(session, permit_id, caller)
        row = permits.revoke(
            session,
            permit_id,
            reason=reason,
            revoked_by=caller.name,
            now_us=console.clock(),
            person=caller.person_id,
            office=caller.role,
        )
        return Granted(permit(row, console.clock()))


# -- shared with applications ------------------------------------------------------------------------------------------


def permit_for(session: Session, permit_id: str, caller: Caller) -> PermitRow:
    """A permit as far as the caller may know of it. Raises RefusedError ``not_found``."""
    row = permits.get_permit(session, permit_id)
    if not concerns(session, row, caller):
        raise RefusedError("not_found", f"no permit {permit_id} of your section", "sekisho permits list")
    return row


def resolved(session: Session, scope: Scope, caller: Caller) -> Scope:
    """A scope with PCs by their id. Raises RefusedError ``not_found``."""
    agents = tuple(host_for(session, wanted, caller).id for wanted in scope.agents)
    return Scope(agents=agents, users=scope.users, sections=scope.sections, zones=scope.zones)


def check_approver(caller: Caller, approver: str) -> None:
    """A section head enters decisions of the account's own person only. Raises ApiError 403."""
    if caller.only_section is not None and approver != caller.person_id:
        raise ApiError(
            403, "forbidden", "a section head enters only permits of the own approval", "--approver yourself"
        )


def check_section(caller: Caller, scope: Scope) -> None:
    """A section head permits for the own section. Raises ApiError 403."""
    if caller.only_section is not None and scope.sections != (caller.only_section,) and not scope.agents:
        raise ApiError(
            403, "forbidden", f"the permit must be limited to {caller.only_section}", "--section, or --host"
        )


def barred(console: Console) -> tuple[str, ...]:
    """Device classes that no permit covers, as the site file says. Raises SiteError."""
    return load_site(console.layout.policy).not_permittable


def concerns(session: Session, row: PermitRow, caller: Caller) -> bool:
    """Whether a permit is the caller's business: its section's scope, or an applicant of the section."""
    if caller.only_section is None or caller.only_section in row.scope.get("sections", ()):
        return True
    applicant = session.get(Person, row.applicant)
    return applicant is not None and applicant.section == caller.only_section


def _request(data: NewPermit, scope: Scope) -> PermitRequest:
    return PermitRequest(
        kind=data.kind,
        subject=data.subject,
        scope=scope,
        from_us=data.from_us,
        until_us=data.until_us,
        applicant=data.applicant,
        approver=data.approver,
        approver_roles=(),  # the register of people says which offices the approver holds
        ordinance=data.ordinance,
        article=data.article,
        reason=data.reason,
        device_class=data.device_class,
        basis=data.basis,
        contract=data.contract,
    )


def _views(session: Session, rows: list[PermitRow], now_us: int) -> list[PermitView]:
    ids = [row.id for row in rows]
    followers, used = permits.successors(session, ids), totals(session, ids)
    return [permit(row, now_us, renewed_by=followers.get(row.id, ""), used=used.get(row.id)) for row in rows]


def _uses(session: Session, row: PermitRow) -> list[UseView]:
    found = uses_of(session, row.id)
    query = select(Agent.id, Agent.hostname).where(Agent.id.in_({one.agent_id for one in found}))
    names = dict(session.execute(query).all())
    return [use(one, names.get(one.agent_id, "")) for one in found]


HANDLERS = (list_permits, show, show_use, grant, renew, revoke)
