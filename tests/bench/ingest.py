"""Ingest: the whole collector against the bare limit, fed with the same batches by the same simulated PCs in one run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from collector.search.index import open_reader
from tests.bench.collector import Collector
from tests.bench.fleet import BATCH, Simulated, Zmq, bodies, drive
from tests.e2e.testbed.machine import PROJECT, wait_for

PCS, BATCHES, DIFFERENT = 50, 200, 40
TOTAL = PCS * BATCHES * BATCH


@contextlib.contextmanager
def bare_limit(folder: Path) -> Iterator[tuple[str, bytes, Callable[[], int]]]:
    """The bare server: yields its address, its key, and how to ask what was decoded."""
    argv = [sys.executable, "-m", "tests.bench.limit", str(folder)]
    process = subprocess.Popen(
        argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    asks, says = process.stdin, process.stdout
    assert asks is not None
    assert says is not None
    said = json.loads(says.readline())

    def decoded() -> int:
        asks.write("\n")
        return int(json.loads(says.readline())["decoded"])

    try:
        yield said["address"], bytes.fromhex(said["server"]), decoded
    finally:
        asks.close()
        process.wait(10)
        says.close()


def sealed(fleet: list[Simulated], made: list[bytes]) -> list[list[bytes]]:
    """The frames of each PC, signed and chained."""
    return [
        [pc.frame(made[(number * 7 + turn) % len(made)]) for turn in range(BATCHES)]
        for number, pc in enumerate(fleet)
    ]


def limit(context: Zmq, folder: Path, made: list[bytes]) -> float:
    """Events per second of the bare server, from the first batch sent to the last event decoded."""
    folder.mkdir()
    fleet = [Simulated() for _ in range(PCS)]
    frames = sealed(fleet, made)
    with bare_limit(folder) as (address, server, decoded):
        begin = time.monotonic()
        drive(context, fleet, frames, address, server)
        wait_for("the limit's decoder", lambda: decoded() >= TOTAL, seconds=120)
        return TOTAL / (time.monotonic() - begin)


def whole(context: Zmq, folder: Path, made: list[bytes]) -> tuple[float, float]:
    """Events per second of the collector: until all is flagged and indexed, and until all is acknowledged."""
    folder.mkdir()
    with Collector(folder, context, PCS) as collector:
        frames = sealed(collector.fleet, made)
        begin = time.monotonic()
        took = drive(context, collector.fleet, frames, collector.address("data"), collector.server)
        acknowledged = TOTAL / took
        return TOTAL / (_all_taken_in(collector) - begin), acknowledged


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """The limit is measured before and after the collector, and the mean taken: others use this machine too."""
    context: Zmq = zmq.Context(io_threads=1)
    made = bodies(DIFFERENT)
    # In the project, not below /tmp: that may be a RAM disk, where fsync costs nothing.
    with tempfile.TemporaryDirectory(dir=PROJECT, prefix=".bench-") as name:
        say("the bare limit")
        before = limit(context, Path(name, "1"), made)
        say("the collector")
        speed, acknowledged = whole(context, Path(name, "2"), made)
        say("the bare limit again")
        after = limit(context, Path(name, "3"), made)
    context.term()
    bare = (before + after) / 2
    return {
        "ingest.events_per_s": speed,
        "ingest.acknowledged_per_s": acknowledged,
        "ingest.limit_events_per_s": bare,
        "ingest.ratio": speed / bare,
    }


def _all_taken_in(collector: Collector) -> float:
    """Wait until the detector has evaluated and indexed every event; returns when (monotonic seconds)."""
    index = collector.data / "index.db"
    with contextlib.closing(open_reader(index)) as database:
        query = "SELECT coalesce(sum(count), 0) FROM batches"
        wait_for("the detector", lambda: database.execute(query).fetchone()[0] >= TOTAL, seconds=300)
    done = time.monotonic()
    stats = wait_for("its statistics", lambda: _final(collector), seconds=30)
    if stats["rule_errors"] or stats["bad_events"] or not stats["alerts"]:
        raise RuntimeError(f"the detector did not do its work: {stats}")
    return done


def _final(collector: Collector) -> dict[str, object] | None:
    stats = collector.detector()
    return stats if stats.get("events", 0) >= TOTAL else None
