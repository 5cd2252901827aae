"""Uses of files folded into few events, without a kernel."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform import Platform
from agent.platform.file_ports import Access, AccessKind
from agent.platform.linux.fanotify import MalformedError
from agent.platform.linux.fanotify_log import parse_named
from agent.platform.ports import ProcessInfo
from agent.sensors import files
from agent.sensors.files import MAX_FOLDS, FilesSensor
from protocol.events import FileAccessed
from tests.agent.files_lab import policy


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(files, "time", made)
    return made


def _access(access: AccessKind = "read", path: str = "/srv/juki/a", uid: int = 1000) -> Access:
    who = ProcessInfo(pid=4711, exe="/usr/bin/cat", uid=uid)
    return Access(time_us=1, pid=4711, path=path, access=access, place="juki", who=who)


def _tick(sensor: FilesSensor) -> list[FileAccessed]:
    return [event for event in sensor.tick() if isinstance(event, FileAccessed)]


def test_equal_uses_are_told_at_once_and_then_once_a_minute(tmp_path: Path, clock: Clock) -> None:
    sensor = FilesSensor(Platform(state=tmp_path, run=tmp_path))
    for _ in range(5):
        sensor._add(_access())
    assert _tick(sensor) == []
    clock.now += 2.1
    (event,) = _tick(sensor)
    assert (event.count, event.access, event.uid) == (5, "read", 1000)
    for _ in range(7):
        sensor._add(_access())
    clock.now += 30
    assert _tick(sensor) == []
    clock.now += 31
    assert [one.count for one in _tick(sensor)] == [7]
    clock.now += 61
    assert _tick(sensor) == []
    assert sensor._folds == {}


def test_the_strongest_use_of_a_file_is_told(tmp_path: Path, clock: Clock) -> None:
    sensor = FilesSensor(Platform(state=tmp_path, run=tmp_path))
    for access in ("read", "create", "write", "rename"):
        sensor._add(_access(access))
    clock.now += 3
    assert [(one.access, one.count) for one in _tick(sensor)] == [("create", 3), ("rename", 1)]


def test_more_uses_than_are_kept_apart_are_summed_up(tmp_path: Path, clock: Clock) -> None:
    sensor = FilesSensor(Platform(state=tmp_path, run=tmp_path))
    for number in range(MAX_FOLDS + 500):
        sensor._add(_access(path=f"/srv/juki/{number}"))
    clock.now += 3
    *single, summary = _tick(sensor)
    assert len(single) == MAX_FOLDS
    assert (summary.path, summary.place, summary.count) == ("", "juki", 500)


def test_a_process_that_is_gone_keeps_its_number(tmp_path: Path, clock: Clock) -> None:
    sensor = FilesSensor(Platform(state=tmp_path, run=tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    sensor._add(Access(time_us=1, pid=gone.pid, path="/srv/juki/a", access="read", place="juki"))
    clock.now += 3
    (event,) = _tick(sensor)
    assert (event.pid, event.uid, event.user, event.exe) == (gone.pid, -1, "", "")
    view = policy(Path("/srv/juki"), handlers=("tanaka",))
    assert view.enrich(event, 1).handler == ""


def test_places_of_other_sections_are_not_watched() -> None:
    view = policy(Path("/srv/juki"))
    watched: dict[str, str] = {}

    class Log:
        incomplete = ""

        def watch(self, places: dict[str, str]) -> None:
            watched.update(places)

    sensor = FilesSensor(Platform())
    sensor._log = Log()  # type: ignore[assignment]
    sensor.follow(view)
    assert watched == {"juki": "/srv/juki"}


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(noise: bytes) -> None:
    good = bytes.fromhex("40000000") + b"\x03\x00" + b"\x18\x00" + bytes(8) + bytes(4) + bytes(4)
    for data in (noise, good + noise, noise[:24]):
        try:
            parse_named(data)
        except MalformedError:
            continue
