"""Software that is installed, removed or changed: packages of dpkg, rpm, pip, npm, and programs in user places."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, get_args

from agent.platform.ports import Package, SoftwareChange, SoftwareSource, SoftwareWatch
from agent.sensors import POLLIN, Sensor
from agent.software_baseline import Baseline
from policies.model import Control
from protocol.events import AgentHealth, Event, SoftwareChanged, SoftwareInstalled, SoftwareRemoved
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

SOURCES: tuple[SoftwareSource, ...] = get_args(SoftwareSource)
SETTLE_S: dict[SoftwareSource, float] = {"dpkg": 0.0, "rpm": 1.0, "pip": 1.0, "npm": 1.0, "user_place": 0.3}
"""How long after its last change a source is looked at: installers write in several steps."""
FULL_S = 3600.0
"""Everything is looked at this often, whatever the watch said."""
MAX_PATHS = 512
"""More single programs than this waiting: the whole source is looked at instead."""
BOUNDED = "sensor_bounded.software"
_NICE = 10
_JOIN_S = 5.0


class SoftwareSensor(Sensor):
    """Compares what is installed with a baseline; the first look seeds it and flags nothing."""

    name: ClassVar[str] = "software"
    control: ClassVar[Control] = "software"
    emits: ClassVar[tuple[type[Event], ...]] = (
        SoftwareInstalled,
        SoftwareRemoved,
        SoftwareChanged,
        AgentHealth,
    )
    doc: ClassVar[Text] = Text(
        "dpkg・rpm・pip・npm のパッケージと、利用者が書き込める場所（ホーム、/tmp、/usr/local、/opt など）の実行可能ファイルを"
        "一覧化し、前回との差分を報告します。変更は inotify で検知します。初回は現状を基準として記録するだけです。",
        "Lists packages of dpkg, rpm, pip and npm and the programs in places users can write (homes, /tmp, /usr/local, /opt),"
        " and reports what differs from the last look. inotify tells when to look. The first look only records.",
    )
    limits: ClassVar[Text] = Text(
        "実行権のないファイル（インタープリターに渡すスクリプト等）、Flatpak・snap、コンテナ内、ブラウザー拡張は対象外です。"
        "監視するフォルダーは 4,096 個までで、超えた分は 1 時間ごとの走査で検知します。走査は 20,000 フォルダーまでです。512 MiB を超えるファイルはハッシュを計算しません。",
        "Not seen: files without execute permission, Flatpak and snap, containers, browser extensions. At most 4,096 folders"
        " are watched; the rest is found by the hourly walk, which looks at up to 20,000 folders. Files above 512 MiB are not hashed.",
    )
    example: ClassVar[Event] = SoftwareInstalled(
        time_us=1_790_000_000_000_000, source="dpkg", name="vlc", version="3.0.18-2"
    )
    period_s: ClassVar[float] = 0.5

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._watch: SoftwareWatch | None = None
        self._workers: dict[SoftwareSource, _Worker] = {}
        self._due: dict[SoftwareChange, float] = {}
        self._full_due = 0.0

    def open(self) -> Iterable[Event]:
        self._watch = self.platform.software_watch()
        databases = _Worker(self.platform, self._watch, nice=0)
        places = _Worker(self.platform, self._watch, nice=_NICE)
        self._workers = {source: places if source == "user_place" else databases for source in SOURCES}
        self._everything()
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        if self._watch is None:
            return ()
        workers = {worker.fileno() for worker in self._workers.values()}
        return [(self._watch.fileno(), POLLIN), *((fileno, POLLIN) for fileno in sorted(workers))]

    def read(self, fileno: int) -> Iterable[Event]:
        for worker in self._workers.values():
            if fileno == worker.fileno():
                return worker.results()
        if self._watch is not None:
            now = time.monotonic()
            for change in self._watch.changes():
                self._due[change] = now + SETTLE_S[change.source]
            self._fold()
            self._hand_over(now)
        return ()

    def recover(self) -> Iterable[Event]:
        self._everything()
        return ()

    def tick(self) -> Iterable[Event]:
        now = time.monotonic()
        if now >= self._full_due:
            self._everything()
        self._hand_over(now)
        return ()

    def close(self) -> None:
        for worker in set(self._workers.values()):
            worker.close()
        self._workers = {}
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _everything(self) -> None:
        self._full_due = time.monotonic() + FULL_S
        self._due.clear()
        for source, worker in self._workers.items():
            worker.put(SoftwareChange(source))

    def _fold(self) -> None:
        paths = [change for change in self._due if change.path]
        if len(paths) > MAX_PATHS:
            for change in paths:
                del self._due[change]
            self._due[SoftwareChange("user_place")] = time.monotonic() + SETTLE_S["user_place"]

    def _hand_over(self, now: float) -> None:
        for change in [change for change, due in self._due.items() if due <= now]:
            del self._due[change]
            self._workers[change.source].put(change)


class _ClosedError(Exception):
    """The sensor was closed while a source was being listed: the baseline must not take half of it."""


class _Worker:
    """Reads inventories and hashes files in a thread; results come back through an event descriptor.

    There are two: a walk through the user places may take minutes, and package databases must not wait for it.
    """

    def __init__(self, platform: Platform, watch: SoftwareWatch, *, nice: int) -> None:
        self._platform = platform
        self._watch = watch
        self._nice = nice
        self._changes: queue.SimpleQueue[SoftwareChange | None] = queue.SimpleQueue()
        self._results: deque[Event | Exception] = deque()
        self._ending = threading.Event()
        self._bounded = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"software-{nice}", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._fd

    def put(self, change: SoftwareChange) -> None:
        """Have a change looked at."""
        self._changes.put(change)

    def results(self) -> list[Event]:
        """Take the events found so far. Raises what the worker died of."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return []
        events: list[Event] = []
        while self._results:
            result = self._results.popleft()
            if isinstance(result, Exception):
                raise result
            events.append(result)
        return events

    def close(self) -> None:
        self._ending.set()
        self._changes.put(None)
        self._thread.join(_JOIN_S)
        if not self._thread.is_alive():
            os.close(self._fd)

    def _run(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
            with contextlib.closing(Baseline(self._platform.state / "software.db")) as baseline:
                while (change := self._changes.get()) is not None and not self._ending.is_set():
                    self._look(baseline, change)
        except _ClosedError:
            return
        except Exception as problem:  # noqa: BLE001 - a thread has no caller: the sensor raises it and is restarted
            self._tell([problem])

    def _look(self, baseline: Baseline, change: SoftwareChange) -> None:
        packages, source = self._platform.packages, change.source
        if change.path:
            found = packages.examine(change.path)
            name = self._inner(change.path)
            self._tell(baseline.compare_one(source, name, found, self._platform.now_us()))
            return
        if source == "user_place":
            self._tell_bounded(watched=self._watch.rewatch())
        listed = self._until_ended(packages.installed(source))
        self._tell(baseline.compare(source, listed, self._platform.now_us()))

    def _until_ended(self, found: Iterator[Package]) -> Iterator[Package]:
        for package in found:
            if self._ending.is_set():
                raise _ClosedError
            yield package

    def _inner(self, path: str) -> str:
        root = str(self._platform.root).rstrip("/")
        return path.removeprefix(root) if root else path

    def _tell_bounded(self, *, watched: bool) -> None:
        if watched == self._bounded:
            self._bounded = not watched
            detail = "" if watched else "too many folders to watch; the rest is looked at once an hour"
            now_us = self._platform.now_us()
            self._tell([AgentHealth(time_us=now_us, code=BOUNDED, raised=not watched, detail=detail)])

    def _tell(self, results: Iterable[Event | Exception]) -> None:
        before = len(self._results)
        self._results.extend(results)
        if len(self._results) > before:
            os.eventfd_write(self._fd, 1)
