"""Who used which file of a confidential place (Nagoya 56)."""

from __future__ import annotations

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from agent.platform.file_ports import Access, AccessLog
from agent.platform.ports import ProcessInfo
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import AgentHealth, Event, FileAccessed
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

SETTLE_S: Final = 2.0
"""A use is told so long after it began, with what followed from it (opened, then written)."""
FOLD_S: Final = 60.0
"""The same use by the same user and program is then told once in this time, with its count."""
MAX_FOLDS: Final = 2048
"""Different uses kept apart; what comes beyond is counted by place and user."""
MAX_SUMS: Final = 256
BOUNDED: Final = "sensor_bounded.files"
_RANK: Final = {"read": 0, "write": 1, "create": 2}
"""Of several uses of one file by one program, the strongest is told."""
_APART: Final = -1

Actor = tuple[int, str, str, str]
"""(user id, executable, path, ``use`` or the access that stands alone)."""


class _Fold(msgspec.Struct):
    """Equal uses."""

    first: Access
    who: ProcessInfo | None
    access: str
    count: int
    due_s: float


class FilesSensor(Sensor):
    """Uses of files below confidential places, folded."""

    name: ClassVar[str] = "files"
    control: ClassVar[Control] = "files"
    emits: ClassVar[tuple[type[Event], ...]] = (FileAccessed, AgentHealth)
    doc: ClassVar[Text] = Text(
        "方針で定めた機密の場所の中のファイルについて、読み取り・書き込み・作成・名前の変更・削除を、利用者とプロセスとともに記録します。"
        "フォルダーごとの fanotify により、別のマウントやマウント名前空間からの利用も見えます。同じ利用は 1 分ごとに 1 件にまとめ、回数を付けます。",
        "Records who read, wrote, created, renamed or removed a file of a confidential place, with the process. fanotify marks"
        " on each folder see other mounts and mount namespaces too. Equal uses become one event a minute, with a count.",
    )
    limits: ClassVar[Text] = Text(
        "監視するフォルダーは 8,192 個までです。場所の外からのハードリンク、ファイルハンドルで開く操作（管理者権限が必要）は見えません。"
        "記録を読む前に終わったプロセスは、実行制御が動作していれば実行記録から、そうでなければ番号だけで示します。"
        "管理者権限を持つ利用者は記録を止められます（停止は通知されます）。場所の中に後からマウントした媒体は、最長 1 時間で監視に加わります。",
        "At most 8,192 folders are watched. Not seen: hard links from outside a place, opening by file handle (needs root). A"
        " process that ended before the record was read is known from the execution gate if that runs, else by its number"
        " only. Root can stop the log (which is told). A file system mounted below a place later is watched within an hour.",
    )
    example: ClassVar[Event] = FileAccessed(
        time_us=1_790_000_000_000_000,
        pid=4711,
        exe="/usr/bin/cat",
        cmdline="cat /srv/juki/2026.csv",
        uid=1000,
        user="yamada",
        path="/srv/juki/2026.csv",
        access="read",
        place="juki",
        count=3,
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._log: AccessLog | None = None
        self._folds: OrderedDict[Actor, _Fold] = OrderedDict()
        self._sums: dict[tuple[str, int, str], _Fold] = {}
        self._bounded = ""

    def open(self) -> Iterable[Event]:
        self._log = self.platform.access_log
        self._log.fileno()
        return ()

    def follow(self, policy: PolicyView) -> Iterable[Event]:
        places = {
            place.name: place.path
            for place in policy.bundle.places
            if not place.sections or policy.section in place.sections
        }
        if self._log is not None:
            self._log.watch(places)
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return ((self._log.fileno(), POLLIN),) if self._log else ()

    def read(self, fileno: int) -> Iterable[Event]:
        if self._log is not None:
            for access in self._log.accesses():
                self._add(access)
        return ()

    def recover(self) -> Iterable[Event]:
        return ()  # the log itself walks through its folders again

    def tick(self) -> Iterable[Event]:
        self.read(-1)
        return [*self._due(time.monotonic()), *self._health()]

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _add(self, access: Access) -> None:
        who = access.who
        if who is not None and who.ppid == os.getpid() and who.exe == os.path.realpath(sys.executable):
            return  # the agent's own children
        uid = who.uid if who else access.uid
        key = (
            uid,
            who.exe if who else f"pid {access.pid}",
            access.path,
            "use" if access.access in _RANK else access.access,
        )
        if (fold := self._folds.get(key)) is not None:
            if fold.count == 0:
                fold.first, fold.who, fold.access = access, who, access.access
            fold.count += 1
            if _RANK.get(access.access, _APART) > _RANK.get(fold.access, _APART):
                fold.access = access.access
        elif len(self._folds) < MAX_FOLDS:
            self._folds[key] = _Fold(access, who, access.access, 1, time.monotonic() + SETTLE_S)
        else:
            self._sum_up(access, who, uid)

    def _sum_up(self, access: Access, who: ProcessInfo | None, uid: int) -> None:
        key = (access.place, uid, access.access) if len(self._sums) < MAX_SUMS else ("", -1, "")
        if (fold := self._sums.get(key)) is not None:
            fold.count += 1
            return
        named = msgspec.structs.replace(access, path="", place=key[0])
        self._sums[key] = _Fold(named, who if key[0] else None, access.access, 1, time.monotonic() + SETTLE_S)

    def _due(self, now_s: float) -> Iterator[Event]:
        for key, fold in [(key, fold) for key, fold in self._folds.items() if fold.due_s <= now_s]:
            if fold.count:
                yield self._event(fold)
            if fold.count and len(self._folds) <= MAX_FOLDS // 2:
                fold.count, fold.due_s = 0, now_s + FOLD_S
            else:  # idle; or a flood, behind which others must not hide for a minute
                del self._folds[key]
        for key_, fold in [(key, fold) for key, fold in self._sums.items() if fold.due_s <= now_s]:
            del self._sums[key_]
            yield self._event(fold)

    def _event(self, fold: _Fold) -> FileAccessed:
        access = fold.first
        # One that was gone, or just ending, may meanwhile be known from the execution gate.
        who = known_later(self.platform, access.pid, fold.who)
        uid = who.uid if who.uid >= 0 else access.uid
        return FileAccessed(
            time_us=access.time_us,
            pid=who.pid,
            ppid=who.ppid,
            exe=storable(who.exe, 4096),
            cmdline=storable(who.cmdline, 4096),
            uid=uid,
            user=user_name(self.platform, uid),
            path=storable(access.path, 4096),
            access=fold.access,
            place=access.place,
            count=fold.count,
        )

    def _health(self) -> Iterator[Event]:
        why = self._log.incomplete if self._log else ""
        if why != self._bounded:
            self._bounded = why
            yield AgentHealth(
                time_us=self.platform.now_us(), code=BOUNDED, raised=bool(why), detail=storable(why, 256)
            )


def known_later(platform: Platform, pid: int, seen: ProcessInfo | None) -> ProcessInfo:
    """What is known of a process some time after it was (or was no longer) ``seen``: the execution gate may have told more."""
    if seen is not None and seen.exe:
        return seen
    known = platform.processes.info(pid) if pid else None
    if known is None or (seen is not None and seen.uid != known.uid):
        return seen or ProcessInfo(pid=pid)
    return known


def user_name(platform: Platform, uid: int) -> str:
    """Login name; the number where this PC has no name for it; empty where not even that is known."""
    return platform.processes.user(uid) or str(uid) if uid >= 0 else ""


def storable(text: str, limit: int) -> str:
    """File names are bytes; what is not UTF-8 becomes a replacement character, so that the event can be encoded."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:limit]
