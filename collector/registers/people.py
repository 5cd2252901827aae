"""People of the city with their sections and the roles that ordinances name (名古屋 第37条, 練馬 第11条–第19条)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import Person
from protocol.refusal import RefusedError


def add_person(
    session: Session, person_id: str, name: str, *, section: str = "", roles: Iterable[str] = ()
) -> Person:
    """Register a person by login name. Raises RefusedError ``already_there`` or ``bad_value`` (no login name)."""
    if not person_id:
        raise RefusedError("bad_value", "a person needs a login name")
    if session.get(Person, person_id) is not None:
        raise RefusedError("already_there", "this login name is registered")
    row = Person(id=person_id, name=name, section=section, roles=_role_list(roles), active=True)
    session.add(row)
    session.flush()
    return row


def update_person(
    session: Session,
    person_id: str,
    *,
    name: str | None = None,
    section: str | None = None,
    roles: Iterable[str] | None = None,
    active: bool | None = None,
) -> Person:
    """Change what is given; ``active=False`` when somebody leaves. Raises RefusedError ``not_found``."""
    row = get_person(session, person_id)
    if name is not None:
        row.name = name
    if section is not None:
        row.section = section
    if roles is not None:
        row.roles = _role_list(roles)
    if active is not None:
        row.active = active
    session.flush()
    return row


def get_person(session: Session, person_id: str) -> Person:
    """One person. Raises RefusedError ``not_found``."""
    row = session.get(Person, person_id)
    if row is None:
        raise RefusedError("not_found", "no such person in the register")
    return row


def list_people(
    session: Session, *, section: str | None = None, role: str = "", active: bool | None = True
) -> list[Person]:
    """People by login name; ``section`` None = all sections, ``active`` None = also those who left."""
    query = select(Person).order_by(Person.id)
    if section is not None:
        query = query.where(Person.section == section)
    if active is not None:
        query = query.where(Person.active == active)
    return [person for person in session.scalars(query) if not role or role in person.roles]


def seed_people(session: Session, people: Iterable[tuple[str, str, str, Iterable[str]]]) -> int:
    """Add everybody of (login name, name, section, roles) who is not there yet; nobody is changed. Returns how many."""
    added = 0
    for person_id, name, section, roles in people:
        if session.get(Person, person_id) is None:
            add_person(session, person_id, name, section=section, roles=roles)
            added += 1
    return added


def _role_list(roles: Iterable[str]) -> list[str]:
    return sorted(set(roles))
