"""The detector process killed at random moments: every event is flagged exactly once, every batch indexed once."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from collector import bus
from collector.search.events import EventQuery, EventSearch
from protocol.events import ConnectionOpened, DeviceAttached
from tests.collector.detection.city import ANY_DEVICE, T0, UNPERMITTED, City

DEADLINE_S = 60
ROUNDS = 8
PER_ROUND = 500


@contextmanager
def child(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "collector.detection", "--data", str(data)])
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(DEADLINE_S)


def wait_until(holds: Callable[[], bool], step_s: float = 0.002) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, "deadline"
        time.sleep(step_s)


def flagged(city: City) -> Counter[str]:
    total: Counter[str] = Counter()
    for alert in city.alerts():
        total[alert.rule_id] += alert.count
    return total


def runs(city: City, process: subprocess.Popen[bytes]) -> bool:
    """Whether the detector has written its status file."""
    path = city.data / "run" / "detector.stats.json"
    return path.exists() and json.loads(path.read_bytes())["pid"] == process.pid


def test_killed_at_random_every_event_is_flagged_once(found: Callable[..., City]) -> None:
    city = found([UNPERMITTED, ANY_DEVICE])
    dice = random.Random(0)
    sent = 0

    events = [ConnectionOpened(time_us=T0), DeviceAttached(time_us=T0), ConnectionOpened(time_us=T0)]

    def send() -> None:
        nonlocal sent
        city.send_all((f"pc{dice.randrange(50)}", events) for _ in range(PER_ROUND))
        sent += PER_ROUND

    for _ in range(ROUNDS):
        before = flagged(city)["any_device"]
        send()
        with child(city.data) as process:
            wait_until(lambda before=before: flagged(city)["any_device"] > before)  # type: ignore[misc]
            send()
            time.sleep(dice.random() * 0.05)  # not a wait for anything: the moment of the kill is the dice
            os.kill(process.pid, signal.SIGKILL)
    with child(city.data) as process:
        wait_until(lambda: flagged(city)["any_device"] >= sent and runs(city, process))
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert flagged(city) == {"any_device": sent, "unpermitted": sent}
    keys = [(one.agent_id, one.seq, one.rule_id) for one in city.alerts()]
    assert len(keys) == len(set(keys))
    search = EventSearch(city.data)
    found_again = list(search.run(EventQuery(kinds=frozenset({"device.attached"}), limit=100_000)))
    search.close()
    assert len(found_again) == sent


def test_a_poke_is_answered_at_once_and_sigterm_ends_it_cleanly(found: Callable[..., City]) -> None:
    city = found([ANY_DEVICE])
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    outlet = bus.outlet(context, city.data / "run", "detector")
    stats = city.data / "run" / "detector.stats.json"
    try:
        with child(city.data) as process:
            wait_until(lambda: runs(city, process))
            times = []
            for number in range(10):
                city.send(f"pc{number}", [DeviceAttached(time_us=T0)])
                started = time.monotonic()
                bus.poke(outlet, "batches")
                wait_until(lambda number=number: len(city.alerts()) > number)  # type: ignore[misc]
                times.append(time.monotonic() - started)
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        assert sorted(times)[len(times) // 2] < 0.5
        assert json.loads(stats.read_bytes())["alerts"] == 10
    finally:
        outlet.close()
        context.term()


def test_without_a_migrated_database_it_refuses_to_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "collector.detection", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "version")
