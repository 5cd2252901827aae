"""The checkpoint itself: one event through judge, enforcers and spool. Nothing that comes can make it raise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from agent.enforcing import EnforcerHost
from agent.health import Health
from agent.judge import control_of, decide, stamp, unhindered
from agent.spool import Spool
from policies.model import Enrichment, Hit
from protocol.events import Action, AgentHealth, AgentIsolated, AgentRestored, AgentTampered, Event
from protocol.refusal import RefusedError

if TYPE_CHECKING:
    from agent.enforcers import Verdict
    from agent.platform import Platform
    from policies.view import PolicyView

HOLD_S = 600.0
"""How long a code about a single happening stays raised."""


class Checkpoint:
    """Judges events by ``view`` (None = observe everything), has them stopped, and keeps what happened.

    ``on_isolation`` is called when this PC was isolated or restored, ``on_judged`` with every event as it is kept.
    """

    def __init__(self, platform: Platform, enforcers: EnforcerHost, spool: Spool, health: Health) -> None:
        self.view: PolicyView | None = None
        self.on_isolation: Callable[[], None] = lambda: None
        self.on_judged: Callable[[Event, PolicyView | None], None] = lambda _event, _view: None
        self._platform, self._enforcers, self._spool, self._health = platform, enforcers, spool, health

    def handle(self, event: Event) -> None:
        """Take one event of a sensor, an enforcer or the agent itself.

        A part's ``agent.health`` becomes a health code, which tells itself (once, after its grace time).
        """
        now_s = time.monotonic()
        if isinstance(event, AgentHealth):
            if event.raised:
                self._health.raise_(event.code, event.detail, now_s=now_s)
            else:
                self._health.clear(event.code)
            return
        if isinstance(event, AgentIsolated | AgentRestored):
            self.on_isolation()
        if isinstance(event, AgentTampered):
            self._health.raise_(f"tampered.{event.what}", event.detail, now_s=now_s, hold_s=HOLD_S)
        self.judge_and_keep(event)

    def judge_and_keep(self, event: Event) -> None:
        """Judge, stop, keep."""
        enrichment, verdict, hits = self._decide(event)
        for hit in hits:
            if hit.error:
                self._rule_error(f"{hit.rule.id}: {hit.error}")
        outcome = self._enforcers.stop(event, verdict) if control_of(event) else None
        tag = self.view.tag if self.view else ""
        action = cast("Action", outcome.action) if outcome else unhindered(self.view, event, enrichment)
        judged = stamp(event, enrichment, verdict, action, tag)
        self._keep(judged)
        if outcome and outcome.record:
            # The rules stand on the event itself: told twice they would be flagged twice.
            record = stamp(outcome.record, enrichment, verdict, outcome.record.action, tag)
            self._keep(msgspec.structs.replace(record, rules=()))
        self.on_judged(judged, self.view)

    def _decide(self, event: Event) -> tuple[Enrichment, Verdict, list[Hit]]:
        try:
            return decide(self.view, event, self._platform.now_us())
        except Exception as error:  # noqa: BLE001 - a policy that breaks must not end the agent: observe and tell
            self._rule_error(f"{type(error).__name__}: {error}")
            return decide(None, event, 0)

    def _rule_error(self, detail: str) -> None:
        self._health.raise_("rule_error", detail, now_s=time.monotonic(), hold_s=HOLD_S)

    def _keep(self, event: Event) -> None:
        try:
            self._spool.append(event)
        except RefusedError as refusal:
            self._health.raise_(refusal.name, refusal.detail, now_s=time.monotonic())
