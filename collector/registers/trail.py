"""The paper trail of applications and permits: every step, by whom, in which office, when, why. Append-only."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from collector.registers.models_permits import PermitStep


class Actor(Struct, frozen=True, kw_only=True):
    """Who takes a step: the person who decides, the account that enters it (empty = a PC did)."""

    operator: str = ""
    person: str = ""
    office: str = ""


def add_step(
    session: Session,
    step: str,
    state: str,
    actor: Actor,
    *,
    now_us: int,
    reason: str = "",
    application_id: str = "",
    permit_id: str = "",
) -> None:
    """Enter a step that led to ``state``."""
    session.add(
        PermitStep(
            application_id=application_id,
            permit_id=permit_id,
            step=step,
            state=state,
            time_us=now_us,
            person=actor.person,
            office=actor.office,
            operator=actor.operator,
            reason=reason.strip(),
        )
    )


def trail_of(session: Session, *, application_id: str = "", permit_id: str = "") -> list[PermitStep]:
    """Steps of an application, of a permit, or of both together, oldest first."""
    wanted = [
        column == value
        for column, value in (
            (PermitStep.application_id, application_id),
            (PermitStep.permit_id, permit_id),
        )
        if value
    ]
    return list(session.scalars(select(PermitStep).where(or_(*wanted)).order_by(PermitStep.id)))
