"""The PCs that joined or asked to: status, place, and what they last said of themselves."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import Agent
from policies.model import Assignment
from protocol.refusal import RefusedError

Status = Literal["pending", "active", "quarantined", "revoked"]

CHANGES: dict[str, tuple[Status, ...]] = {
    "pending": ("active", "revoked"),
    "active": ("quarantined", "revoked"),
    "quarantined": ("active", "revoked"),
    "revoked": (),
}
"""What may become of a status. A revoked key never comes back: the PC enrols again with a new one."""


def get_agent(session: Session, agent_id: str) -> Agent:
    """One PC. Raises RefusedError ``not_found``."""
    row = session.get(Agent, agent_id)
    if row is None:
        raise RefusedError("not_found", f"no PC {agent_id}")
    return row


def list_agents(
    session: Session, *, status: str = "", section: str | None = None, zone: str | None = None
) -> list[Agent]:
    """PCs by host name and id; ``section`` and ``zone`` None = all."""
    query = select(Agent).order_by(Agent.hostname, Agent.id)
    if status:
        query = query.where(Agent.status == status)
    if section is not None:
        query = query.where(Agent.section == section)
    if zone is not None:
        query = query.where(Agent.zone == zone)
    return list(session.scalars(query))


def set_status(session: Session, agent_id: str, status: Status, reason: str = "") -> Agent:
    """Approve, quarantine, release or revoke a PC. Raises RefusedError ``not_found`` or ``bad_value``."""
    row = get_agent(session, agent_id)
    if status not in CHANGES[row.status]:
        raise RefusedError("bad_value", f"a PC that is {row.status} cannot become {status}")
    row.status, row.status_reason = status, reason
    session.flush()
    return row


def place(session: Session, agent_id: str, *, zone: str | None = None, section: str | None = None) -> Agent:
    """Say where a PC belongs; it takes effect with the next release. Raises RefusedError ``not_found``."""
    row = get_agent(session, agent_id)
    if zone is not None:
        row.zone = zone
    if section is not None:
        row.section = section
    session.flush()
    return row


def assignments(session: Session) -> dict[str, Assignment]:
    """Agent id → place, for a bundle: every PC that is active or quarantined and has a zone."""
    query = select(Agent).where(Agent.status.in_(("active", "quarantined")), Agent.zone != "")
    return {row.id: Assignment(row.zone, row.section) for row in session.scalars(query)}
