"""Alerts: flagged violations, new ones as they come, and that somebody has seen them."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.console.gate import note
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.console.routes.common import (
    LARGEST_INT,
    Call,
    OptionalReason,
    QueryLimit,
    QueryText,
    WaitSeconds,
    caller_of,
    console_of,
)
from collector.console.views import AlertView, alert
from collector.registers.models import Agent, Alert
from protocol.refusal import RefusedError

LEVELS = ("informational", "low", "medium", "high", "critical")
AlertId = Annotated[int, PathParameter(ge=0, le=LARGEST_INT)]
AfterId = Annotated[int | None, QueryParameter(ge=0, le=LARGEST_INT)]


class Acknowledgement(Struct, frozen=True, forbid_unknown_fields=True):
    """A remark, if any."""

    reason: OptionalReason = ""


@get("/alerts")
async def list_alerts(
    request: Call,
    after_id: AfterId = None,
    limit: QueryLimit = 100,
    level: QueryText = "informational",
    wait_s: WaitSeconds = 0,
) -> list[AlertView]:
    """Alerts of ``level`` and worse.

    Without ``after_id`` the newest ones, else those after it; always in order of id. With ``wait_s`` the call waits
    that long (≤ 25) for one to come. A counted summary keeps the id of its first alert.
    """
    caller, console = caller_of(request), console_of(request)
    if level not in LEVELS:
        raise ApiError(400, "bad_request", f"level: {level!r} is no level", "one of: " + ", ".join(LEVELS))
    levels = LEVELS[LEVELS.index(level) :]

    def look() -> list[AlertView]:
        with console.store.read() as session:
            return _alerts(session, caller, after_id, limit, levels)

    return await console.watch.until(look, bool, wait_s)


def _alerts(
    session: Session, caller: Caller, after_id: int | None, limit: int, levels: tuple[str, ...]
) -> list[AlertView]:
    query = select(Alert, Agent).outerjoin(Agent, Agent.id == Alert.agent_id).where(Alert.level.in_(levels))
    if caller.only_section is not None:
        query = query.where(Agent.section == caller.only_section)
    if after_id is None:
        rows = list(session.execute(query.order_by(Alert.id.desc()).limit(limit)))[::-1]
    else:
        rows = list(session.execute(query.where(Alert.id > after_id).order_by(Alert.id).limit(limit)))
    return [alert(row, agent, caller) for row, agent in rows]


@post("/alerts/{alert_id:int}/acknowledge", status_code=200, sync_to_thread=True)
def acknowledge(request: Call, alert_id: AlertId, data: JSONBody[Acknowledgement]) -> AlertView:
    """Say that somebody has seen to it. 409 ``already_there`` when somebody did before."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=data.reason)
    with console.store.write() as session:
        row = session.get(Alert, alert_id)
        agent = session.get(Agent, row.agent_id) if row else None
        hidden = caller.only_section is not None and (agent is None or agent.section != caller.only_section)
        if row is None or hidden:
            raise RefusedError("not_found", f"no alert {alert_id}", "sekisho alerts")
        if row.acknowledged_us:
            raise RefusedError("already_there", f"alert {alert_id} was acknowledged by {row.acknowledged_by}")
        row.acknowledged_by, row.acknowledged_us = caller.name, console.clock()
        return alert(row, agent, caller)


HANDLERS = (list_alerts, acknowledge)
