"""Flag latency: from an event on a PC to its alert, while the city sends ten times what 3,000 PCs send."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zstandard

from protocol import wire
from protocol.events import Event, encode_event, join_encoded
from tests.bench.collector import Collector
from tests.bench.figures import percentile
from tests.bench.fleet import Simulated, Socket, Zmq, acknowledged, ordinary, violation
from tests.e2e.testbed.machine import PROJECT, wait_for

PCS = 300
RATE = 1_880
"""Events a second: ten times 1,800 events in a working day of 8 h for each of 3,000 PCs."""
WARM_UP_S, SECONDS = 3.0, 30.0
VIOLATION_EVERY = 97
"""Every so-many-th event is a violation: 19 a second, 2 a PC, so that each gets an alert of its own."""
TICK_S = 0.001


@dataclass
class Line:
    """A PC on the data lane. It sends as an idle PC does: each event by itself, in a batch of one."""

    pc: Simulated
    socket: Socket
    unanswered: int = 0

    def send(self, event: Event, compressor: zstandard.ZstdCompressor) -> int:
        """Send one event; returns its sequence number."""
        seq = self.pc.next_seq
        self.socket.send(self.pc.frame(compressor.compress(join_encoded([encode_event(event)])), 1))
        self.unanswered += 1
        return seq

    def collect(self, reader: wire.FrameReader) -> None:
        """Take the acknowledgements that wait. Raises OtherAnswerError."""
        with contextlib.suppress(zmq.Again):
            while True:
                reply = reader.read(self.socket.recv(zmq.NOBLOCK))
                self.pc.acked = max(self.pc.acked, acknowledged(reply))
        self.unanswered = self.pc.next_seq - 1 - self.pc.acked


@dataclass
class Alerts:
    """Watches the control database for alerts, as a console would."""

    path: Path
    stored: dict[tuple[str, int], int] = field(default_factory=dict)
    seen: dict[tuple[str, int], int] = field(default_factory=dict)
    """(PC, sequence number) → µs of the alert's own stamp, and µs when it could be read here."""
    _last: int = 0
    _version: int = -1

    def __post_init__(self) -> None:
        self._database = sqlite3.connect(f"file:{self.path}?mode=rw", uri=True, isolation_level=None)
        self._database.execute("PRAGMA query_only=1")

    def look(self) -> None:
        """Read what is new, if the database changed at all."""
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        self._version = version
        query = "SELECT id, agent_id, seq, stored_us FROM alerts WHERE id > ? AND seq IS NOT NULL ORDER BY id"
        rows = self._database.execute(query, (self._last,)).fetchall()
        now_us = time.time_ns() // 1000
        for row, agent, seq, stored_us in rows:
            self._last = row
            self.stored[agent, seq], self.seen[agent, seq] = stored_us, now_us

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def city(lines: list[Line], alerts: Alerts, begin: float, seconds: float) -> Iterator[Line]:
    """Whose turn it is, at ``RATE`` a second; between turns it looks for alerts."""
    total = int(seconds * RATE)
    sent = 0
    while sent < total:
        due = min(total, int((time.monotonic() - begin) * RATE))
        while sent < due:
            yield lines[sent % len(lines)]
            sent += 1
        alerts.look()
        time.sleep(TICK_S)


def run(lines: list[Line], alerts: Alerts, seconds: float) -> tuple[dict[tuple[str, int], int], float]:
    """Send for so long; returns when each violation happened, µs by (PC, sequence number), and the rate that was reached."""
    reader = wire.FrameReader("data", "collector")
    compressor, dice = zstandard.ZstdCompressor(level=3), random.Random(1)
    happened: dict[tuple[str, int], int] = {}
    begin, number = time.monotonic(), 0
    for number, line in enumerate(city(lines, alerts, begin, seconds), 1):
        line.collect(reader)
        now_us = time.time_ns() // 1000
        if number % VIOLATION_EVERY:
            line.send(ordinary(dice, now_us), compressor)
        else:
            seq = line.send(violation(now_us, f"{dice.getrandbits(256):064x}"), compressor)
            happened[line.pc.agent_id, seq] = now_us
    rate = number / (time.monotonic() - begin)

    def settled() -> bool:
        alerts.look()
        for line in lines:
            line.collect(reader)
        return not any(line.unanswered for line in lines) and happened.keys() <= alerts.seen.keys()

    wait_for("every violation to be an alert", settled, seconds=30)
    return happened, rate


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """Milliseconds from the event's time to its alert, as a reader of the database sees it, and as it is stamped."""
    context: Zmq = zmq.Context(io_threads=1)
    with tempfile.TemporaryDirectory(dir=PROJECT, prefix=".bench-") as name:
        say(f"starting a collector, enrolling {PCS} PCs")
        with Collector(Path(name), context, PCS) as collector:
            address = collector.address("data")
            lines = [Line(pc, pc.connect(context, address, collector.server)) for pc in collector.fleet]
            alerts = Alerts(collector.data / "control.db")
            say("warming up")
            run(lines, alerts, WARM_UP_S)
            say(f"{RATE:,} events a second for {SECONDS:g} s")
            happened, rate = run(lines, alerts, SECONDS)
            alerts.close()
            for line in lines:
                line.socket.close()
    context.term()
    seen = [(alerts.seen[key] - happened[key]) / 1000 for key in happened]
    stamped = [(alerts.stored[key] - happened[key]) / 1000 for key in happened]
    return {
        "flag.p50_ms": percentile(seen, 50),
        "flag.p99_ms": percentile(seen, 99),
        "flag.stamped_p50_ms": percentile(stamped, 50),
        "flag.stamped_p99_ms": percentile(stamped, 99),
        "flag.alerts": len(seen),
        "flag.rate": rate,
    }
