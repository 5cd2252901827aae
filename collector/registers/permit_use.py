"""The use log of permits: how often, on which PC, by whom, on which day. Bounded, whatever a PC reports."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from collector.registers.models_permits import PermitUse

TOKYO_US = 9 * 3600 * 1_000_000
DAY_US = 86_400_000_000
OTHERS = "*"
"""Stands for everybody beyond :data:`MOST_PEOPLE`."""
MOST_PEOPLE = 50
"""People listed by name for one permit on one PC; a PC may invent any number."""

UseKey = tuple[str, str, str, int]
"""Permit, PC, person, day."""


class Count(Struct):
    """What came in since the last writing. Times are those of the events, UTC µs."""

    count: int = 0
    attempts: int = 0
    first_us: int = 1 << 62
    last_us: int = 0


def day_of(time_us: int) -> int:
    """Day of a moment in Asia/Tokyo, counted from 1970-01-01."""
    return (time_us + TOKYO_US) // DAY_US


def add_uses(session: Session, uses: Iterable[tuple[UseKey, Count]]) -> None:
    """Add counts to the log."""
    known: dict[tuple[str, str], set[str]] = {}
    for (permit_id, agent_id, person, day), more in uses:
        people = known.get((permit_id, agent_id))
        if people is None:
            people = known[permit_id, agent_id] = _people(session, permit_id, agent_id)
        listed = person if person in people or len(people) < MOST_PEOPLE else OTHERS
        people.add(listed)
        _add(session, (permit_id, agent_id, listed, day), more)


def _people(session: Session, permit_id: str, agent_id: str) -> set[str]:
    query = (
        select(PermitUse.person)
        .where(PermitUse.permit_id == permit_id, PermitUse.agent_id == agent_id)
        .distinct()
    )
    return set(session.scalars(query))


def _add(session: Session, key: UseKey, more: Count) -> None:
    permit_id, agent_id, person, day = key
    new = insert(PermitUse).values(
        permit_id=permit_id,
        agent_id=agent_id,
        person=person,
        day=day,
        count=more.count,
        attempts=more.attempts,
        first_us=more.first_us,
        last_us=more.last_us,
    )
    added = new.excluded
    session.execute(
        new.on_conflict_do_update(
            index_elements=["permit_id", "agent_id", "person", "day"],
            set_={
                "count": PermitUse.count + added.count,
                "attempts": PermitUse.attempts + added.attempts,
                "first_us": func.min(PermitUse.first_us, added.first_us),
                "last_us": func.max(PermitUse.last_us, added.last_us),
            },
        )
    )


class Total(Struct, frozen=True):
    """All use of one permit; times 0 = never used."""

    count: int = 0
    attempts: int = 0
    agents: int = 0
    last_us: int = 0


def uses_of(session: Session, permit_id: str, limit: int = 1000) -> list[PermitUse]:
    """The log of one permit, newest first."""
    query = (
        select(PermitUse)
        .where(PermitUse.permit_id == permit_id)
        .order_by(PermitUse.last_us.desc(), PermitUse.agent_id, PermitUse.person)
        .limit(limit)
    )
    return list(session.scalars(query))


def totals(session: Session, permit_ids: Iterable[str]) -> dict[str, Total]:
    """Permit → its use, of those that were used."""
    query = (
        select(
            PermitUse.permit_id,
            func.sum(PermitUse.count),
            func.sum(PermitUse.attempts),
            func.count(PermitUse.agent_id.distinct()),
            func.max(PermitUse.last_us),
        )
        .where(PermitUse.permit_id.in_(list(permit_ids)))
        .group_by(PermitUse.permit_id)
    )
    return {row[0]: Total(*row[1:]) for row in session.execute(query)}
