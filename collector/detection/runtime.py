"""The detector process: waits for batches and pokes, runs rounds, keeps its status file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import time
from pathlib import Path
from types import FrameType

import zmq
from sqlalchemy.exc import DBAPIError

from collector import bus
from collector.detection.alerts import AlertWriter
from collector.detection.batch import Batch
from collector.detection.centre import load_centre
from collector.detection.findings import GAP, explain_gaps, flag_of, waiting
from collector.detection.health import Pace, Stats, journal_end, lag, replace_stats
from collector.detection.pipeline import Pipeline
from collector.detection.ringed import load_ringed
from collector.evidence.reader import JournalReader
from collector.registers.permits import known_permits
from collector.registers.store import now_us, open_store
from collector.search.events import EventSearch
from collector.search.index import IndexWriter
from protocol.refusal import RefusedError

REGISTERS_S = 10.0
"""The registers are looked at this often even if nobody pokes."""
LOOK_S = 1.0
"""Journal, findings and policy are looked at this often even if nobody pokes."""
RETRY_S = 0.2
FAR_AHEAD_US = 1 << 62
"""A time at which everything is due."""
UNWRITABLE = frozenset({"control_db", "index_db"})
ROWS, EVENTS = 128, 20_000
"""A round ends after so many rows or events, so that alerts are never long in coming."""


class Detector:
    """The detector over one data directory. :meth:`step` is one round; after a failed one nothing is lost."""

    def __init__(self, data: Path) -> None:
        """Raises RefusedError ``version`` when the control database is not at this program's revision."""
        run = data / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        self._journal = data / "journal.db"
        self._stats_path = run / "detector.stats.json"
        self._store = open_store(data / "control.db")
        self._index = IndexWriter(data / "index.db")
        self._search = EventSearch(data)
        self.pipeline = Pipeline(AlertWriter(self._store, now_us()), self._index)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._reader = JournalReader(self._journal)
        self._behind = False
        self._pokes = bus.inlet(self._context, run, "detector")
        self.poller = zmq.Poller()
        self.poller.register(self._pokes, zmq.POLLIN)
        self.health: dict[str, str] = {}
        self._refused = ""
        self._look_at = self._registers_at = 0.0
        self._gaps: set[str | None] = {None}
        self._pace, self._started_us = Pace(), now_us()
        self._check_rewound()

    def step(self, timeout_s: float = LOOK_S) -> int:
        """Wait at most ``timeout_s`` for work and do one round; returns how many batches were taken in."""
        until_look = max(0.0, self._look_at - time.monotonic())
        wait_s = 0.0 if self._behind else min(timeout_s, until_look)
        if self.health.keys() & UNWRITABLE:
            wait_s = RETRY_S
        ready = dict(self.poller.poll(int(wait_s * 1000)))
        pokes = self._drain_pokes() if self._pokes in ready else set()
        look = time.monotonic() >= self._look_at
        taken = 0
        try:
            taken = self._round(pokes, look=look)
        except DBAPIError as error:
            self.health["control_db"] = str(error.orig)
        except sqlite3.Error as error:
            self.health["index_db"] = str(error)
        else:
            for code in UNWRITABLE:
                self.health.pop(code, None)
        if look:
            self._look_at = time.monotonic() + LOOK_S
        if self._pace.due():
            self.write_stats()
        return taken

    def settle(self) -> None:
        """Take in everything that is there, and write what could still have waited."""
        more = True
        while more:
            self._look_at = 0.0
            more = self.step(0.0) > 0 or self._behind
        self.pipeline.commit(FAR_AHEAD_US)

    def close(self) -> None:
        """Write what is pending and close everything."""
        with contextlib.suppress(DBAPIError, sqlite3.Error):
            self.pipeline.commit(FAR_AHEAD_US)
        self.write_stats()
        self._reader.close()
        self._pokes.close()
        self._context.term()
        self._search.close()
        self._index.close()
        self._store.close()

    # -- parts of a round --------------------------------------------------------------------------------------------

    def _round(self, pokes: set[str], *, look: bool) -> int:
        """One round; what an earlier one could not write comes first. Raises DBAPIError or ``sqlite3.Error``."""
        self.pipeline.commit(now_us())
        if look or pokes & {"policy", "trust"}:
            self._load_policy()
        if look or "findings" in pokes:
            self._take_findings()
        if look:
            self.pipeline.close_windows(now_us())
        if pokes & {"registers", "agents"} or time.monotonic() >= self._registers_at:
            self._load_centre()
        taken = self._take_batches() if look or self._behind or "batches" in pokes else 0
        self.pipeline.commit(now_us())
        if look:
            self._explain_gaps()
        return taken

    def _take_batches(self) -> int:
        try:
            batches = self._read()
        except sqlite3.Error as error:
            self.health["journal"], self._behind = str(error), False
            return 0
        self.health.pop("journal", None)
        if losses := self._reader.take_losses():
            detail: dict[str, object] = {"rows": [one.rowid for one in losses[:100]], "count": len(losses)}
            self.pipeline.note("", "journal_damaged", detail, now_us())
        if batches:
            self.pipeline.take(batches, now_us())
            self._gaps |= self.pipeline.dropped_by
            self.pipeline.dropped_by.clear()
        return len(batches)

    def _read(self) -> list[Batch]:
        stored = self._reader.read_after(self.pipeline.row, ROWS)
        batches: list[Batch] = []
        events = 0
        for one in stored:
            batches.append(
                Batch(one.rowid, one.agent_id, one.first_seq, one.count, one.received_us, one.body)
            )
            events += one.count
            if events >= EVENTS:
                break
        self._behind = len(stored) == ROWS or len(batches) < len(stored)
        return batches

    def _take_findings(self) -> None:
        with self._store.read() as session:
            rows = waiting(session)
        flags = [flag_of(row.agent_id, row.name, row.detail, row.time_us) for row in rows]
        self.pipeline.alerts.take(flags, now_us=now_us(), alerted=[row.id for row in rows])
        self._gaps |= {flag.agent_id for flag in flags if flag.rule_id == GAP}

    def _explain_gaps(self) -> None:
        for agent_id in {None} if None in self._gaps else self._gaps:
            explain_gaps(self._store, self._search, agent_id)
        self._gaps.clear()

    def _load_policy(self) -> None:
        """Take the releases in force; when one is refused, go on with those before and say so once."""
        try:
            with self._store.read() as session:
                policy = load_ringed(session, self.pipeline.policy)
                if policy is not None:  # a PC can only cite permits that were released
                    self.pipeline.alerts.permits.known = known_permits(session)
        except RefusedError as error:
            self.health["policy"] = str(error)
            if str(error) != self._refused:
                self._refused = str(error)
                self.pipeline.note(
                    "", "policy_refused", {"refusal": error.name, "detail": error.detail}, now_us()
                )
            return
        self.health.pop("policy", None)
        self._refused = ""
        if policy is not None:
            self.pipeline.policy = policy
            policy.know(self.pipeline.alerts.neighbours.centre)
            correlators = [one.correlator for one in policy.policies.values()]
            self.pipeline.alerts.correlations.follow(correlators)

    def _load_centre(self) -> None:
        """Look at the registers again; when they changed, what was remembered by the old ones is forgotten."""
        self._registers_at = time.monotonic() + REGISTERS_S
        neighbours = self.pipeline.alerts.neighbours
        with self._store.read() as session:
            centre = load_centre(session, neighbours.centre)
        if centre is not None:
            neighbours.centre = centre
            self.pipeline.policy.know(centre)

    def _drain_pokes(self) -> set[str]:
        pokes = set()
        with contextlib.suppress(zmq.Again):
            while True:
                pokes.add(self._pokes.recv(zmq.NOBLOCK).decode(errors="replace"))
        return pokes

    def _check_rewound(self) -> None:
        """A journal that ends before our cursor was put back from an older copy: its next rows are new all the same."""
        end = journal_end(self._journal)
        if end < self.pipeline.row:
            self.pipeline.note("", "journal_rewound", {"row": end, "expected": self.pipeline.row}, now_us())
            self.pipeline.rewind(end)

    def write_stats(self) -> None:
        """Write the status file; a failure is named in the next one."""
        pipeline, bundle = self.pipeline, self.pipeline.policy.compiled.bundle
        digest = pipeline.policy.compiled.digest
        stats = Stats(
            time_us=now_us(),
            pid=os.getpid(),
            started_us=self._started_us,
            events=pipeline.events,
            batches=pipeline.batches,
            alerts=pipeline.written,
            bad_events=pipeline.bad_events,
            rule_errors=pipeline.rule_errors,
            rate=self._pace.rate(pipeline.events),
            row=pipeline.row,
            lag_rows=lag(self._journal, pipeline.row),
            policy=f"{bundle.generation}:{digest[:12]}" if digest else "",
            health=dict(self.health),
        )
        try:
            replace_stats(self._stats_path, stats)
        except OSError as error:
            self.health["stats_file"] = str(error)
        else:
            self.health.pop("stats_file", None)


def run(data: Path) -> None:
    """Run the detector until SIGTERM or SIGINT. Raises RefusedError ``version``."""
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.set_wakeup_fd(wake.fileno())
    detector = Detector(data)
    detector.poller.register(woken.fileno(), zmq.POLLIN)
    try:
        detector.write_stats()
        while not stopping:
            detector.step()
    finally:
        detector.close()
        signal.set_wakeup_fd(-1)
        wake.close()
        woken.close()
