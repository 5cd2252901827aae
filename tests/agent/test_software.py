"""The software sensor on a root of its own, with real dpkg, pip metadata and programs."""

import contextlib
import hashlib
import os
import select
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.inventory.job import Job, job_decoder
from agent.platform import Platform
from agent.platform.linux import inotify, software_watch
from agent.platform.ports import OverflowedError, Package
from agent.sensors.software import BOUNDED, SOURCES, SoftwareSensor
from agent.software_baseline import Baseline, Digests, differences, inventory_of, names_kept
from protocol.events import AgentHealth, Event, SoftwareChanged, SoftwareInstalled, SoftwareRemoved
from tests.debs import dpkg_root, install, make_deb, remove
from tests.gatelab import program

pytestmark = pytest.mark.needs("linux")


class Lab:
    """A sensor on a root, read the way the agent's loop does."""

    def __init__(self, folder: Path) -> None:
        self.root = dpkg_root(folder)
        self.home = self.root / "home/yamada"
        self.home.mkdir(parents=True)
        self.platform = Platform(state=folder / "state", run=folder / "run", root=self.root)
        self.events: list[Event] = []
        self.sensor = SoftwareSensor(self.platform)

    def start(self) -> None:
        self.events += self.sensor.open()
        self.until(self.seeded)
        self.settle()

    def seeded(self) -> bool:
        """Did the first look at everything end?"""
        path = self.platform.state / "software.db"
        if not path.exists():
            return False
        with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.OperationalError):
            return bool(db.execute("SELECT count(*) FROM seeded").fetchone() == (len(SOURCES),))
        return False

    def settle(self) -> None:
        """Wait until all that was there has been looked at: what comes last in the queue is a program of ours."""
        marker = self.root / "tmp/marker"
        marker.parent.mkdir(exist_ok=True)
        marker.write_bytes(program(str(time.monotonic_ns())))
        marker.chmod(0o755)
        self.sensor.recover()
        self.wait_for(SoftwareInstalled, "/tmp/marker")
        self.events = [event for event in self.events if getattr(event, "name", "") != "/tmp/marker"]

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.events
            ready, _, _ = select.select([fd for fd, _ in self.sensor.filenos()], [], [], 0.05)
            for fd in ready:
                try:
                    self.events += self.sensor.read(fd)
                except OverflowedError:
                    self.events += self.sensor.recover()
            self.events += self.sensor.tick()

    def wait_for(self, kind: type[Event], name: str) -> Event:
        def found() -> list[Event]:
            return [
                event for event in self.events if type(event) is kind and getattr(event, "name", "") == name
            ]

        self.until(lambda: bool(found()))
        return found()[0]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    one = Lab(tmp_path)
    try:
        yield one
    finally:
        one.sensor.close()


@pytest.mark.needs("dpkg", "root")
def test_deb_is_installed_changed_and_removed(lab: Lab, tmp_path: Path) -> None:
    install(lab.root, make_deb(tmp_path, "before", "1", {"usr/bin/before": b"x"}))
    lab.start()
    assert lab.events == []
    install(lab.root, make_deb(tmp_path, "vlc", "3.0", {"usr/bin/vlc": b"x"}))
    installed = lab.wait_for(SoftwareInstalled, "vlc")
    assert isinstance(installed, SoftwareInstalled)
    assert (installed.source, installed.version) == ("dpkg", "3.0")
    install(lab.root, make_deb(tmp_path, "vlc", "3.1", {"usr/bin/vlc": b"y"}))
    changed = lab.wait_for(SoftwareChanged, "vlc")
    assert isinstance(changed, SoftwareChanged)
    assert (changed.previous_version, changed.version) == ("3.0", "3.1")
    remove(lab.root, "vlc")
    lab.wait_for(SoftwareRemoved, "vlc")
    assert not any(getattr(event, "name", "") == "before" for event in lab.events)


def test_pip_package_appears(lab: Lab) -> None:
    site = lab.root / "usr/local/lib/python3.11/dist-packages"
    site.mkdir(parents=True)
    lab.start()
    info = site / "requests-2.31.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: requests\nVersion: 2.31\n")
    event = lab.wait_for(SoftwareInstalled, "requests")
    assert isinstance(event, SoftwareInstalled)
    assert (event.source, event.version) == ("pip", "2.31")


def test_programs_of_users(lab: Lab) -> None:
    known = lab.home / "known"
    known.write_bytes(program("known"))
    known.chmod(0o755)
    lab.start()
    assert lab.events == []
    game = lab.home / "game"
    game.write_bytes(program("game"))
    game.chmod(0o755)
    installed = lab.wait_for(SoftwareInstalled, "/home/yamada/game")
    assert isinstance(installed, SoftwareInstalled)
    assert installed.digest == hashlib.sha256(program("game")).hexdigest()
    game.write_bytes(program("game 2"))
    lab.wait_for(SoftwareChanged, "/home/yamada/game")
    game.unlink()
    lab.wait_for(SoftwareRemoved, "/home/yamada/game")
    deep = lab.home / "a/b/c"
    deep.mkdir(parents=True)
    (deep / "tool").write_bytes(program("deep"))
    (deep / "tool").chmod(0o755)
    lab.wait_for(SoftwareInstalled, "/home/yamada/a/b/c/tool")


def test_drift_while_the_agent_was_away(lab: Lab) -> None:
    lab.start()
    lab.sensor.close()
    tool = lab.home / "tool"
    tool.write_bytes(program("tool"))
    tool.chmod(0o755)
    lab.sensor = SoftwareSensor(lab.platform)
    lab.events += lab.sensor.open()
    lab.wait_for(SoftwareInstalled, "/home/yamada/tool")


def test_overflow_is_recovered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.start()
    tool = lab.home / "tool"
    tool.write_bytes(program("tool"))
    tool.chmod(0o755)
    assert lab.sensor._watch is not None

    def overflow(_: object) -> list[object]:
        raise OverflowedError("inotify")

    with monkeypatch.context() as patch:
        patch.setattr(software_watch.LinuxSoftwareWatch, "changes", overflow)
        with pytest.raises(OverflowedError):
            list(lab.sensor.read(lab.sensor._watch.fileno()))
    lab.sensor._watch.changes()
    lab.events += lab.sensor.recover()
    lab.wait_for(SoftwareInstalled, "/home/yamada/tool")


def test_too_many_folders_are_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_watch, "MAX_WATCHES", 4)
    for number in range(10):
        (lab.home / str(number)).mkdir()
    lab.start()
    assert [(e.code, e.raised) for e in lab.events if isinstance(e, AgentHealth)] == [(BOUNDED, True)]


def test_files_that_are_no_programs_start_no_child(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser's cache writes all day long."""
    tool = lab.home / "tool"
    tool.write_bytes(program("tool"))
    tool.chmod(0o755)
    lab.start()
    lab.until(lambda: not any(looker.pid for looker in lab.sensor._lookers.values()))
    jobs: list[Job] = []

    def note(message: bytes) -> None:
        jobs.append(job_decoder.decode(message))

    for looker in lab.sensor._lookers.values():
        monkeypatch.setattr(looker, "_start", note)
    cached, other = lab.home / "cached", lab.home / "other"
    cached.write_bytes(b"page" * 100)
    cached.unlink()
    other.write_bytes(program("other"))
    other.chmod(0o755)
    tool.unlink()
    lab.until(lambda: sum(len(job.paths) for job in jobs) >= 2)
    assert {path for job in jobs for path in job.paths} == {bytes(tool), bytes(other)}


def test_a_name_that_is_no_text_is_told(lab: Lab) -> None:
    lab.start()
    tool = lab.home / os.fsdecode(b"t\xff\xe9l")
    tool.write_bytes(program("tool"))
    tool.chmod(0o755)
    lab.wait_for(SoftwareInstalled, "/home/yamada/t??l")
    tool.unlink()
    lab.wait_for(SoftwareRemoved, "/home/yamada/t??l")


def test_digests_are_kept_while_in_use(tmp_path: Path) -> None:
    baseline = Baseline(tmp_path / "software.db")
    first: Digests = {(1, 2**64 - 1, 3): "a", (2, 2, 3): "b"}
    baseline.keep_digests({}, first)
    assert baseline.digests() == first
    second: Digests = {(2, 2, 3): "b", (3, 2, 3): "c"}
    baseline.keep_digests(first, second)
    assert baseline.digests() == second
    baseline.close()


def test_names_kept_never_waits(tmp_path: Path) -> None:
    path = tmp_path / "software.db"
    names = {"/tmp/a", "/tmp/b"}
    assert names_kept(path, "user_place", names) == names
    baseline = Baseline(path)
    baseline.compare("user_place", [Package("user_place", "/tmp/a", "", "x")], 0)
    assert names_kept(path, "user_place", names) == {"/tmp/a"}
    assert names_kept(path, "pip", names) == set()
    baseline._db.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    assert names_kept(path, "user_place", names) == names
    assert time.monotonic() - began < 1
    baseline._db.rollback()
    baseline.close()


def test_damaged_baseline_is_seeded_anew(tmp_path: Path) -> None:
    path = tmp_path / "software.db"
    path.write_bytes(b"not a database" * 100)
    baseline = Baseline(path)
    assert baseline.compare("dpkg", [Package("dpkg", "a", "1")], 0) == []
    assert [type(event) for event in baseline.compare("dpkg", [], 0)] == [SoftwareRemoved]
    baseline.close()
    assert (tmp_path / "software.db.damaged").exists()


packages = st.lists(
    st.builds(
        Package,
        st.just("pip"),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["1", "2", "3"]),
        st.just(""),
        st.sampled_from(["", "yamada"]),
    ),
    max_size=8,
)


@given(packages, packages)
def test_differences_lead_from_before_to_now(before: list[Package], now: list[Package]) -> None:
    state = {(p.name, p.owner, p.version) for p in before}
    for event in differences("pip", inventory_of(before), inventory_of(now), 0):
        if isinstance(event, SoftwareChanged):
            state.remove((event.name, event.owner, event.previous_version))
        if isinstance(event, SoftwareRemoved):
            state.remove((event.name, event.owner, event.version))
        else:
            assert (event.name, event.owner, event.version) not in state
            state.add((event.name, event.owner, event.version))
    assert state == {(p.name, p.owner, p.version) for p in now}


@given(st.lists(packages, max_size=5))
def test_baseline_keeps_what_it_was_told(tellings: list[list[Package]]) -> None:
    baseline = Baseline.__new__(Baseline)
    baseline._db = Baseline._open(Path(":memory:"))
    told: list[Package] = []
    for index, telling in enumerate(tellings):
        found = baseline.compare("pip", telling, 0)
        expected = differences("pip", inventory_of(told), inventory_of(telling), 0) if index else []
        assert found == list(expected)
        told = telling
    baseline.close()


@given(st.binary(max_size=200))
def test_any_inotify_buffer_is_events_or_refused(data: bytes) -> None:
    try:
        inotify.parse_events(data)
    except inotify.MalformedError:
        return
