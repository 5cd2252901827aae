"""From flags to rows of the alert table: each hit exactly once, within the budget.

Alerts, summary counts and the cursor (the last journal row whose hits are all in the table) are written in one
transaction, so after a crash the detector goes on behind that row with the same budget and nothing is counted twice
or missed. A row with something new to show is written at once; grown counts and a moved cursor alone at most once
a second.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from collector.detection.budget import WINDOW_US, Budget, Key, Summary
from collector.detection.correlate import Correlations
from collector.detection.neighbour_log import NeighbourLog
from collector.detection.permit_log import PermitLog
from collector.detection.rules import Flag
from collector.registers.models import Alert, Finding, Setting
from collector.registers.store import Store

CURSOR = "detector_cursor"
QUIET_US = 1_000_000
"""Counts and cursor alone wait this long."""
LONGEST_TEXT = 4096


class NewFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Something the detector noticed itself, to be kept beside the gateway's findings."""

    agent_id: str
    name: str
    detail: dict[str, object]
    time_us: int


class AlertWriter:
    """Turns flags into rows. :meth:`take` never fails; :meth:`flush` may be tried again until it succeeds."""

    def __init__(self, store: Store, now_us: int) -> None:
        self._store = store
        self.neighbours = NeighbourLog()
        self.permits = PermitLog()
        self.correlations: Correlations
        """All go into the same transaction."""
        self._budget = Budget()
        self._rows: list[dict[str, object]] = []
        self._findings: list[NewFinding] = []
        self._alerted: list[int] = []
        self._flushed_us = now_us
        with store.read() as session:
            fact = session.get(Setting, CURSOR)
            self.cursor = self._stored = int(fact.value) if fact else 0
            self._restore(session, now_us)
            self.neighbours.restore(session)
            self.correlations = Correlations(session)

    def take(
        self,
        flags: Iterable[Flag],
        *,
        now_us: int,
        cursor: int | None = None,
        findings: Iterable[NewFinding] = (),
        alerted: Iterable[int] = (),
    ) -> None:
        """Take in hits; ``cursor``: all hits up to this journal row have been; ``alerted``: finding rows they are of."""
        for flag in flags:
            self._offer(flag, now_us)
        self._findings += findings
        self._alerted += alerted
        if cursor is not None:
            self.cursor = max(cursor, self.cursor)

    def cut(self, last: int) -> None:
        """Go back to row ``last``: the journal no longer holds what came behind it."""
        self.cursor = min(self.cursor, last)

    def due(self, now_us: int) -> bool:
        """Whether :meth:`flush` should be called now."""
        if self._rows or self._findings or self._alerted or self.permits.urgent:
            return True
        changed = (
            self._budget.grown
            or self.cursor != self._stored
            or self.permits.waiting
            or self.neighbours.waiting
        )
        return bool(changed) and not 0 <= now_us - self._flushed_us < QUIET_US

    def flush(self, now_us: int) -> int:
        """Write what is due, durably; returns how many alerts were new. Raises ``sqlalchemy.exc.DBAPIError``."""
        with self._store.write() as session:
            if self._rows:
                session.execute(insert(Alert).on_conflict_do_nothing(), self._rows)
            for (key, _), summary in self._budget.grown.items():
                _grow(session, key, summary)
            if self._findings:
                session.execute(
                    insert(Finding),
                    [{**msgspec.structs.asdict(one), "alerted": True} for one in self._findings],
                )
            if self._alerted:
                session.execute(update(Finding).where(Finding.id.in_(self._alerted)).values(alerted=True))
            self.permits.write(session, now_us)
            self.neighbours.write(session)
            self.correlations.write(session, now_us)
            session.merge(Setting(name=CURSOR, value=str(self.cursor)))
        written = len(self._rows)
        self._rows, self._findings, self._alerted = [], [], []
        self._budget.grown.clear()
        self.permits.clear()
        self.neighbours.clear()
        self.correlations.clear()
        self._stored, self._flushed_us = self.cursor, now_us
        return written

    def _offer(self, flag: Flag, now_us: int) -> None:
        key = Key(flag.rule_id, flag.agent_id, flag.person)
        verdict, key = self._budget.offer(key, critical=flag.level == "critical", now_us=now_us)
        if verdict != "counted":
            person = key.person if verdict == "summarise" else flag.person
            self._rows.append(alert_row(flag, person=person, summary=verdict == "summarise", now_us=now_us))

    def _restore(self, session: Session, now_us: int) -> None:
        """Put the budget where it was: the alerts of the windows that may still be open, in the order they came."""
        columns = (
            Alert.rule_id,
            Alert.agent_id,
            Alert.person,
            Alert.stored_us,
            Alert.last_us,
            Alert.summary,
            Alert.count,
        )
        query = select(*columns).where(Alert.stored_us > now_us - WINDOW_US).order_by(Alert.id)
        for rule_id, agent_id, person, stored_us, last_us, is_summary, count in session.execute(query):
            summary = Summary(stored_us, count, last_us) if is_summary else None
            self._budget.restore(Key(rule_id, agent_id, person), now_us=stored_us, summary=summary)


def _grow(session: Session, key: Key, summary: Summary) -> None:
    session.execute(
        update(Alert)
        .where(
            Alert.rule_id == key.rule_id,
            Alert.agent_id == key.agent_id,
            Alert.person == key.person,
            Alert.summary,
            # "+ 0" keeps SQLite off the index of stored_us: in a storm thousands of alerts share one, few share a key.
            (Alert.stored_us + 0) == summary.started_us,
        )
        .values(count=summary.count, last_us=summary.last_us)
        .execution_options(synchronize_session=False)
    )


def alert_row(flag: Flag, *, person: str, summary: bool, now_us: int) -> dict[str, object]:
    """Columns of ``Alert`` for a flag stored at ``now_us`` (UTC µs)."""
    event = msgspec.to_builtins(flag.event)
    if flag.note:
        event["rule_error"] = flag.note[:LONGEST_TEXT]
    return {
        "rule_id": flag.rule_id,
        "rule_version": flag.rule_version,
        "agent_id": flag.agent_id,
        "person": person,
        "level": flag.level,
        "title_ja": flag.title_ja,
        "title_en": flag.title_en,
        "citations": [
            {"ordinance": one.ordinance, "article": one.article, "edition": one.edition}
            for one in flag.citations
        ],
        "action": flag.action,
        "kind": flag.kind,
        "seq": flag.seq,
        "found_by": flag.found_by,
        "event": event,
        "event_us": flag.event_us,
        "stored_us": now_us,
        "summary": summary,
        "count": 1,
        "last_us": now_us,
        "acknowledged_by": "",
        "acknowledged_us": 0,
    }
