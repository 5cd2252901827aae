"""PCs: what they are, what they enforce, and the four decisions IT staff take about one."""

from __future__ import annotations

from collections.abc import Callable

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from collector.console.gate import note
from collector.console.problems import ApiError
from collector.console.routes.common import (
    Call,
    OptionalQueryText,
    OptionalReason,
    PathText,
    QueryText,
    Reason,
    Text,
    caller_of,
    console_of,
    host_for,
    need_reason,
    section_for,
)
from collector.console.views import Host, host
from collector.desk.site import Site, load_site
from collector.gateway import seats
from collector.registers import agents, releases
from collector.registers.models import Agent, OrderRow
from protocol.refusal import RefusedError


class Decision(Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: OptionalReason = ""


class Revocation(Struct, frozen=True, forbid_unknown_fields=True):
    """Why; there is no way back."""

    reason: Reason


class Place(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a PC belongs; takes effect with the next policy release."""

    zone: Text
    section: Text = ""
    reason: OptionalReason = ""


@get("/hosts", sync_to_thread=True)
def list_hosts(
    request: Call, status: QueryText = "", zone: OptionalQueryText = None, section: OptionalQueryText = None
) -> list[Host]:
    """PCs by host name; filters by status, zone and section."""
    caller, console = caller_of(request), console_of(request)
    wanted = section_for(caller, section)
    with console.store.read() as session:
        rows = agents.list_agents(session, status=status, section=wanted, zone=zone)
        return _shown(session, rows, console.clock())


@get("/hosts/{host_id:str}", sync_to_thread=True)
def get_host(request: Call, host_id: PathText) -> Host:
    """One PC by id, host name, or the beginning of its fingerprint."""
    console = console_of(request)
    with console.store.read() as session:
        return _shown(session, [host_for(session, host_id, caller_of(request))], console.clock())[0]


@post("/hosts/{host_id:str}/approve", status_code=200, sync_to_thread=True)
def approve(request: Call, host_id: PathText, data: JSONBody[Decision]) -> Host:
    """Let a pending PC join. Compare its fingerprint with the one on its screen first."""
    return _decide(request, host_id, _approve, data.reason)


@post("/hosts/{host_id:str}/release-quarantine", status_code=200, sync_to_thread=True)
def release_quarantine(request: Call, host_id: PathText, data: JSONBody[Decision]) -> Host:
    """Let a quarantined PC (a clone) work again, after its double was taken away."""
    now_us = console_of(request).clock()
    return _decide(request, host_id, lambda session, row: seats.release(session, row.id, now_us), data.reason)


@post("/hosts/{host_id:str}/revoke", status_code=200, sync_to_thread=True)
def revoke(request: Call, host_id: PathText, data: JSONBody[Revocation]) -> Host:
    """Never take anything from this key again."""
    why = need_reason(data.reason, "revoking a PC")
    return _decide(
        request, host_id, lambda session, row: agents.set_status(session, row.id, "revoked", why), why
    )


@post("/hosts/{host_id:str}/assign", status_code=200, sync_to_thread=True)
def assign(request: Call, host_id: PathText, data: JSONBody[Place]) -> Host:
    """Say zone and section of a PC. 422 ``bad_value`` for a zone that the site file does not define."""
    console = console_of(request)
    site = load_site(console.layout.policy)
    if data.zone not in _zones(site):
        raise RefusedError(
            "bad_value", f"zone {data.zone!r} is not defined", "zones: " + ", ".join(_zones(site))
        )
    note(request.scope, reason=data.reason, zone=data.zone, section=data.section)
    with console.store.write() as session:
        row = host_for(session, host_id, caller_of(request))
        agents.place(session, row.id, zone=data.zone, section=data.section)
        shown = _shown(session, [row], console.clock())[0]
    console.poke("agents", "gateway")
    return shown


def _zones(site: Site) -> list[str]:
    return [*(zone.name for zone in site.zones), site.unassigned_zone]


def _approve(session: Session, row: Agent) -> None:
    if row.status != "pending":
        raise ApiError(409, "wrong_state", f"{row.hostname} is {row.status}, not pending", "sekisho hosts")
    agents.set_status(session, row.id, "active")


def _decide(request: Call, host_id: str, change: Callable[[Session, Agent], object], reason: str) -> Host:
    """Change a PC, and tell the gateway."""
    console = console_of(request)
    note(request.scope, reason=reason)
    with console.store.write() as session:
        row = host_for(session, host_id, caller_of(request))
        note(request.scope, host=row.id)
        change(session, row)
        shown = _shown(session, [row], console.clock())[0]
    console.poke("agents", "gateway")
    return shown


def _shown(session: Session, rows: list[Agent], now_us: int) -> list[Host]:
    """Rows with their newest orders, in two queries however many PCs there are."""
    newest = (
        select(OrderRow.agent_id, func.max(OrderRow.received_us).label("at"))
        .group_by(OrderRow.agent_id)
        .subquery()
    )
    query = select(OrderRow).join(
        newest, (OrderRow.agent_id == newest.c.agent_id) & (OrderRow.received_us == newest.c.at)
    )
    orders = {row.agent_id: row for row in session.scalars(query)}
    meant = releases.targets(session)
    return [host(row, orders.get(row.id), releases.target_of(meant, row.ring), now_us) for row in rows]


HANDLERS = (list_hosts, get_host, approve, release_quarantine, revoke, assign)
