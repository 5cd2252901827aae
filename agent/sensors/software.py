"""Software that is installed, removed or changed: packages of dpkg, rpm, pip, npm, and programs in user places."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, get_args

from agent.inventory.job import name_of
from agent.inventory.parent import MAX_PATHS, Looker
from agent.platform.ports import SoftwareChange, SoftwareSource, SoftwareWatch
from agent.sensors import POLLIN, Sensor
from agent.software_baseline import BASELINE, names_kept
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
BOUNDED = "sensor_bounded.software"
DATABASES_S, PLACES_S = 180.0, 1800.0
"""How long a look may take before its process is killed and the sensor restarted."""
_NICE, _PAUSE_S = 10, 1.0


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
        self._lookers: dict[SoftwareSource, Looker] = {}
        self._due: dict[SoftwareChange, float] = {}
        self._full_due = 0.0
        self._bounded = False

    def open(self) -> Iterable[Event]:
        self._watch = self.platform.software_watch()
        databases = Looker(self.platform, self._follow, self._worth, nice=0, seconds=DATABASES_S)
        places = Looker(
            self.platform, self._follow, self._worth, nice=_NICE, seconds=PLACES_S, pause_s=_PAUSE_S
        )
        # Two: a walk through the user places may take minutes, and package databases must not wait for it.
        self._lookers = {source: places if source == "user_place" else databases for source in SOURCES}
        self._everything()
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        if self._watch is None:
            return ()
        children = {looker.fileno() for looker in self._lookers.values()} - {-1}
        return [(self._watch.fileno(), POLLIN), *((fileno, POLLIN) for fileno in sorted(children))]

    def read(self, fileno: int) -> Iterable[Event]:
        for looker in set(self._lookers.values()):
            if fileno == looker.fileno():
                return [*looker.read(), *self._tell_bounded()]
        if self._watch is not None and fileno == self._watch.fileno():
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
        for looker in set(self._lookers.values()):
            looker.tick()
        return ()

    def close(self) -> None:
        for looker in set(self._lookers.values()):
            looker.close()
        self._lookers = {}
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _everything(self) -> None:
        self._full_due = time.monotonic() + FULL_S
        self._due.clear()
        for looker in set(self._lookers.values()):
            looker.put([SoftwareChange(source) for source, its in self._lookers.items() if its is looker])

    def _fold(self) -> None:
        paths = [change for change in self._due if change.path]
        if len(paths) > MAX_PATHS:
            for change in paths:
                del self._due[change]
            self._due[SoftwareChange("user_place")] = time.monotonic() + SETTLE_S["user_place"]

    def _hand_over(self, now: float) -> None:
        for change in [change for change, due in self._due.items() if due <= now]:
            del self._due[change]
            self._lookers[change.source].put([change])

    def _follow(self, source: SoftwareSource, folders: Iterable[str]) -> bool:
        """Watch the folders that the inventory found."""
        return self._watch is not None and self._watch.watch(source, folders)

    def _worth(self, paths: list[str]) -> list[str]:
        """Paths for which a child is worth starting: what is a program now, or was one. Caches and logs are neither."""
        watch, names = self._watch, {path: name_of(self.platform.root, path) for path in paths}
        programs = {path for path in paths if watch is not None and watch.is_program(path)}
        others = {name for path, name in names.items() if path not in programs}
        kept = names_kept(self.platform.state / BASELINE, "user_place", others) if others else set()
        return [path for path, name in names.items() if path in programs or name in kept]

    def _tell_bounded(self) -> Iterable[Event]:
        bounded = not all(looker.complete for looker in self._lookers.values())
        if self._bounded == bounded:
            return ()
        self._bounded = bounded
        detail = "too many folders to watch; the rest is looked at once an hour" if self._bounded else ""
        now_us = self.platform.now_us()
        return [AgentHealth(time_us=now_us, code=BOUNDED, raised=self._bounded, detail=detail)]
