"""What the register of facts says about each article for one section and one fiscal year."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.coverage.table import Row
from collector.registers.models import Agent, Alert, PermitRow

Proposal = Literal["", "yes", "no"]
Cited = tuple[str, str]
"""(ordinance, article)"""


class Facts(Struct, frozen=True, kw_only=True):
    """Facts behind one question. ``pcs`` counts PCs by how the article is served on them."""

    state: str
    pcs: dict[str, int]
    gaps: tuple[str, ...] = ()
    """Why some PCs do not serve it, with their names."""
    violations: int = 0
    """Flagged in the year, repeated ones counted."""
    blocked: int = 0
    """Of these, stopped."""
    unseen: int = 0
    """Alerts that nobody has acknowledged."""
    permits: int = 0
    """In force at the end of the year, or now."""
    lapsed: int = 0
    """Permits that ended in the year."""


class Tally(Struct):
    """What happened under one article."""

    violations: int = 0
    blocked: int = 0
    unseen: int = 0
    permits: int = 0
    lapsed: int = 0


def tallies(session: Session, section: str, since_us: int, until_us: int, now_us: int) -> dict[Cited, Tally]:
    """Count alerts of a section's PCs and its permits by the article they cite, from ``since_us`` until ``until_us``."""
    found: dict[Cited, Tally] = {}
    alerts = (
        select(Alert.citations, Alert.action, Alert.count, Alert.acknowledged_us)
        .join(Agent, Agent.id == Alert.agent_id)
        .where(Agent.section == section, Alert.event_us >= since_us, Alert.event_us < until_us)
    )
    for citations, action, count, acknowledged_us in session.execute(alerts):
        for cited in {(one["ordinance"], one["article"]) for one in citations}:
            tally = found.setdefault(cited, Tally())
            tally.violations += count
            tally.blocked += count if action == "blocked" else 0
            tally.unseen += not acknowledged_us
    moment = min(now_us, until_us)
    for row in session.scalars(select(PermitRow).where(PermitRow.until_us >= since_us)):
        if section not in row.scope.get("sections", [section]):
            continue
        tally = found.setdefault((row.ordinance, row.article), Tally())
        ends = min(row.until_us, row.revoked_us or row.until_us)
        tally.permits += row.from_us <= moment < ends
        tally.lapsed += since_us <= ends < moment
    return found


def facts_of(row: Row, tally: Tally) -> Facts:
    """The facts of one article."""
    return Facts(
        state=row.state,
        pcs=row.pcs,
        gaps=tuple(
            f"{group.why} {group.detail}: {', '.join(group.hosts[:20])}"
            for group in row.groups
            if group.state == "not_supported"
        ),
        violations=tally.violations,
        blocked=tally.blocked,
        unseen=tally.unseen,
        permits=tally.permits,
        lapsed=tally.lapsed,
    )


def propose(facts: Facts) -> Proposal:
    """What the facts say by themselves. Where the system does not look, only a person can answer."""
    if facts.violations > facts.blocked or facts.unseen:
        return "no"
    if facts.state in {"enforced", "observed", "recorded"}:
        return "yes"
    return ""
