"""Applications for permits: from a PC or a form, examined, decided under an article. Rows are kept; see ``procedure``."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from collector.registers import permits
from collector.registers.assets import subject_map
from collector.registers.models import Agent, PermitRow, Person
from collector.registers.models_permits import Application
from collector.registers.permits import Terms, offices_for, scope_map
from collector.registers.procedure import (
    DAY_US,
    LAPSE_US,
    OPEN,
    ApplicationState,
    ApplicationStep,
    application_after,
    application_state,
)
from collector.registers.trail import Actor, add_step
from policies.granting import Basis, Contract, PermitError, PermitRequest, check_subject, offices, serving
from policies.model import PermitKind, Scope, Subject
from policies.ordinance import Ordinance
from protocol.refusal import RefusedError

MOST_DAYS = 3660
MOST_OPEN = 50
"""Open applications of one PC; more are a fault of the PC, not a need."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What somebody applies for. ``request``: id the PC gave it; empty for a form."""

    applicant: str
    kind: PermitKind
    subject: Subject
    purpose: str
    days: int
    scope: Scope = Scope()
    basis: Basis = ""
    contract: Contract = Contract()
    agent_id: str = ""
    request: str = ""
    refused_by: str = ""
    renews: str = ""


class Decision(Struct, frozen=True, kw_only=True):
    """What an application is granted under; what is left empty is as applied for (``until_us`` 0: the days)."""

    ordinance: str
    article: str
    approver: str
    reason: str
    from_us: int
    until_us: int = 0
    scope: Scope | None = None
    terms: Terms = Terms()
    device_class: str = ""
    basis: Basis = ""
    contract: Contract = Contract()


def apply(session: Session, wanted: Wanted, *, entered_by: str, now_us: int) -> Application:
    """Enter a form. Raises PermitError (subject), RefusedError ``bad_value`` (no purpose, days), ``not_found``."""
    check_subject(wanted.kind, wanted.subject)
    if not wanted.purpose.strip() or not 0 < wanted.days <= MOST_DAYS:
        raise RefusedError(
            "bad_value", "an application says what for, and for how many days", f"1 to {MOST_DAYS}"
        )
    person = permits.active_person(session, wanted.applicant)
    values = _values(wanted, now_us) | {"section": person.section}
    row = Application(**values | {"request": values["id"]})
    session.add(row)
    actor = Actor(operator=entered_by, person=person.id)
    add_step(session, "apply", "applied", actor, now_us=now_us, reason=row.purpose, application_id=row.id)
    session.flush()
    return row


def take_in(session: Session, wanted: Iterable[Wanted], now_us: int) -> list[Wanted]:
    """Enter what PCs sent, each request of a PC once; returns those refused because too many of the PC are open.

    What is in them has been checked by ``collector.detection.requests``.
    """
    refused: list[Wanted] = []
    room: dict[str, int] = {}
    for one in wanted:
        if one.agent_id not in room:
            room[one.agent_id] = MOST_OPEN - _open_of(session, one.agent_id, now_us)
        if room[one.agent_id] <= 0:
            refused.append(one)
            continue
        agent = session.get(Agent, one.agent_id)
        values = _values(one, now_us) | {"section": agent.section if agent else ""}
        entered = session.execute(insert(Application).values(values).on_conflict_do_nothing())
        if entered.rowcount:  # type: ignore[attr-defined]  # of every INSERT
            room[one.agent_id] -= 1
            actor = Actor(person=one.applicant)
            add_step(
                session, "apply", "applied", actor,
                now_us=now_us, reason=one.purpose, application_id=str(values["id"]),
            )  # fmt: skip
    return refused


def examine(session: Session, row: Application, actor: Actor, *, note: str, now_us: int) -> None:
    """Note what an examination found; may be done again. Raises RefusedError ``wrong_state``, ``self_approval``."""
    _not_oneself(row, actor.person)
    _step(session, row, "examine", actor, reason=note, now_us=now_us)


def refuse(session: Session, row: Application, actor: Actor, *, reason: str, now_us: int) -> None:
    """Decide against it. Raises RefusedError ``wrong_state``, ``bad_value``, ``self_approval``."""
    _not_oneself(row, actor.person)
    _step(session, row, "refuse", actor, reason=reason, now_us=now_us)


def withdraw(session: Session, row: Application, actor: Actor, *, reason: str, now_us: int) -> None:
    """The applicant no longer wants it. Raises RefusedError ``wrong_state``, ``bad_value``."""
    _step(session, row, "withdraw", actor, reason=reason, now_us=now_us)


def decide(
    session: Session,
    row: Application,
    decision: Decision,
    ordinances: Mapping[str, Ordinance],
    *,
    entered_by: str,
    now_us: int,
    not_permittable: Iterable[str] = (),
) -> PermitRow:
    """Grant it. Raises PermitError as ``permits.grant``, RefusedError ``wrong_state`` or ``not_found``."""
    application_after(state_of(row, now_us), "grant", decision.reason)
    granted = permits.grant(
        session,
        _request(row, decision),
        ordinances,
        granted_by=entered_by,
        now_us=now_us,
        terms=decision.terms,
        application_id=row.id,
        section=row.section,
        not_permittable=not_permittable,
    )
    row.state, row.state_us, row.permit_id = "granted", now_us, granted.id
    session.flush()
    return granted


def get_application(session: Session, application_id: str) -> Application:
    """One application. Raises RefusedError ``not_found``."""
    row = session.get(Application, application_id)
    if row is None:
        raise RefusedError("not_found", f"no application {application_id}", "sekisho applications list")
    return row


def list_applications(
    session: Session, *, section: str | None = None, state: ApplicationState | None = None, now_us: int = 0
) -> list[Application]:
    """Applications, those that wait longest first; ``section`` None = all, ``state`` as of ``now_us``, None = all."""
    query = select(Application).order_by(Application.applied_us, Application.id)
    if section is not None:
        query = query.where(Application.section == section)
    return [row for row in session.scalars(query) if state is None or state_of(row, now_us) == state]


def state_of(row: Application, now_us: int) -> ApplicationState:
    """State at ``now_us``; an application that nobody decides lapses by time alone."""
    return application_state(row.state, row.applied_us, now_us)  # type: ignore[arg-type]


# -- who may decide ----------------------------------------------------------------------------------------------------


class Deciders:
    """Who may decide about which application: people in office, read once."""

    def __init__(self, session: Session, ordinances: Mapping[str, Ordinance], in_use: Iterable[str]) -> None:
        people = session.scalars(select(Person).where(Person.active).order_by(Person.id))
        self._people = [person for person in people if person.roles]
        self._ordinances = [ordinances[one] for one in in_use if one in ordinances]
        self._named: dict[str, frozenset[str]] = {}

    def of(self, row: Application) -> dict[str, tuple[str, ...]]:
        """Login name → offices in which that person may decide about it; the applicant never may."""
        if row.kind not in self._named:
            self._named[row.kind] = frozenset[str](offices(row.kind, self._ordinances))  # type: ignore[arg-type]
        named = self._named[row.kind]
        found = {}
        for person in self._people:
            held = tuple(office for office in offices_for(person, row.section) if office in named)
            if held and person.id != row.applicant:
                found[person.id] = held
        return found

    def office_of(self, row: Application, person_id: str) -> str:
        """The office in which a person decides about it. Raises PermitError ``role_not_named``."""
        held = self.of(row).get(person_id)
        if held is None:
            raise PermitError(
                "role_not_named", "this person may not decide about it", "sekisho applications show: who may"
            )
        return held[0]


def grounds(row: Application, ordinances: Mapping[str, Ordinance], in_use: Iterable[str]) -> list[str]:
    """``ordinance:article`` under which it can be granted."""
    kind: PermitKind = row.kind  # type: ignore[assignment]  # checked when it was entered
    used = [ordinances[one] for one in in_use if one in ordinances]
    return [f"{one.id}:{article.number}" for one in used for article in serving(kind, one)]


# -- rows --------------------------------------------------------------------------------------------------------------


def _request(row: Application, decision: Decision) -> PermitRequest:
    return PermitRequest(
        kind=row.kind,  # type: ignore[arg-type]  # checked when it was entered
        subject=msgspec.convert(row.subject, Subject),
        scope=msgspec.convert(row.scope, Scope) if decision.scope is None else decision.scope,
        from_us=decision.from_us,
        until_us=decision.until_us or decision.from_us + row.days * DAY_US,
        applicant=row.applicant,
        approver=decision.approver,
        approver_roles=(),
        ordinance=decision.ordinance,
        article=decision.article,
        reason=decision.reason,
        device_class=decision.device_class,
        basis=decision.basis or row.basis,  # type: ignore[arg-type]
        contract=msgspec.convert({**row.contract, **_filled(decision.contract)}, Contract),
    )


def _values(wanted: Wanted, now_us: int) -> dict[str, Any]:
    return {
        "id": f"a-{secrets.token_hex(6)}",
        "agent_id": wanted.agent_id,
        "request": wanted.request,
        "state": "applied",
        "state_us": now_us,
        "applicant": wanted.applicant,
        "kind": wanted.kind,
        "subject": subject_map(wanted.subject),
        "scope": scope_map(wanted.scope),
        "purpose": wanted.purpose.strip(),
        "days": wanted.days,
        "basis": wanted.basis,
        "contract": _filled(wanted.contract),
        "refused_by": wanted.refused_by,
        "renews": wanted.renews,
        "permit_id": "",
        "applied_us": now_us,
    }


def _filled(contract: Contract) -> dict[str, str]:
    return {name: text for name, text in asdict(contract).items() if text}


def _step(
    session: Session, row: Application, step: ApplicationStep, actor: Actor, *, reason: str, now_us: int
) -> None:
    row.state = application_after(state_of(row, now_us), step, reason)
    row.state_us = now_us
    add_step(session, step, row.state, actor, now_us=now_us, reason=reason, application_id=row.id)
    session.flush()


def _not_oneself(row: Application, person: str) -> None:
    if person == row.applicant:
        raise RefusedError("self_approval", "this is one's own application", "somebody else must")


def _open_of(session: Session, agent_id: str, now_us: int) -> int:
    query = select(func.count()).where(
        Application.agent_id == agent_id,
        Application.state.in_(sorted(OPEN)),
        Application.applied_us > now_us - LAPSE_US,
    )
    return session.scalar(query) or 0
