"""One round of detection: batches in, alerts and index lines out. No sockets, no clock of its own.

``take`` works in memory, ``commit`` writes: alerts first (control.db), then index lines (index.db). Each database keeps
its own cursor in the same transaction as what it stands for, and after a crash each takes up behind its own; so a row
is flagged once and indexed once wherever the process was killed.
"""

from __future__ import annotations

from collections.abc import Iterable

import zstandard

from collector.detection.alerts import AlertWriter, NewFinding
from collector.detection.batch import Batch, Decoded, decode
from collector.detection.findings import flag_of
from collector.detection.places import Copy
from collector.detection.ringed import RingedPolicy, no_policy
from collector.detection.rules import RULE_ERROR, Flag
from collector.search.index import TYPE_BITS, IndexWriter, clamped
from protocol.events import AgentDropped, NeighbourSeen, PermitRequested

COPIED = "copied_mac"
"""The rule that flags them."""
_NEIGHBOUR = TYPE_BITS[NeighbourSeen]
_DROPPED, _REQUESTED = TYPE_BITS[AgentDropped], TYPE_BITS[PermitRequested]
Line = tuple[int, str, int, int, int, int, int]


class Pipeline:
    """Turns batches into alerts and index lines, strictly in the order of their row numbers."""

    def __init__(self, alerts: AlertWriter, index: IndexWriter) -> None:
        self.policy: RingedPolicy = no_policy()
        self.alerts = alerts
        self._index = index
        self._unpacker = zstandard.ZstdDecompressor()
        self._lines: list[Line] = []
        self.row = min(alerts.cursor, index.cursor())
        """Journal row up to which everything has been taken in."""
        self.events = self.batches = self.rule_errors = self.bad_events = self.written = 0
        """Since the start; an event that was only indexed anew does not count."""
        self.dropped_by: set[str] = set()
        """PCs that reported dropped events; the caller takes them out."""

    def take(self, batches: list[Batch], now_us: int) -> None:
        """Take in batches. Does not raise, whatever their bodies hold."""
        flags: list[Flag] = []
        for batch in batches:
            decoded = decode(batch, self._unpacker)
            earliest, latest = _span(batch, decoded)
            kinds = _kinds(decoded)
            self._lines.append(
                (
                    batch.rowid,
                    batch.agent_id,
                    batch.first_seq,
                    batch.count,
                    clamped(earliest),
                    clamped(latest),
                    kinds,
                )
            )
            if kinds & _DROPPED:
                self.dropped_by.add(batch.agent_id)
            if batch.rowid > self.alerts.cursor:
                self._note_faults(batch, decoded, now_us)
                self.alerts.permits.take(batch, decoded.events, requests=bool(kinds & _REQUESTED))
                if kinds & _NEIGHBOUR:
                    flags += self._copies(self.alerts.neighbours.take(batch, decoded.events))
                flags += self.policy.evaluate(batch, decoded.events, earliest, latest)
                self.events += batch.count
                self.batches += 1
        self.rule_errors += sum(flag.rule_id.startswith(RULE_ERROR) for flag in flags)
        self.row = batches[-1].rowid
        self.alerts.take(flags, now_us=now_us, cursor=self.row)
        for rule, count in self.alerts.correlations.take_losses(now_us):
            self.note("", "correlation_full", {"rule": rule, "count": count}, now_us)

    def close_windows(self, now_us: int) -> None:
        """Judge what could only be judged after a while: correlations whose window has closed, PCs on the move."""
        copies = self._copies(self.alerts.neighbours.places.due(now_us))
        self.alerts.take([*self.policy.close_windows(now_us), *copies], now_us=now_us)

    def _copies(self, copies: Iterable[Copy]) -> list[Flag]:
        return [
            flag
            for one in copies
            for flag in self.policy.flags_for(
                COPIED, one.agent_id, one.seq, one.event, {"copied": one.why, "elsewhere": one.elsewhere}
            )
        ]

    def note(self, agent_id: str, name: str, detail: dict[str, object], now_us: int) -> None:
        """Record something noticed here, as a finding with its alert."""
        finding = NewFinding(agent_id=agent_id, name=name, detail=detail, time_us=now_us)
        self.alerts.take([flag_of(agent_id, name, detail, now_us)], now_us=now_us, findings=[finding])

    def commit(self, now_us: int) -> None:
        """Write what is due; may be called again after it raised.

        Raises ``sqlalchemy.exc.DBAPIError`` or ``sqlite3.Error``.
        """
        for agent_id, name, detail in self.alerts.permits.take_faults():
            self.note(agent_id, name, detail, now_us)
        if self.alerts.due(now_us):
            self.written += self.alerts.flush(now_us)
        if self._lines:
            self._index.add(self._lines, self.row)
            self._lines.clear()

    def rewind(self, last: int) -> None:
        """The journal ends before the cursor: what comes now under known row numbers is new."""
        self.alerts.cut(last)
        self._index.cut(last)
        self.row = min(self.row, last)

    def _note_faults(self, batch: Batch, decoded: Decoded, now_us: int) -> None:
        if not decoded.faults:
            return
        self.bad_events += decoded.faults
        detail: dict[str, object] = {
            "first": batch.first_seq,
            "last": batch.first_seq + batch.count - 1,
            "count": decoded.faults,
            "what": decoded.first_faults,
        }
        self.note(batch.agent_id, "bad_event", detail, now_us)


def _span(batch: Batch, decoded: Decoded) -> tuple[int, int]:
    """Earliest and latest event, as the PC says; a PC's clock may be set, so first and last would not do."""
    read = [event for event in decoded.events if event is not None] if decoded.faults else decoded.events
    times = [event.time_us for event in read] or [batch.received_us]  # type: ignore[union-attr]  # all were read
    return min(times), max(times)


def _kinds(decoded: Decoded) -> int:
    bits = 0
    for type_ in set(map(type, decoded.events)):
        bits |= TYPE_BITS.get(type_, 0)  # NoneType stands for what was not read
    return bits
