"""What the API shows: one struct per thing, made from rows, masked for the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from collector.console.masking import MASK, mask_event
from collector.console.roles import Caller
from collector.isolation.desk import shown_state
from collector.isolation.preview import ONLINE_US
from collector.registers.models import Agent, Alert, Asset, OrderRow, Person
from collector.registers.models_audit import AuditEntry


class Host(Struct, frozen=True, kw_only=True):
    """A PC. Times are UTC µs. ``isolation`` is what the PC last measured of itself, at ``last_seen_us``.

    ``order``/``order_state`` are its newest order; ``policy_meant`` is the generation it is meant to have (by its
    ``ring``, empty = none), ``policy_current`` whether it runs that.
    """

    id: str
    hostname: str
    status: str
    status_reason: str
    zone: str
    section: str
    online: bool
    last_seen_us: int
    isolation: str
    isolation_order: str
    order: str
    order_state: str
    policy_generation: int
    policy_meant: int
    policy_current: bool
    ring: str
    health: tuple[str, ...]
    controls: dict[str, str]
    spool_depth: int
    spooled: int
    stored: int
    dropped: int
    skew_us: int
    os: str
    agent_version: str
    enrolled_us: int


def host(row: Agent, order: OrderRow | None, generation: int, now_us: int) -> Host:
    """A PC as shown; ``generation`` is what it is meant to have."""
    return Host(
        id=row.id,
        hostname=row.hostname,
        status=row.status,
        status_reason=row.status_reason,
        zone=row.zone,
        section=row.section,
        online=now_us - row.last_seen_us < ONLINE_US,
        last_seen_us=row.last_seen_us,
        isolation=row.isolation,
        isolation_order=row.isolation_order,
        order=order.id if order else "",
        order_state=shown_state(order, now_us) if order else "",
        policy_generation=row.policy_generation,
        policy_meant=generation,
        policy_current=row.policy_generation == generation,
        ring=row.ring,
        health=tuple(row.health),
        controls=dict(row.controls),
        spool_depth=row.spool_depth,
        spooled=row.spooled,
        stored=row.stored,
        dropped=row.dropped,
        skew_us=row.skew_us,
        os=row.os,
        agent_version=row.agent_version,
        enrolled_us=row.enrolled_us,
    )


class AlertView(Struct, frozen=True, kw_only=True):
    """A flagged violation; ``event`` and ``person`` masked for roles that may not see people."""

    id: int
    rule_id: str
    rule_version: str
    host_id: str
    hostname: str
    section: str
    person: str
    level: str
    title_ja: str
    title_en: str
    citations: tuple[dict[str, str], ...]
    action: str
    kind: str
    seq: int | None
    found_by: str
    """both | pc | collector: whose rules fired."""
    event: dict[str, Any]
    event_us: int
    stored_us: int
    summary: bool
    count: int
    last_us: int
    acknowledged_by: str
    acknowledged_us: int


def alert(row: Alert, agent: Agent | None, caller: Caller) -> AlertView:
    """An alert as ``caller`` may see it."""
    sees = caller.sees_people
    return AlertView(
        id=row.id,
        rule_id=row.rule_id,
        rule_version=row.rule_version,
        host_id=row.agent_id,
        hostname=agent.hostname if agent else "",
        section=agent.section if agent else "",
        person=row.person if sees or not row.person else MASK,
        level=row.level,
        title_ja=row.title_ja,
        title_en=row.title_en,
        citations=tuple(row.citations),
        action=row.action,
        kind=row.kind,
        seq=row.seq,
        found_by=row.found_by,
        event=row.event if sees else mask_event(row.event),
        event_us=row.event_us,
        stored_us=row.stored_us,
        summary=row.summary,
        count=row.count,
        last_us=row.last_us,
        acknowledged_by=row.acknowledged_by,
        acknowledged_us=row.acknowledged_us,
    )


class OrderView(Struct, frozen=True, kw_only=True):
    """An order. ``state`` is what is shown (``unreachable`` included); ``recorded`` what the database holds.

    ``result`` is the PC's own report with both probes, empty until there is one.
    """

    id: str
    kind: str
    host_id: str
    hostname: str
    issuer: str
    ordinance: str
    article: str
    incident: str
    reason: str
    state: str
    recorded: str
    issued_us: int
    received_us: int
    sent_us: int
    result_us: int
    posted_by: str
    result: dict[str, Any]
    warnings: tuple[str, ...] = ()


def order(row: OrderRow, hostname: str, now_us: int, warnings: tuple[str, ...] = ()) -> OrderView:
    """An order as shown."""
    return OrderView(
        id=row.id,
        kind=row.kind,
        host_id=row.agent_id,
        hostname=hostname,
        issuer=row.issuer,
        ordinance=row.ordinance,
        article=row.article,
        incident=row.incident,
        reason=row.reason,
        state=shown_state(row, now_us),
        recorded=row.state,
        issued_us=row.issued_us,
        received_us=row.received_us,
        sent_us=row.sent_us,
        result_us=row.result_us,
        posted_by=row.posted_by,
        result=dict(row.result),
        warnings=warnings,
    )


class PersonView(Struct, frozen=True, kw_only=True):
    """A person of the register; ``roles`` as ordinances name offices."""

    id: str
    name: str
    section: str
    roles: tuple[str, ...]
    active: bool


def person(row: Person) -> PersonView:
    """A person as shown."""
    return PersonView(
        id=row.id, name=row.name, section=row.section, roles=tuple(row.roles), active=row.active
    )


class AssetView(Struct, frozen=True, kw_only=True):
    """A device, medium or PC of the city."""

    id: str
    kind: str
    subject: dict[str, Any]
    section: str
    note: str
    active: bool
    created_us: int
    created_by: str


def asset(row: Asset) -> AssetView:
    """An asset as shown."""
    return AssetView(**_columns(row, AssetView))


class AuditView(Struct, frozen=True, kw_only=True):
    """One call of an operator; ``digest`` in hex links to the next entry."""

    id: int
    time_us: int
    operator: str
    role: str
    method: str
    path: str
    status: int
    reason: str
    detail: dict[str, Any]
    digest: str


def audit_line(row: AuditEntry) -> AuditView:
    """An audit entry as shown."""
    return AuditView(**{**_columns(row, AuditView), "digest": row.digest.hex()})


def _columns(row: object, view: type[Struct]) -> Mapping[str, Any]:
    """The row's columns that the view shows under the same name."""
    return {name: getattr(row, name) for name in view.__struct_fields__ if hasattr(row, name)}
