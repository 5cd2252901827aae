"""What the gateway still has to write to the control database, and when.

Heartbeats are gathered for a second; findings and orders go at once. One transaction at a time is under way; one that
failed is put back, so a locked or full database loses nothing that fits in memory.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from collector.gateway import records
from collector.gateway.clerk import Clerk
from collector.gateway.clock import Clock
from collector.gateway.records import Change, OrderMark
from collector.gateway.stats import Stats
from protocol.messages import OrderResult

BEATS_S = 1.0
RETRY_S = 1.0
SAME_FINDING_S = 600.0
MOST_FINDINGS = 10_000
CLOCK_S = 10.0


class Ledger:
    """Collects changes; ``written`` is called after findings became durable, so that the detector can be poked."""

    def __init__(self, clerk: Clerk, clock: Clock, stats: Stats, written: Callable[[], None]) -> None:
        self._clerk, self._clock, self._stats, self._written = clerk, clock, stats, written
        self._change = Change()
        self._busy = False
        self._urgent = False
        self._next_beats = 0.0
        self._next_clock = 0.0
        self._retry_at = 0.0
        self._told: dict[tuple[str, str], float] = {}
        self._unwritten: Counter[str] = Counter()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._untold: Counter[tuple[str, str]] = Counter()

    def beat(self, agent_id: str, values: dict[str, Any], *, turned: bool) -> None:
        """Columns of ``agents`` to be updated with the next write; ``turned``: a control or sensor is not as it was."""
        self._change.beats[agent_id] = {"id": agent_id, **values}
        if turned:
            self._change.turned.add(agent_id)

    def mark(self, order_id: str, state: str) -> None:
        """Record a state of an order."""
        self._change.marks.append(OrderMark(order_id, state, self._clock.now_us()))
        self._urgent = True

    def result(self, sender: str, result: OrderResult) -> None:
        """Record what a PC says became of an order."""
        self._change.results.append((sender, result, self._clock.now_us()))
        self._unwritten[sender] += 1
        self._urgent = True

    def when_recorded(self, sender: str, then: Callable[[], None]) -> None:
        """Call ``then`` once every result this PC sent so far is durable; at once when none is under way."""
        if self._unwritten[sender]:
            self._waiting.setdefault(sender, []).append(then)
        else:
            then()

    def finding(self, agent_id: str, name: str, detail: dict[str, Any]) -> None:
        """Record a finding."""
        if len(self._change.findings) >= MOST_FINDINGS:
            self._stats.counters["findings_lost"] += 1
            return
        self._stats.counters[f"finding_{name}"] += 1
        self._change.findings.append(
            {
                "agent_id": agent_id,
                "name": name,
                "detail": detail,
                "time_us": self._clock.now_us(),
                "alerted": False,
            }
        )
        self._urgent = True

    def repeated(self, agent_id: str, name: str, detail: dict[str, Any]) -> None:
        """Record a finding that may come with every message: once in ten minutes, with how often in between."""
        key, now = (agent_id, name), time.monotonic()
        if now - self._told.get(key, -SAME_FINDING_S) < SAME_FINDING_S:
            self._untold[key] += 1
            return
        if len(self._told) > MOST_FINDINGS:
            self._told.clear()
        self._told[key] = now
        self.finding(agent_id, name, {**detail, "unreported": self._untold.pop(key, 0)})

    def flush(self, now: float) -> None:
        """Write what is due; ``now`` is monotonic seconds."""
        due = self._urgent or (bool(self._change.beats) and now >= self._next_beats)
        if self._busy or now < self._retry_at or not (due or now >= self._next_clock):
            return
        change, self._change = self._change, Change()
        if now >= self._next_clock:
            change.clock_us = self._clock.guarded_us()
            self._next_clock = now + CLOCK_S
        self._busy, self._urgent, self._next_beats = True, False, now + BEATS_S
        self._clerk.ask(
            lambda store: records.save(store, change),
            lambda foreign: self._done(change, foreign),
            lambda error: self._failed(change, error),
        )

    def flush_all(self) -> None:
        """Ask for everything that is left to be written, in spite of a failure before; for the end."""
        change, self._change = self._change, Change()
        change.clock_us = self._clock.guarded_us()
        self._clerk.ask(lambda store: records.save(store, change), lambda _: None, lambda _: None)

    def _done(self, change: Change, foreign: int) -> None:
        self._busy = False
        self._stats.clear_health("control_db")
        if foreign:
            self._stats.refused["control/wrong_target"] += foreign
        for sender, _, _ in change.results:
            self._unwritten[sender] -= 1
            if not self._unwritten[sender]:
                del self._unwritten[sender]
                for then in self._waiting.pop(sender, []):
                    then()
        if change.findings:
            self._written()

    def _failed(self, change: Change, error: Exception) -> None:
        """Put everything back in front of what came since; newer heartbeats win."""
        self._busy, self._urgent = False, True
        self._retry_at = time.monotonic() + RETRY_S
        self._stats.raise_health("control_db", str(error)[:300])
        self._change.beats = {**change.beats, **self._change.beats}
        self._change.turned |= change.turned
        self._change.findings = (change.findings + self._change.findings)[:MOST_FINDINGS]
        self._change.marks = change.marks + self._change.marks
        self._change.results = change.results + self._change.results
