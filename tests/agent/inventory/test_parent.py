"""The inventory child as a process: confined, given up when it hangs or dies; and its parent believes nothing."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.inventory.__main__ import CPU_S
from agent.inventory.job import (
    BATCH_BYTES,
    Ended,
    Failed,
    Folders,
    Found,
    Job,
    Ready,
    batches,
    encode,
    job_decoder,
    said_decoder,
)
from agent.inventory.parent import MAX_PATHS, Looker
from agent.platform import Platform
from agent.platform.ports import SoftwareChange, SoftwareSource
from protocol.events import Event, SoftwareInstalled
from tests.e2e.testbed.machine import wait_for
from tests.gatelab import program

pytestmark = pytest.mark.needs("linux")


class Lab:
    """A looker on a root with one home."""

    def __init__(self, folder: Path, seconds: float = 30.0, pause_s: float = 0.0) -> None:
        self.home = folder / "root/home/yamada"
        self.home.mkdir(parents=True)
        self.platform = Platform(state=folder / "state", root=folder / "root")
        self.watched: dict[SoftwareSource, list[str]] = {}
        self.looker = Looker(self.platform, self._watch, list, nice=10, seconds=seconds, pause_s=pause_s)

    def _watch(self, source: SoftwareSource, folders: Iterable[str]) -> bool:
        assert not (self.platform.state / "software.db").exists(), "listed before it was watched"
        self.watched.setdefault(source, []).extend(folders)
        return True

    def place(self, name: str) -> str:
        path = self.home / name
        path.write_bytes(program(name))
        path.chmod(0o755)
        return str(path)

    def rest(self) -> list[Event]:
        """What the children say until there is none left."""
        events: list[Event] = []
        deadline = time.monotonic() + 30
        while self.looker.pid:
            assert time.monotonic() < deadline
            select.select([self.looker.fileno()], [], [], 0.1)
            events += self.looker.read()
            self.looker.tick()
        self.looker.tick()
        return events


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def _make(**options: float) -> Lab:
        labs.append(Lab(tmp_path, **options))
        return labs[-1]

    yield _make
    for one in labs:
        one.looker.close()


def test_folders_are_watched_before_anything_is_listed(make: Callable[..., Lab]) -> None:
    lab = make()
    lab.looker.put([SoftwareChange("pip"), SoftwareChange("user_place")])
    assert lab.rest() == []
    assert lab.watched == {"user_place": [str(lab.home)]}
    assert lab.looker.complete


def test_one_program_after_the_first_look(make: Callable[..., Lab]) -> None:
    lab = make()
    lab.looker.put([SoftwareChange("user_place")])
    lab.rest()
    lab.looker.put([SoftwareChange("user_place", lab.place("game"))])
    (event,) = lab.rest()
    assert isinstance(event, SoftwareInstalled)
    assert event.name == "/home/yamada/game"


def test_the_child_is_confined_and_ends_by_itself(make: Callable[..., Lab]) -> None:
    lab = make()
    lab.looker.put([SoftwareChange("user_place")])
    pid = lab.looker.pid

    def limited() -> bool:
        limits = Path(f"/proc/{pid}/limits").read_text()
        return f"Max cpu time              {CPU_S}" in limits and "Max core file size        0 " in limits

    # It stays, waiting to hear that the folders are watched: nobody has read yet.
    wait_for("its limits", limited)
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    lab.rest()
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_hangs_is_killed(make: Callable[..., Lab]) -> None:
    lab = make(seconds=0.3)
    lab.looker.put([SoftwareChange("user_place")])
    pid = lab.looker.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="more than 0 s"):
        wait_for("it to be given up", lab.looker.tick)
    assert not Path(f"/proc/{pid}").exists()
    assert lab.looker.fileno() == -1


def test_a_child_that_dies_is_told(make: Callable[..., Lab]) -> None:
    lab = make()
    lab.looker.put([SoftwareChange("user_place")])
    os.kill(lab.looker.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="without an answer"):
        lab.rest()


def test_a_child_that_fails_says_why(make: Callable[..., Lab]) -> None:
    lab = make()
    (lab.platform.root / "var/lib/dpkg/status").mkdir(parents=True)
    lab.looker.put([SoftwareChange("dpkg")])
    with pytest.raises(ChildProcessError, match="IsADirectoryError"):
        lab.rest()


def test_many_programs_become_one_walk_and_children_keep_apart(
    make: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make(pause_s=1.0)
    jobs: list[tuple[float, Job]] = []
    start = lab.looker._start

    def noted(message: bytes) -> None:
        jobs.append((time.monotonic(), job_decoder.decode(message)))
        start(message)

    monkeypatch.setattr(lab.looker, "_start", noted)
    lab.looker._watch = lambda _source, folders: bool(list(folders))
    lab.looker.put([SoftwareChange("user_place")])
    many = [SoftwareChange("user_place", f"/tmp/{number}") for number in range(MAX_PATHS + 1)]
    lab.looker.put(many[:2])
    lab.looker.put(many)
    wait_for("both children", lambda: lab.rest() == [] and len(jobs) == 2)
    (first, _), (second, job) = jobs
    assert second - first >= 1.0
    assert (job.sources, job.paths) == (("user_place",), ())


@given(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([Ready(), Ended(), Failed("x"), Found(()), Folders("pip", (b"\xff",))]).map(encode),
    )
)
def test_whatever_the_child_says_is_heard_or_named(data: bytes) -> None:
    looker = Looker(Platform(), lambda _source, _folders: True, list, nice=0, seconds=1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        try:
            assert looker._take(ours, data) == ()
        except OSError as problem:
            assert "inventory child" in str(problem)  # noqa: PT017


@given(st.lists(st.integers(1, BATCH_BYTES)))
def test_batches_keep_everything_and_stay_small(items: list[int]) -> None:
    cut = list(batches(items, int))
    assert [item for batch in cut for item in batch] == items
    assert all(sum(batch) < 2 * BATCH_BYTES and batch for batch in cut)


def test_the_largest_message_fits() -> None:
    paths = tuple(b"x" * 4096 for _ in range(BATCH_BYTES // 4096))
    assert said_decoder.decode(encode(Folders("pip", paths))) == Folders("pip", paths)
