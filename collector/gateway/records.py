"""What the gateway reads from and writes to the control database; every function runs in the clerk's thread."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from collector.gateway.enrolment import Known, Step, decide
from collector.gateway.roster import Row
from collector.gateway.since import write_since
from collector.registers import releases, tokens
from collector.registers.models import Agent, Finding, OrderRow, Release, Setting, TrustDocument
from collector.registers.store import Store
from protocol.messages import EnrolRequest, OrderResult, PolicyBundle
from protocol.orders import Order
from protocol.signed import Signed, read_body
from protocol.wire import encode

CLOCK = "clock_high_us"
"""Setting: the newest time this collector has seen on its own clock."""
FINAL = ("verified", "failed", "refused")


class OrderDue(Struct, frozen=True):
    """An order to be delivered."""

    id: str
    agent_id: str
    document: Signed
    valid_until_us: int


class OrderMark(Struct, frozen=True):
    """A state the gateway itself gives an order: ``sent`` or ``unreachable``."""

    id: str
    state: str
    time_us: int


class Change(Struct):
    """What one transaction writes."""

    beats: dict[str, dict[str, Any]] = {}
    turned: set[str] = set()
    """PCs among ``beats`` of which a control or sensor is not as it was."""
    findings: list[dict[str, Any]] = []
    marks: list[OrderMark] = []
    results: list[tuple[str, OrderResult, int]] = []
    """(sender, result, received µs)"""
    clock_us: int = 0


class Snapshot(Struct, frozen=True):
    """What the control database says now. ``trust`` is None when there is nothing newer."""

    rows: list[Row]
    orders: list[OrderDue]
    meant: dict[str, int]
    """Ring → generation its PCs are meant to have (``collector.registers.releases.targets``)."""
    bundles: dict[int, bytes]
    """Generation → encoded PolicyBundle, of those meant that were not held."""
    trust: tuple[int, list[Signed]] | None
    """(newest serial, all documents after the first, oldest first)"""


def look(store: Store, states: tuple[str, ...], held: frozenset[int], serial: int) -> Snapshot:
    """Read PCs, orders in ``states``, releases meant for them but not ``held``, and a newer trust root."""
    with store.read() as session:
        query = select(
            Agent.id, Agent.status, Agent.sign_key, Agent.machine_id, Agent.status_reason, Agent.ring
        )
        rows = [Row(*row) for row in session.execute(query)]
        orders = session.execute(
            select(OrderRow.id, OrderRow.agent_id, OrderRow.document)
            .where(OrderRow.state.in_(states))
            .order_by(OrderRow.received_us)
        )
        due = [_due(*order) for order in orders]
        meant = releases.targets(session)
        bundles = {one: _bundle(session, one) for one in set(meant.values()) - held}
        documents = session.execute(
            select(TrustDocument.serial, TrustDocument.document).order_by(TrustDocument.serial)
        ).all()
    trust = None
    if documents and documents[-1].serial > serial:
        later = [msgspec.msgpack.decode(one.document, type=Signed) for one in documents[1:]]
        trust = (documents[-1].serial, later)
    return Snapshot(rows, due, meant, bundles, trust)


def _bundle(session: Session, generation: int) -> bytes:
    raw = session.scalar(select(Release.document).where(Release.generation == generation))
    document = msgspec.msgpack.decode(raw or b"", type=Signed)
    return encode(PolicyBundle(generation=generation, document=document))


def _due(order_id: str, agent_id: str, raw: bytes) -> OrderDue:
    document = msgspec.msgpack.decode(raw, type=Signed)
    return OrderDue(order_id, agent_id, document, read_body(Order, document).valid_until_us)


def save(store: Store, change: Change) -> int:
    """Write a change in one transaction; returns how many results were not the sender's to give."""
    foreign = 0
    with store.write() as session:
        if change.beats:
            anew = [change.beats[agent_id] for agent_id in change.turned if agent_id in change.beats]
            write_since(session, anew)
            session.execute(update(Agent), list(change.beats.values()))
        session.add_all(Finding(**finding) for finding in change.findings)
        for mark in change.marks:
            row = session.get(OrderRow, mark.id)
            if row is not None and row.state in ("desired", "sent", "unreachable"):
                row.state = mark.state
                row.sent_us = mark.time_us if mark.state == "sent" else row.sent_us
        for sender, result, received_us in change.results:
            foreign += not _take_result(session.get(OrderRow, result.order_id), sender, result, received_us)
        if change.clock_us:
            session.merge(Setting(name=CLOCK, value=str(change.clock_us)))
    return foreign


def _take_result(row: OrderRow | None, sender: str, result: OrderResult, received_us: int) -> bool:
    """Record a result; False when it is about somebody else's order or none. A final state is never undone."""
    if row is None or row.agent_id != sender:
        return False
    repeated = row.state == "applied" and result.state in ("applied", "refused")
    if row.state not in FINAL and not repeated:
        row.state = result.state
        row.result_us = received_us
        row.result = msgspec.to_builtins(result)
    return True


def acknowledged(session: Session) -> dict[str, int]:
    """Agent → highest sequence number known to be durable, as of the last heartbeat."""
    return {agent: seq for agent, seq in session.execute(select(Agent.id, Agent.stored)) if seq}


def clock_high(session: Session) -> int:
    """Newest time this collector has seen, UTC µs; 0 = never ran."""
    return int(session.scalar(select(Setting.value).where(Setting.name == CLOCK)) or 0)


class Enrolled(Struct, frozen=True):
    """Outcome of a request: the PC's row as it is now, and the trust root when it is accepted."""

    row: Row
    trust: Signed | None


def enrol(store: Store, agent_id: str, curve_key: bytes, request: EnrolRequest, now_us: int) -> Enrolled:
    """Take a PC in, or note that it waits. Raises RefusedError by name (see :func:`enrolment.decide`)."""
    with store.read() as session:
        row = session.get(Agent, agent_id)
        if row is not None and _step(session, row, request) != "token":
            return _enrolled(session, row)
    with store.write() as session:
        row = session.get(Agent, agent_id)
        step = _step(session, row, request)
        if row is None:
            row = Agent(
                id=agent_id,
                curve_key=curve_key,
                sign_key=request.sign_key,
                status="pending",
                status_reason="",
                hostname=request.hostname,
                machine_id=request.machine_id,
                os=request.os,
                agent_version=request.agent_version,
                enrolled_us=now_us,
                health=[],
                controls={},
            )
            session.add(row)
        if step == "token":
            token = tokens.redeem(session, request.token, now_us)
            row.status, row.token_id, row.enrolled_us = "active", token.id, now_us
            row.zone, row.section = token.zone, token.section
        session.flush()
        return _enrolled(session, row)


def _step(session: Session, row: Agent | None, request: EnrolRequest) -> Step:
    waiting = session.scalar(select(func.count()).where(Agent.status == "pending")) or 0
    return decide(None if row is None else Known(row.status, row.sign_key), request, waiting=waiting)


def _enrolled(session: Session, row: Agent) -> Enrolled:
    newest = select(TrustDocument.document).order_by(TrustDocument.serial.desc()).limit(1)
    raw = session.scalar(newest) if row.status in ("active", "quarantined") else None
    trust = msgspec.msgpack.decode(raw, type=Signed) if raw else None
    return Enrolled(Row(row.id, row.status, row.sign_key, row.machine_id, row.status_reason), trust)
