"""The judge: one event in, one verdict out. Pure; the enforcers act on what it says (DESIGN §2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.enforcers import Verdict
from policies.model import Control, Enrichment, Hit
from protocol.events import (
    Action,
    ConnectionBlocked,
    ConnectionOpened,
    DeviceBlocked,
    Event,
    LinkBlocked,
    MediaBlocked,
    ProcessDenied,
    kind_of,
)

if TYPE_CHECKING:
    from policies.view import PolicyView

CONTROL_OF: dict[str, Control] = {
    "device": "devices",
    "media": "media",
    "software": "software",
    "process": "execution",
    "connection": "connections",
    "dns": "connections",
    "neighbour": "neighbours",
    "link": "links",
    "file": "files",
    "media.file_written": "files",
    "logon": "logons",
    "posture": "posture",
    "service": "posture",
}
"""Kind of an event, or its family → the control that decides about it."""

DECIDED = (ConnectionBlocked, ProcessDenied, DeviceBlocked, MediaBlocked, LinkBlocked)
"""Kinds that tell what the kernel or an enforcer already did: their action is not for the judge to change."""


def control_of(event: Event) -> Control | None:
    """The control an event belongs to; None for the agent's own events."""
    kind = kind_of(event)
    return CONTROL_OF.get(kind) or CONTROL_OF.get(kind.partition(".")[0])


def decide(view: PolicyView | None, event: Event, now_us: int) -> tuple[Enrichment, Verdict, list[Hit]]:
    """Judge one event at ``now_us`` (UTC µs).

    A block needs all of: a block rule that fired, its control set to enforce in this PC's zone, and no permit. Without
    a policy everything is observed. A rule that could not be evaluated never blocks; its hit carries the error.
    """
    if view is None:
        return Enrichment(), Verdict(block=False), []
    enrichment = view.enrich(event, now_us)
    hits = view.match(event, enrichment)
    fired = [hit.rule for hit in hits if not hit.error]
    control = control_of(event)
    blocking = enrichment.permit != "granted" and not isinstance(event, DECIDED)
    due = [rule for rule in fired if rule.effect == "block" and rule.control] if blocking else []
    enforced = any(rule.control and view.setting(rule.control).mode == "enforce" for rule in due)
    verdict = Verdict(
        block=enforced,
        read_only=enrichment.read_only and control is not None and view.setting(control).mode == "enforce",
        rules=tuple(rule.id for rule in fired),
    )
    return enrichment, verdict, hits


def unhindered(view: PolicyView | None, event: Event, enrichment: Enrichment) -> Action:
    """The action of an event no enforcer had anything to do with: allowed where a control that stops found a permit."""
    control = control_of(event)
    enforced = view is not None and control is not None and view.setting(control).mode == "enforce"
    if event.action == "observed" and enforced and enrichment.permit == "granted":
        return "allowed"
    return event.action


def stamp(event: Event, enrichment: Enrichment, verdict: Verdict, action: Action, tag: str) -> Event:
    """The event with what was decided about it. ``tag`` names the policy in force, empty for none."""
    filled: dict[str, object] = {
        "action": event.action if isinstance(event, DECIDED) else action,
        "permit": enrichment.permit or event.permit,
        "permit_id": enrichment.permit_id or event.permit_id,
        "zone": enrichment.zone or event.zone,
        "rules": verdict.rules or event.rules,
        "policy": tag,
    }
    if isinstance(event, ConnectionOpened | ConnectionBlocked) and not event.dest_zone:
        filled["dest_zone"] = enrichment.dest_zone
    return msgspec.structs.replace(event, **filled)
