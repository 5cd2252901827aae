"""What the main thread does about each report of the uplink: one explicit table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.isolating import carry_out
from agent.policy_keeper import keep
from agent.reports import (
    DataFlows,
    DutyTold,
    LinkChanged,
    OrderArrived,
    PolicyArrived,
    Refused,
    Report,
    TrustChanged,
)
from protocol.events import AgentPolicyApplied

if TYPE_CHECKING:
    from agent.runtime import Runtime

HOLD_S = 3600.0
NOT_ADMITTED = {"unknown_key", "revoked_key"}
CLONED = "quarantined_key"


def take_report(runtime: Runtime, report: Report) -> None:
    """Act on one report."""
    if isinstance(report, LinkChanged):
        _link(runtime, report)
    elif isinstance(report, PolicyArrived):
        _policy(runtime, report)
    elif isinstance(report, OrderArrived):
        carry_out(runtime, report.document)
    elif isinstance(report, TrustChanged):
        runtime.health.clear("trust_refused")
        if runtime.view is not None:  # the collector's addresses are part of what enforcers keep open
            runtime.apply_policy(runtime.view, tell=False)
    elif isinstance(report, DutyTold):
        runtime.sensors.watch(report.segments)
    elif isinstance(report, DataFlows):
        runtime.health.clear("data_refused")
        runtime.health.clear("clone_quarantined")
    else:
        _refused(runtime, report)


def _link(runtime: Runtime, report: LinkChanged) -> None:
    if report.up:
        runtime.health.clear("collector_unreachable")
        runtime.health.clear("not_admitted")
    else:
        runtime.health.raise_("collector_unreachable", report.why, now_s=time.monotonic())


def _policy(runtime: Runtime, report: PolicyArrived) -> None:
    try:
        keep(runtime.platform.state, report.document)
    except OSError as error:
        runtime.health.raise_("disk_full", f"policy not kept: {error}", now_s=time.monotonic())
    runtime.health.clear("bundle_refused")
    runtime.apply_policy(report.view)


def _refused(runtime: Runtime, report: Refused) -> None:
    now_s, detail = time.monotonic(), f"{report.name}: {report.detail}"
    runtime.health.counters[f"{report.what}.{report.name}"] += 1
    if report.name == CLONED:
        runtime.health.raise_("clone_quarantined", detail, now_s=now_s, hold_s=HOLD_S)
    elif report.what == "data":
        runtime.health.raise_("data_refused", detail, now_s=now_s)
    elif report.name in NOT_ADMITTED:
        runtime.health.raise_("not_admitted", detail, now_s=now_s)
    elif report.what == "frame":
        runtime.health.raise_("bad_frames", detail, now_s=now_s, hold_s=HOLD_S)
    elif report.what == "policy":
        _policy_refused(runtime, report)
    elif report.what == "trust":
        runtime.health.raise_("trust_refused", detail, now_s=now_s, hold_s=HOLD_S)
    elif report.what == "spool":
        runtime.health.raise_("disk_full", report.detail, now_s=now_s)
    else:
        runtime.health.raise_(f"{report.what}_refused", detail, now_s=now_s, hold_s=HOLD_S)


def _policy_refused(runtime: Runtime, report: Refused) -> None:
    detail = f"{report.name}: {report.detail}"
    runtime.health.raise_("bundle_refused", detail, now_s=time.monotonic(), hold_s=HOLD_S)
    runtime.handle(
        AgentPolicyApplied(
            time_us=runtime.platform.now_us(),
            action="failed",
            generation=report.generation,
            refusal=report.name,
            detail=report.detail,
        )
    )
