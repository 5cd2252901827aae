"""kill -9 in the middle of ingest, a full disk: what was acknowledged is there, once."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.config import Config
from collector.evidence.reader import JournalReader
from collector.gateway import data_lane
from protocol.messages import Batch, BatchAck, RetryAfter
from tests.collector.gateway.pc import PC, City, Process, eventually, findings, running, stored

New = Callable[..., PC]
ROUNDS = 6


class Sender:
    """A PC with a window of batches, that goes on from what was acknowledged."""

    def __init__(self, pc: PC) -> None:
        self.pc = pc
        self.chain: list[Batch] = []
        self.acknowledged = 0

    def connect(self, process: Process) -> None:
        self.pc.connect(process, "data")
        for batch in self.chain:
            if batch.first_seq > self.acknowledged:
                self.pc.send("data", batch)

    def step(self) -> None:
        """Keep eight batches under way; take acknowledgements."""
        while len([one for one in self.chain[-8:] if one.first_seq > self.acknowledged]) < 8:
            self.chain.append(self.pc.batch(random.randint(1, 50)))
            self.pc.send("data", self.chain[-1])
        while isinstance(answer := self.pc.receive("data", 0.005), BatchAck | RetryAfter):
            if isinstance(answer, BatchAck):
                self.acknowledged = max(self.acknowledged, answer.seq)


def test_kill_minus_nine_loses_nothing_acknowledged_and_stores_nothing_twice(city: City, new_pc: New) -> None:
    senders = [Sender(new_pc(f"pc-{number}")) for number in range(3)]
    process = Process(city)
    for number in range(ROUNDS):
        process.start()
        before = [sender.acknowledged for sender in senders]
        for sender in senders:
            sender.connect(process)

        def all_went_on(before: list[int] = before) -> bool:
            for sender in senders:
                sender.step()
            return all(sender.acknowledged > old + 200 for sender, old in zip(senders, before, strict=True))

        eventually(all_went_on, 30)
        for _ in range(number):
            all_went_on()  # kill at another point each time
        process.kill()
        for sender in senders:
            places = stored(city, sender.pc)
            last = places[-1][0] + places[-1][1] - 1
            assert last >= sender.acknowledged
            assert numbers(places) == list(range(1, last + 1))
    process.start()
    for sender in senders:
        sender.connect(process)

    def all_arrived() -> bool:
        for sender in senders:
            sender.step()
        return all(sender.acknowledged >= sender.chain[-8].first_seq for sender in senders)

    eventually(all_arrived, 30)
    process.stop()
    assert findings(city) == []


def numbers(places: list[tuple[int, int]]) -> list[int]:
    return [seq for first, count in places for seq in range(first, first + count)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "sekisho-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.needs("root", "mountns")
def test_a_full_disk_refuses_by_name_keeps_what_is_stored_and_recovers(
    template: City, new_pc: New, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_lane, "CLOSED_S", 0.1)
    city = template.copy(small_disk / "c")
    pc = new_pc(status="")
    pc.city = city
    city.known(pc)
    with running(city) as gateway:
        pc.connect(gateway, "data")
        acknowledged, refused = 0, None
        for _ in range(200):
            batch = pc.batch(100, body=random.randbytes(60_000))
            answer = pc.ask("data", batch)
            if isinstance(answer, RetryAfter):
                refused = answer
                break
            acknowledged = answer.seq
        assert refused is not None
        assert refused.seq == acknowledged > 0
        assert gateway.gateway.stats.health["disk_full"]
        assert sum(count for _, count in stored(city, pc)) == acknowledged
        # Space comes back; nobody restarts anything.
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        eventually(lambda: isinstance(pc.ask("data", batch), BatchAck))
        assert "disk_full" not in gateway.gateway.stats.health
        assert eventually(lambda: findings(city, "disk_full"))[0].agent_id == ""
    reader = JournalReader(city.layout.journal)
    assert reader.count_events(pc.id) == acknowledged + 100
    assert reader.lost == 0
    reader.close()


def test_the_lane_closes_before_the_disk_is_full_and_opens_again(
    city: City, new_pc: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10 << 20
    monkeypatch.setattr(data_lane, "CLOSED_S", 0.1)
    monkeypatch.setattr(data_lane, "PROBE_S", 0.05)
    usage = type("Usage", (), {"free": property(lambda _: free)})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage())
    pc = new_pc()
    with running(city, Config(bind=("127.0.0.1",), min_free_mib=50)) as gateway:
        pc.connect(gateway, "data")
        batch = pc.batch()
        eventually(lambda: "disk_full" in gateway.gateway.stats.health)
        assert isinstance(pc.ask("data", batch), RetryAfter)
        free = 100 << 20
        began = time.monotonic()
        eventually(lambda: isinstance(pc.ask("data", batch), BatchAck))
        assert time.monotonic() - began < 5
        assert gateway.gateway.stats.health == {}
    assert len(findings(city, "disk_full")) == 1
