"""Letting another machine take a PC's seat, after IT staff looked at a finding ``clone``."""

from __future__ import annotations

from sqlalchemy.orm import Session

from collector.gateway.roster import RELEASED
from collector.registers.agents import get_agent, set_status
from collector.registers.models import Agent
from protocol.refusal import RefusedError


def release(session: Session, agent_id: str, now_us: int) -> Agent:
    """Forget which machine held the key: the next that speaks takes the seat. Poke the gateway ``agents`` afterwards.

    Raises RefusedError ``not_found``, or ``bad_value`` for a PC that is neither active nor quarantined.
    """
    row = get_agent(session, agent_id)
    if row.status == "quarantined":
        set_status(session, agent_id, "active")
    elif row.status != "active":
        raise RefusedError("bad_value", f"a PC that is {row.status} has no quarantine to release")
    row.machine_id, row.status_reason = "", f"{RELEASED}{now_us}"
    session.flush()
    return row
