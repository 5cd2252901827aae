"""Which release which PC is meant to have: releases to all, and releases to a ring of PCs until they are promoted.

A PC never goes back to an older generation. So one that leaves its ring keeps what it got there until something newer
goes to all; it is judged by what it is meant to have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from collector.registers.models import Agent, Release
from protocol.refusal import RefusedError

ALL = ""
"""Ring of the PCs that are in none."""
RING_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


def for_all() -> ColumnElement[bool]:
    """Releases that went to every PC."""
    return and_(Release.status == "released", or_(Release.ring == ALL, Release.promoted_us > 0))


def targets(session: Session) -> dict[str, int]:
    """Ring → generation it is meant to have; only rings that are ahead of all, and :data:`ALL` once there is one."""
    common = session.scalar(select(func.max(Release.generation)).where(for_all()))
    query = (
        select(Release.ring, func.max(Release.generation))
        .where(Release.status == "released", Release.ring != ALL, Release.generation > (common or 0))
        .group_by(Release.ring)
    )
    ahead = dict(iter(session.execute(query)))
    return ahead | ({ALL: common} if common else {})


def target_of(meant: Mapping[str, int], ring: str) -> int:
    """Generation that PCs of ``ring`` are meant to have, from :func:`targets`; 0 = none yet."""
    return meant.get(ring) or meant.get(ALL, 0)


def in_force(session: Session, ring: str = ALL) -> Release | None:
    """The release that PCs of ``ring`` are meant to have."""
    generation = target_of(targets(session), ring)
    return session.get(Release, generation) if generation else None


def newest(session: Session) -> Release | None:
    """The newest release, whichever PCs it is for: the next one has a higher generation."""
    query = select(Release).where(Release.status == "released").order_by(Release.generation.desc()).limit(1)
    return session.scalar(query)


def promote(session: Session, generation: int, now_us: int) -> Release:
    """Give a ring's release to all; it is the same signed document.

    Raises RefusedError ``not_found``, ``wrong_state`` (it went to all already), ``older_generation`` (something newer
    did).
    """
    row = session.get(Release, generation)
    if row is None or row.status != "released":
        raise RefusedError("not_found", f"no release {generation}", "sekisho policy list")
    if row.ring == ALL or row.promoted_us:
        raise RefusedError("wrong_state", f"generation {generation} went to all PCs already")
    common = targets(session).get(ALL, 0)
    if generation < common:
        raise RefusedError(
            "older_generation", f"all PCs have {common}, newer than {generation}", "sekisho policy rollback"
        )
    row.promoted_us = now_us
    session.flush()
    return row


def check_ring(ring: str) -> str:
    """A ring's name, as it may be. Raises RefusedError ``bad_value``."""
    if ring != ALL and not RING_NAME.fullmatch(ring):
        raise RefusedError("bad_value", f"{ring!r} is no name of a ring", "lower case, digits, . _ -")
    return ring


def set_ring(session: Session, ring: str, agents: Iterable[str]) -> int:
    """Put PCs into a ring (:data:`ALL` = into none); returns how many changed. Raises RefusedError ``bad_value``."""
    check_ring(ring)
    moved = update(Agent).where(Agent.id.in_(list(agents)), Agent.ring != ring).values(ring=ring)
    return session.execute(moved).rowcount  # type: ignore[attr-defined, no-any-return]  # of every UPDATE


def ring_sizes(session: Session) -> dict[str, int]:
    """Ring → PCs in it that are active; :data:`ALL` = those in none."""
    query = select(Agent.ring, func.count()).where(Agent.status == "active").group_by(Agent.ring)
    return dict(iter(session.execute(query)))


def running(session: Session) -> dict[int, int]:
    """Generation → active PCs that said they run it."""
    query = (
        select(Agent.policy_generation, func.count())
        .where(Agent.status == "active")
        .group_by(Agent.policy_generation)
    )
    return dict(iter(session.execute(query)))
