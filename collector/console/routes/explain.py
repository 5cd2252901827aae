"""Why an event was flagged: rule, branch, fields."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import QueryParameter
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.console.masking import MASK, PERSONAL, mask_event, mask_path
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.console.routes.common import (
    LARGEST_INT,
    Call,
    PathText,
    QueryText,
    caller_of,
    console_of,
    host_for,
)
from collector.desk.release import document_of
from collector.registers import releases
from collector.registers.models import Agent, Alert, Release
from collector.search.events import EventSearch
from collector.search.explain import RuleReasons, compiled_release, explain
from policies.trace import Reason
from protocol.refusal import RefusedError

MOST_ALERTS = 1000
"""Alerts of correlations that are looked through for an event."""
Generation = Annotated[int, QueryParameter(ge=0, le=LARGEST_INT)]


class CorrelationPart(Struct, frozen=True):
    """An alert of a correlation in which the event counted; ``event`` as the alert has it."""

    alert_id: int
    rule_id: str
    title_ja: str
    title_en: str
    event: dict[str, Any]


class Explanation(Struct, frozen=True, kw_only=True):
    """One event and why. ``policy``: the release it was explained by; the event itself names the one the PC had."""

    event_id: str
    host_id: str
    hostname: str
    seq: int
    policy: str
    event: dict[str, Any]
    enrichment: dict[str, Any]
    rules: tuple[RuleReasons, ...]
    correlations: tuple[CorrelationPart, ...]


@get("/events/{event_id:str}/explain", sync_to_thread=True)
def explain_event(
    request: Call, event_id: PathText, *, rule: QueryText = "", generation: Generation = 0
) -> Explanation:
    """Explain event ``HOST:NUMBER``. ``rule``: this one, whether or not it fires; ``generation``: by that release.

    404 ``not_found``: no such PC, event, rule or release.
    """
    caller, console = caller_of(request), console_of(request)
    host, seq = _parts(event_id)
    with console.store.read() as session:
        agent = host_for(session, host, caller)
        release = _release(session, agent, generation)
        parts = _correlations(session, agent, seq, caller)
    search = EventSearch(console.layout.data)
    try:
        found = search.find(agent.id, seq)
    finally:
        search.close()
    if found is None:
        raise RefusedError("not_found", f"{agent.hostname} has no stored event {seq}", "sekisho events")
    event, received_us = found
    compiled = compiled_release(document_of(release).body, release.digest)
    try:
        enrichment, rules = explain(compiled, agent.id, event, received_us, rule)
    except KeyError as error:
        raise RefusedError("not_found", f"no rule {rule} in generation {release.generation}") from error
    shown: dict[str, Any] = msgspec.to_builtins(event)
    return Explanation(
        event_id=f"{agent.id}:{seq}",
        host_id=agent.id,
        hostname=agent.hostname,
        seq=seq,
        policy=f"{release.generation}:{release.digest[:12]}",
        event=shown if caller.sees_people else mask_event(shown),
        enrichment=msgspec.to_builtins(enrichment),
        rules=rules if caller.sees_people else tuple(map(_masked, rules)),
        correlations=parts,
    )


def _parts(event_id: str) -> tuple[str, int]:
    host, _, number = event_id.rpartition(":")
    if not host or not number.isascii() or not number.isdigit() or int(number) > LARGEST_INT:
        raise ApiError(422, "bad_value", f"{event_id} is no event", "HOST:NUMBER, as sekisho events shows it")
    return host, int(number)


def _release(session: Session, agent: Agent, generation: int) -> Release:
    """The release a PC is judged by, or the one asked for."""
    if generation == 0:
        meant = releases.targets(session)
        generation = releases.target_of(meant, agent.ring) if meant else 0
    row = session.get(Release, generation) if generation else None
    if row is None or row.status == "draft":
        raise RefusedError("not_found", f"no release {generation or ''}".rstrip(), "sekisho policy releases")
    return row


def _masked(rule: RuleReasons) -> RuleReasons:
    return msgspec.structs.replace(rule, reasons=tuple(map(_masked_reason, rule.reasons)))


def _masked_reason(reason: Reason) -> Reason:
    if reason.field in PERSONAL or reason.field == "*":
        return msgspec.structs.replace(reason, found=MASK, wanted=(MASK,))
    return msgspec.structs.replace(reason, found=mask_path(reason.found))


def _correlations(session: Session, agent: Agent, seq: int, caller: Caller) -> tuple[CorrelationPart, ...]:
    query = (
        select(Alert)
        .where(Alert.kind.startswith("correlation."))
        .order_by(Alert.id.desc())
        .limit(MOST_ALERTS)
    )
    return tuple(
        CorrelationPart(row.id, row.rule_id, row.title_ja, row.title_en, _shown(session, row.event, caller))
        for row in session.scalars(query)
        if any(one["agent_id"] == agent.id and one["seq"] == seq for one in row.event.get("events", ()))
    )


def _shown(session: Session, event: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """An alert's event as the caller may see it: a section head sees only what came from the own section."""
    shown = event if caller.sees_people else mask_event(event)
    if caller.only_section is None:
        return shown
    own = set(session.scalars(select(Agent.id).where(Agent.section == caller.only_section)))
    return {**shown, "events": [one for one in event["events"] if one["agent_id"] in own]}


HANDLERS = (explain_event,)
