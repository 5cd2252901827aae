"""Applications for permits: made at a PC or by a form, examined, decided."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct
from sqlalchemy.orm import Session

from collector.console.context import Console
from collector.console.gate import note
from collector.console.permit_views import ApplicationFile, ApplicationView, application, permit, step
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.console.routes.common import (
    Call,
    Micros,
    PathText,
    QueryText,
    Reason,
    Text,
    caller_of,
    console_of,
    need_reason,
    section_for,
)
from collector.console.routes.permits import (
    Conditions,
    Granted,
    Id,
    barred,
    check_approver,
    check_section,
    resolved,
)
from collector.registers import applications
from collector.registers.applications import Deciders, Decision, Wanted
from collector.registers.models import Agent, Person
from collector.registers.models_permits import Application
from collector.registers.permits import Terms
from collector.registers.procedure import OPEN
from collector.registers.trail import Actor, trail_of
from policies.granting import Basis, Contract
from policies.model import PermitKind, Scope, Subject
from protocol.refusal import RefusedError

QueryFlag = Annotated[bool, QueryParameter()]
Days = Annotated[int, Meta(ge=1, le=applications.MOST_DAYS)]


class NewApplication(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A form. ``scope.agents`` may hold host names or fingerprint prefixes; ``renews``: the permit it is to follow."""

    applicant: Id
    kind: PermitKind
    subject: Subject
    purpose: Reason
    days: Days
    scope: Scope = Scope()
    basis: Basis = ""
    contract: Contract = Contract()
    renews: Text = ""


class Remark(Struct, frozen=True, forbid_unknown_fields=True):
    """By whom (empty: the account's own person), and why."""

    reason: Reason
    person: Text = ""


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Under which article, by whom, with which conditions. What is left out is as applied for."""

    ordinance: Id
    article: Id
    approver: Id
    reason: Reason
    from_us: Micros = 0
    until_us: Micros = 0
    scope: Scope | None = None
    read_only: bool = False
    no_confidential: bool = False
    conditions: Conditions = ()
    device_class: Text = ""
    basis: Basis = ""
    contract: Contract = Contract()


@get("/applications", sync_to_thread=True)
def list_applications(
    request: Call, only: QueryText = "", section: QueryText = "", *, mine: QueryFlag = False
) -> list[ApplicationView]:
    """Applications, those that wait longest first; ``mine``: open ones that the account's own person may decide.

    ``only``: applied | examined | granted | refused | withdrawn | lapsed, or ``open``. Section heads see their section's.
    """
    caller, console = caller_of(request), console_of(request)
    wanted = section_for(caller, section or None)
    with console.store.read() as session:
        deciders = _deciders(console, session)
        rows = applications.list_applications(session, section=wanted)
        views = [_view(session, row, deciders, console.clock()) for row in rows]
    if only:
        views = [one for one in views if one.state == only or (only == "open" and one.state in OPEN)]
    if mine:
        views = [one for one in views if any(who.person == caller.person_id for who in one.may_decide)]
    return views


@get("/applications/{application_id:str}", sync_to_thread=True)
def show(request: Call, application_id: PathText) -> ApplicationFile:
    """An application with its paper trail, and under which articles it can be granted. 404 ``not_found``."""
    console = console_of(request)
    with console.store.read() as session:
        row = _application_for(session, application_id, caller_of(request))
        trail = trail_of(session, application_id=row.id, permit_id=row.permit_id)
        grounds = applications.grounds(row, console.ordinances, console.in_use(session))
        view = _view(session, row, _deciders(console, session), console.clock())
        return ApplicationFile(view, list(map(step, trail)), grounds)


@post("/applications", sync_to_thread=True)
def add(request: Call, data: JSONBody[NewApplication]) -> ApplicationView:
    """Enter a form for somebody of the register of people. 422 when it names nothing that a permit could be for."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, applicant=data.applicant)
    with console.store.write() as session:
        wanted = Wanted(
            applicant=data.applicant,
            kind=data.kind,
            subject=data.subject,
            purpose=data.purpose,
            days=data.days,
            scope=resolved(session, data.scope, caller),
            basis=data.basis,
            contract=data.contract,
            renews=data.renews,
        )
        row = applications.apply(session, wanted, entered_by=caller.name, now_us=console.clock())
        _check_own(row, caller)
        note(request.scope, application=row.id)
        return _view(session, row, _deciders(console, session), console.clock())


@post("/applications/{application_id:str}/examine", status_code=200, sync_to_thread=True)
def examine(request: Call, application_id: PathText, data: JSONBody[Remark]) -> ApplicationView:
    """Note what an examination found. 409 once it is decided."""
    return _remark(request, application_id, data, "examine")


@post("/applications/{application_id:str}/refuse", status_code=200, sync_to_thread=True)
def refuse(request: Call, application_id: PathText, data: JSONBody[Remark]) -> ApplicationView:
    """Decide against it; by somebody who could also grant it. 403 ``role_not_named``, 409 once it is decided."""
    return _remark(request, application_id, data, "refuse")


@post("/applications/{application_id:str}/withdraw", status_code=200, sync_to_thread=True)
def withdraw(request: Call, application_id: PathText, data: JSONBody[Remark]) -> ApplicationView:
    """The applicant no longer wants it. 409 once it is decided."""
    return _remark(request, application_id, data, "withdraw")


@post("/applications/{application_id:str}/grant", sync_to_thread=True)
def grant(request: Call, application_id: PathText, data: JSONBody[Grant]) -> Granted:
    """Grant it. Refusals are those of ``policies.granting``; 409 ``wrong_state`` once it is decided."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=data.reason, application=application_id, approver=data.approver)
    with console.store.write() as session:
        row = _application_for(session, application_id, caller)
        check_approver(caller, data.approver)
        scope = None if data.scope is None else resolved(session, data.scope, caller)
        if scope is not None:
            check_section(caller, scope)
        granted = applications.decide(
            session,
            row,
            _decision(data, scope, console.clock()),
            console.ordinances,
            entered_by=caller.name,
            now_us=console.clock(),
            not_permittable=barred(console),
        )
        note(request.scope, permit=granted.id)
        return Granted(permit(granted, console.clock()))


def _decision(data: Grant, scope: Scope | None, now_us: int) -> Decision:
    return Decision(
        ordinance=data.ordinance,
        article=data.article,
        approver=data.approver,
        reason=data.reason,
        from_us=data.from_us or now_us,
        until_us=data.until_us,
        scope=scope,
        terms=Terms(
            read_only=data.read_only, no_confidential=data.no_confidential, conditions=data.conditions
        ),
        device_class=data.device_class,
        basis=data.basis,
        contract=data.contract,
    )


def _remark(request: Call, application_id: str, data: Remark, deed: str) -> ApplicationView:
    caller, console = caller_of(request), console_of(request)
    person = data.person or caller.person_id
    reason = need_reason(data.reason, f"to {deed} an application")
    note(request.scope, reason=reason, application=application_id, person=person)
    with console.store.write() as session:
        row, deciders = _application_for(session, application_id, caller), _deciders(console, session)
        now_us = console.clock()
        if deed == "examine":
            actor = Actor(operator=caller.name, person=person, office=caller.role)
            applications.examine(session, row, actor, note=reason, now_us=now_us)
        elif deed == "refuse":
            check_approver(caller, person)
            actor = Actor(operator=caller.name, person=person, office=deciders.office_of(row, person))
            applications.refuse(session, row, actor, reason=reason, now_us=now_us)
        else:
            actor = Actor(operator=caller.name, person=row.applicant)
            applications.withdraw(session, row, actor, reason=reason, now_us=now_us)
        return _view(session, row, deciders, now_us)


def _deciders(console: Console, session: Session) -> Deciders:
    return Deciders(session, console.ordinances, console.in_use(session))


def _application_for(session: Session, application_id: str, caller: Caller) -> Application:
    row = applications.get_application(session, application_id)
    if caller.only_section not in {None, row.section}:
        raise RefusedError(
            "not_found", f"no application {application_id} of your section", "sekisho applications list"
        )
    return row


def _check_own(row: Application, caller: Caller) -> None:
    if caller.only_section not in {None, row.section}:
        raise ApiError(403, "forbidden", "a section head enters applications of the own section")


def _view(session: Session, row: Application, deciders: Deciders, now_us: int) -> ApplicationView:
    agent = session.get(Agent, row.agent_id) if row.agent_id else None
    return application(
        row,
        now_us,
        hostname=agent.hostname if agent else "",
        known=session.get(Person, row.applicant) is not None,
        deciders=deciders.of(row) if row.state in OPEN else {},
    )


HANDLERS = (list_applications, show, add, examine, refuse, withdraw, grant)
