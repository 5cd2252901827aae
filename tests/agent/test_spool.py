"""The spool: order, numbers, group commit, dropping, damage, a full disk, kill -9."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.outbox import Outbox
from agent.spool import HELD_EVENTS, Spool, as_ranges, merged
from protocol.events import (
    AgentDropped,
    AgentHealth,
    AgentStarted,
    AnyEvent,
    ConnectionOpened,
    DeviceBlocked,
    Event,
    Priority,
    decode_events,
)
from protocol.messages import ZERO_DIGEST, Batch, batch_digest
from protocol.refusal import RefusedError

ROOT = Path(__file__).resolve().parents[2]


def routine(number: int = 0, *, size: int = 0) -> ConnectionOpened:
    return ConnectionOpened(time_us=1_000_000 + number, dest_port=number, cmdline="x" * size)


def urgent(number: int = 0) -> DeviceBlocked:
    return DeviceBlocked(time_us=number, port=str(number))


def sign(digest: bytes) -> bytes:
    return digest + digest


def events_of(batch: Batch) -> list[AnyEvent]:
    return decode_events(zstandard.ZstdDecompressor().decompress(batch.body))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", clock=clock)
    yield spool
    spool.close()


def stored(outbox: Outbox) -> list[Batch]:
    found: list[Batch] = []
    while batch := outbox.following(found[-1].first_seq if found else 0):
        found.append(batch)
    return found


def drain(spool: Spool) -> list[tuple[int, AnyEvent]]:
    """Everything in the spool, acknowledged batch by batch, with its number; checks the chain on the way."""
    outbox, found = Outbox(spool.file, sign), []
    while batch := outbox.following(0) or outbox.form():
        assert batch.digest == batch_digest(batch.first_seq, batch.count, batch.prev_digest, batch.body)
        found += list(enumerate(events_of(batch), batch.first_seq))
        outbox.acknowledge(batch.first_seq + batch.count - 1)
        spool.flush()
    return found


def test_numbers_start_at_one_and_order_is_kept(spool: Spool) -> None:
    assert [spool.append(routine(at)) for at in range(5)] == [1, 2, 3, 4, 5]
    spool.flush()
    assert [(seq, event.dest_port) for seq, event in drain(spool)] == [(at + 1, at) for at in range(5)]  # type: ignore[union-attr]
    assert spool.depth == 0
    assert spool.file.bytes == 0


def test_routine_events_wait_for_company_and_urgent_ones_do_not(spool: Spool, clock: Clock) -> None:
    spool.append(routine())
    assert spool.file.waiting == 0
    assert spool.due_in() == pytest.approx(0.05)
    clock.now += 0.05
    assert spool.due_in() == 0
    spool.append(urgent())
    assert spool.file.waiting == 2
    assert spool.due_in() is None
    for at in range(200):
        spool.append(routine(at))
    assert spool.file.waiting == 202


def test_batches_are_chained_and_limited(spool: Spool) -> None:
    for at in range(450):
        spool.append(routine(at))
    spool.flush()
    outbox = Outbox(spool.file, sign)
    batches = [batch for _ in range(3) if (batch := outbox.form())]
    assert [(batch.first_seq, batch.count) for batch in batches] == [(1, 200), (201, 200), (401, 50)]
    assert [batch.prev_digest for batch in batches] == [ZERO_DIGEST, batches[0].digest, batches[1].digest]
    assert outbox.form() is None


def test_large_events_make_smaller_batches(spool: Spool) -> None:
    for at in range(300):
        spool.append(routine(at, size=4000)) if at % 2 else spool.append(
            AgentStarted(time_us=at, detail="y" * 4000, version=str(at))
        )
    for _ in range(40):
        spool.append(AgentDropped(time_us=1, ranges=tuple((at, at) for at in range(30_000))))
    outbox = Outbox(spool.file, sign)
    while batch := outbox.form():
        assert len(zstandard.ZstdDecompressor().decompress(batch.body)) <= 1024 * 1024 + 5


def test_a_resend_is_the_same_to_the_byte_after_reopening(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for at in range(300):
        spool.append(routine(at))
    spool.flush()
    outbox = Outbox(spool.file, sign)
    formed = [outbox.form(), outbox.form()]
    spool.close()
    again = Spool(tmp_path / "spool.db")
    assert stored(Outbox(again.file, lambda _: b"\0" * 64)) == formed
    assert again.depth == 300
    assert again.append(urgent()) == 301
    following = Outbox(again.file, sign).form()
    assert following is not None
    assert formed[1] is not None
    assert following.prev_digest == formed[1].digest
    again.close()


def test_a_hole_ends_a_batch(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for at in range(10):
        spool.append(routine(at))
    spool.flush()
    spool.file.db.execute("DELETE FROM events WHERE seq = 4")
    outbox = Outbox(spool.file, sign)
    assert [(batch.first_seq, batch.count) for batch in (outbox.form(), outbox.form()) if batch] == [
        (1, 3),
        (5, 6),
    ]
    spool.close()


# -- dropping ----------------------------------------------------------------------------------------------------------


def test_full_spool_gives_up_the_least_important_first_and_says_which(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", limit_bytes=40_000)
    kinds: list[Event] = [routine(1, size=100), AgentHealth(time_us=1, detail="x" * 100), urgent(1)]
    for at in range(600):
        spool.append(kinds[at % 3])
    spool.flush()
    assert spool.file.bytes <= 40_000
    left = drain(spool)
    dropped = {
        number
        for _, event in left
        if isinstance(event, AgentDropped)
        for first, last in event.ranges
        for number in range(first, last + 1)
    }
    assert {event.reason for _, event in left if isinstance(event, AgentDropped)} == {"spool_full"}
    kept = {seq for seq, _ in left}
    assert kept | dropped == set(range(1, spool.last_seq + 1))
    assert not kept & dropped
    assert spool.dropped == len(dropped)
    assert sum(event.priority == Priority.VIOLATION for _, event in left) == 200
    spool.close()


def test_a_critical_event_is_never_dropped_for_a_lower_one(tmp_path: Path) -> None:
    """Not directly, and not by the reports of what was dropped, which are critical themselves."""
    spool = Spool(tmp_path / "spool.db", limit_bytes=20_000)
    while spool.file.bytes < 20_000 - 100:
        spool.append(AgentStarted(time_us=1, detail="x" * 20))
    before = spool.file.waiting
    for at in range(500):
        spool.append(routine(at))
        spool.append(AgentHealth(time_us=at))
        spool.flush()
    drained = drain(spool)
    assert sum(isinstance(event, AgentStarted) for _, event in drained) == before
    reports = [event for _, event in drained if isinstance(event, AgentDropped)]
    assert sum(report.count for report in reports) + len(drained) == spool.last_seq
    spool.close()


def test_what_is_in_a_batch_is_not_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", limit_bytes=20_000)
    for at in range(50):
        spool.append(routine(at))
    spool.flush()
    outbox = Outbox(spool.file, sign)
    batch = outbox.form()
    for at in range(1000):
        spool.append(routine(at))
    spool.flush()
    assert outbox.following(0) == batch
    spool.close()


def test_age_counts_time_the_agent_ran(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "spool.db", max_age_s=1000, clock=clock)
    spool.append(routine(1))
    spool.flush()
    clock.now += 900
    spool.append(routine(2))
    spool.close()
    clock.now += 100_000  # switched off
    spool = Spool(tmp_path / "spool.db", max_age_s=1000, clock=clock)
    spool.append(routine(3))
    spool.flush()
    assert spool.file.waiting == 3
    clock.now += 200
    spool.append(routine(4))
    spool.flush()
    assert [event.dest_port for _, event in drain(spool) if isinstance(event, ConnectionOpened)] == [2, 3, 4]
    spool.close()


@pytest.mark.parametrize(
    ("seqs", "ranges"), [([], []), ([3], [(3, 3)]), ([1, 2, 3, 7, 8, 10], [(1, 3), (7, 8), (10, 10)])]
)
def test_ranges(seqs: list[int], ranges: list[tuple[int, int]]) -> None:
    assert list(as_ranges(seqs)) == ranges


# -- damage ------------------------------------------------------------------------------------------------------------


def test_corrupt_record_is_skipped_and_reported(spool: Spool) -> None:
    for at in range(10):
        spool.append(routine(at))
    spool.flush()
    body = b"\x81\xa4kind\xa7no.such"
    spool.file.db.execute("UPDATE events SET body = x'00ff' WHERE seq = 4")
    spool.file.db.execute("UPDATE events SET body = ?, crc = ? WHERE seq = 5", (body, zlib.crc32(body)))
    spool.file.db.execute("UPDATE events SET body = 'text' WHERE seq = 9")
    drained = drain(spool)
    assert [seq for seq, _ in drained if seq <= 10] == [1, 2, 3, 6, 7, 8, 10]
    reports = [event for _, event in drained if isinstance(event, AgentDropped)]
    assert {report.reason for report in reports} == {"corrupt"}
    assert merged(sorted(one for report in reports for one in report.ranges)) == [(4, 5), (9, 9)]


def test_damaged_batch_is_taken_out_and_reported(spool: Spool) -> None:
    for at in range(400):
        spool.append(routine(at))
    spool.flush()
    outbox = Outbox(spool.file, sign)
    outbox.form(), outbox.form()
    spool.file.db.execute("UPDATE batches SET body = x'00' WHERE first = 1")
    drained = drain(spool)
    assert min(seq for seq, _ in drained) == 201
    (report,) = [event for _, event in drained if isinstance(event, AgentDropped)]
    assert report.ranges == ((1, 200),)


def test_corrupt_file_is_set_aside_and_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path)
    for at in range(500):
        spool.append(routine(at, size=100))
    last = spool.last_seq
    spool.close()
    page = 4096
    data = bytearray(path.read_bytes())
    for start in range(page, len(data) - page, page):
        data[start : start + page] = os.urandom(page)
    path.write_bytes(data)
    again = Spool(path)
    assert again.last_seq >= last
    assert again.file.damage
    assert again.append(urgent()) > last
    first, second = (event for _, event in drain(again))
    assert {type(first), type(second)} == {AgentDropped, DeviceBlocked}
    assert list(tmp_path.glob("spool.db.corrupt-*"))
    again.close()


def test_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    spool = Spool(path)
    assert spool.append(urgent()) == 1
    assert [type(event) for _, event in drain(spool)] == [DeviceBlocked, AgentDropped]
    spool.close()


def test_database_that_breaks_while_open_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path)
    spool.append(urgent(1))
    spool.file.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spool.file.db.execute("DROP TABLE meta")
    spool.file.db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY CHECK (key = ''), value)")
    spool.append(urgent(2))
    spool.flush()
    assert spool.file.epoch == 1
    assert not spool.full
    drained = drain(spool)
    assert [seq for seq, event in drained if isinstance(event, DeviceBlocked)] == [2]
    (report,) = [event for _, event in drained if isinstance(event, AgentDropped)]
    assert report.reason == "corrupt"
    spool.close()


def refusal_of(spool: Spool, event: Event) -> str:
    """Name of the refusal, empty when the event was taken."""
    try:
        spool.append(event)
    except RefusedError as refusal:
        return refusal.name
    return ""


# -- a full disk -------------------------------------------------------------------------------------------------------


def test_full_disk_refuses_by_name_and_tells_when_there_is_space_again(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "spool.db", clock=clock)
    spool.append(urgent(0))
    (pages,) = spool.file.db.execute("PRAGMA page_count").fetchone()
    spool.file.db.execute(f"PRAGMA max_page_count = {pages}")
    refused = 0
    for at in range(2000):
        refused += refusal_of(spool, routine(at, size=500)) == "disk_full"
    assert refused
    assert spool.full
    held = spool.append(urgent(1))
    spool.file.db.execute("PRAGMA max_page_count = 1000000")
    assert spool.due_in() is not None
    clock.now += 1
    spool.flush()
    assert not spool.full
    drained = dict(drain(spool))
    assert isinstance(drained[held], DeviceBlocked)
    (report,) = [event for event in drained.values() if isinstance(event, AgentDropped)]
    assert (report.reason, report.count) == ("disk_full", refused)
    assert sum(isinstance(event, ConnectionOpened) for event in drained.values()) == 2000 - refused
    spool.close()


def test_urgent_events_are_held_only_as_far_as_the_memory_allows(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "spool.db", clock=clock)
    spool.file.db.execute("PRAGMA query_only = 1")
    spool.append(urgent(0))
    assert spool.full
    for at in range(HELD_EVENTS - 1):
        spool.append(urgent(at))
    with pytest.raises(RefusedError, match="disk_full"):
        spool.append(urgent())
    spool.file.db.execute("PRAGMA query_only = 0")
    spool.close()


@pytest.mark.needs("root", "mountns")
def test_full_file_system(tmp_path: Path) -> None:
    """On a real file system without space: enforcement's caller gets a name, and the spool mends itself."""
    script = """
import os, sys
from pathlib import Path
from tests.agent.test_spool import Spool, drain, routine, urgent, RefusedError, AgentDropped
place = Path(sys.argv[1])
spool = Spool(place / "spool.db")
spool.append(urgent(1))
ballast = place / "ballast"
with ballast.open("wb") as file:
    try:
        while True:
            file.write(b"x" * 65536); file.flush()
    except OSError:
        pass
names = set()
for at in range(3000):
    try:
        spool.append(routine(at, size=1000))
    except RefusedError as refusal:
        names.add(refusal.name)
assert names == {"disk_full"}, names
ballast.unlink()
spool.flush()
assert not spool.full, spool.full
last = [event for _, event in drain(spool) if isinstance(event, AgentDropped)]
assert [event.reason for event in last] == ["disk_full"]
"""
    mount = f"mount -t tmpfs -o size=2m none {tmp_path} && exec {sys.executable} -c '{script}' {tmp_path}"
    subprocess.run(["unshare", "--mount", "sh", "-c", mount], cwd=ROOT, check=True, timeout=60)


# -- kill -9 -----------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from tests.agent.test_spool import Outbox, Spool, routine, sign, urgent
spool = Spool(Path(sys.argv[1]))
outbox = Outbox(spool.file, sign)
while True:
    seq = spool.append(routine(0)) if spool.last_seq % 3 else spool.append(urgent(0))
    if seq % 50 == 0:
        spool.flush()
        batch = outbox.form()
        print("sent", batch.first_seq, batch.digest.hex(), flush=True)
        if seq % 100 == 0:
            outbox.acknowledge(batch.first_seq + batch.count - 1)
    print("kept", spool.file.last_seq, flush=True)
"""


def test_kill_9_loses_nothing_committed_and_repeats_no_number(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    sent: dict[int, str] = {}
    for wanted in (300, 700, 1200):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert writer.stdout is not None
        kept = 0
        with writer, writer.stdout as lines:
            for line in lines:
                words = line.split()
                if words[0] == "sent":
                    assert sent.setdefault(int(words[1]), words[2]) == words[2]
                    continue
                kept = int(words[1])
                if kept >= wanted:
                    writer.send_signal(signal.SIGKILL)
                    break
        spool = Spool(path)
        assert spool.last_seq >= kept
        outbox = Outbox(spool.file, sign)
        batches = stored(outbox)
        assert all(sent.get(batch.first_seq, batch.digest.hex()) == batch.digest.hex() for batch in batches)
        first = batches[0].first_seq if batches else outbox.highest_formed() + 1
        seqs = [seq for seq, _ in drain(spool)]
        assert seqs == list(range(first, spool.last_seq + 1))
        spool.close()


# -- state machine -----------------------------------------------------------------------------------------------------


class SpoolMachine(RuleBasedStateMachine):
    """Random appends, flushes, batches, acknowledgements, crashes and clean restarts against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.committed = 0
        self.highest = 0
        self.sent: dict[int, Batch] = {}
        self.acknowledged = 0
        self.received: dict[int, AnyEvent] = {}
        self.wrote: dict[int, Event] = {}

    @initialize(limit=st.sampled_from([5_000, 1 << 20]))
    def start(self, limit: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path, self.limit = Path(self.folder.name) / "spool.db", limit
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.path, limit_bytes=self.limit, clock=self.clock)
        self.outbox = Outbox(self.spool.file, sign)
        self.after = 0

    @rule(kind=st.sampled_from(["routine", "notable", "urgent", "critical"]), times=st.integers(1, 60))
    def append(self, kind: str, times: int) -> None:
        for _ in range(times):
            number = self.spool.last_seq
            event = {
                "routine": routine(number),
                "notable": AgentHealth(time_us=number),
                "urgent": urgent(number),
                "critical": AgentStarted(time_us=number),
            }[kind]
            seq = self.spool.append(event)
            assert seq > self.committed
            self.wrote[seq] = event
        self.committed = max(self.committed, self.spool.file.last_seq)

    @rule()
    def flush(self) -> None:
        self.clock.now += 1
        self.spool.flush()
        self.committed = max(self.committed, self.spool.file.last_seq)

    @rule()
    def send(self) -> None:
        batch = self.outbox.following(self.after) or self.outbox.form()
        if batch is None:
            return
        self.after = batch.first_seq
        known = self.sent.setdefault(batch.first_seq, batch)
        assert known == batch
        for seq, event in enumerate(events_of(batch), batch.first_seq):
            assert self.received.setdefault(seq, event) == event
            assert isinstance(event, AgentDropped) or self.wrote[seq] == event
        self.highest = max(self.highest, batch.first_seq + batch.count - 1)

    @precondition(lambda self: self.highest > self.acknowledged)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        self.acknowledged = data.draw(st.integers(self.acknowledged + 1, self.highest))
        self.outbox.acknowledge(self.acknowledged)

    @rule()
    def crash(self) -> None:
        """Everything in memory is gone; only what SQLite has counts."""
        self.spool.file.db.close()
        self.open()
        self.wrote = {seq: event for seq, event in self.wrote.items() if seq <= self.committed}

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.open()
        self.committed = self.spool.last_seq

    @invariant()
    def counters_are_those_of_the_database(self) -> None:
        if not hasattr(self, "spool"):
            return
        file = self.spool.file
        (waiting,) = file.db.execute("SELECT count(*) FROM events").fetchone()
        (formed,) = file.db.execute("SELECT coalesce(sum(count), 0) FROM batches").fetchone()
        assert (file.waiting, file.formed) == (waiting, formed)
        assert self.spool.last_seq >= self.committed

    def teardown(self) -> None:
        if not hasattr(self, "spool"):
            return
        try:
            self.everything_is_received_or_reported()
        finally:
            self.spool.close()
            self.folder.cleanup()

    def everything_is_received_or_reported(self) -> None:
        self.clock.now += 1
        self.spool.flush()
        for seq, event in drain(self.spool):
            assert self.received.setdefault(seq, event) == event
        dropped = {
            number
            for event in self.received.values()
            if isinstance(event, AgentDropped)
            for first, last in event.ranges
            for number in range(first, last + 1)
        }
        assert self.received.keys() | dropped == set(range(1, self.spool.last_seq + 1))
        assert not self.received.keys() & dropped


SpoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSpoolMachine = SpoolMachine.TestCase


def half_a_transaction(spool: Spool) -> None:
    with spool.file.transaction() as db:
        db.execute("DELETE FROM events")
        db.execute("no such statement")


def test_a_transaction_is_done_whole_or_not_at_all(spool: Spool) -> None:
    spool.append(urgent())
    with pytest.raises(sqlite3.OperationalError):
        half_a_transaction(spool)
    assert not spool.file.db.in_transaction
    assert len(drain(spool)) == 1


def test_a_spool_that_cannot_be_opened_refuses_and_goes_on_when_it_can(tmp_path: Path, clock: Clock) -> None:
    """As after a start with a full disk: enforcement runs, and what could not be kept is told."""
    before = Spool(tmp_path / "spool.db", clock=clock)
    before.append(urgent(1))
    before.close()
    (tmp_path / "spool.db").rename(tmp_path / "elsewhere")
    (tmp_path / "spool.db").mkdir()
    spool = Spool(tmp_path / "spool.db", clock=clock)
    assert spool.full
    assert refusal_of(spool, urgent(2)) == "disk_full"
    spool.flush()
    assert spool.full
    assert Outbox(spool.file, sign).form() is None
    (tmp_path / "spool.db").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "spool.db")
    clock.now += 1
    assert spool.due_in() == 0
    spool.flush()
    assert not spool.full
    assert spool.append(urgent(3)) == 3
    drained = [event for _, event in drain(spool)]
    assert [type(event) for event in drained] == [DeviceBlocked, AgentDropped, DeviceBlocked]
    assert isinstance(drained[1], AgentDropped)
    assert (drained[1].reason, drained[1].count) == ("disk_full", 1)
    spool.close()
