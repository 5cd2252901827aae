"""Files written to media, and what was found in them: individual numbers, labels, where they came from."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from agent.platform.file_ports import MediaWrites, Written, place_of
from agent.platform.ports import ProcessInfo, UnsupportedError
from agent.scan.job import Finding
from agent.scan.parent import Scanner
from agent.sensors import POLLIN, POLLPRI, Sensor
from agent.sensors.files import known_later, storable, user_name
from policies.model import Control
from protocol.events import AgentHealth, Event, MediaFileWritten
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

MAX_WAITING: Final = 128
"""Files waiting for the scan; each is open twice. More stay in the kernel's queue, unopened."""
QUIET_S: Final = 2.0
"""A file that is written again and again is looked at once in this time."""
WATCH_S: Final = 5.0
MAX_KNOWN: Final = 512
"""Files whose last scan is remembered."""
BOUNDED: Final = "sensor_bounded.media_writes"
OWNERLESS: Final = frozenset({"vfat", "msdos", "exfat", "ntfs3", "udf", "iso9660"})
"""File systems that do not know who owns a file."""

File = tuple[int, int]
"""Device and inode."""
Work = Callable[[], list[Finding]]


class _Waiting(msgspec.Struct):
    """A written file until its finding comes. ``file`` keeps it open, so that it keeps its name."""

    written: Written
    file: int
    key: File
    due_s: float = 0.0


class MediaWritesSensor(Sensor):
    """Every file that is closed after writing on a medium, looked at by the scan child."""

    name: ClassVar[str] = "media_writes"
    control: ClassVar[Control] = "files"
    emits: ClassVar[tuple[type[Event], ...]] = (MediaFileWritten, AgentHealth)
    doc: ClassVar[Text] = Text(
        "取り外し可能または未知の媒体に書き込まれたファイルを、書き終わった時点で隔離された子プロセスに渡し、個人番号（検査用数字と前後の文脈）と"
        "機密表示を探します。結果は件数と下 4 桁だけで、内容は端末の外に出ません。書き込んだ利用者とプロセス、複写元の機密の場所も記録します。",
        "Hands every file that was written to a removable or unknown medium to a confined child process, which looks for"
        " individual numbers (check digit and context) and confidentiality labels. Only counts and last four digits come back;"
        " content never leaves the PC. Also told: who wrote it with what, and the confidential place it was copied from.",
    )
    limits: ClassVar[Text] = Text(
        "画像の中の文字、パスワード付きの文書、旧形式の Office 文書（.doc/.xls/.ppt は生の文字列のみ）、7z・rar・lzh は読めず、その旨を状態で示します。"
        "64 MiB を超えるファイルは先頭だけを調べます。マウント直後（約 10 ミリ秒以内）の書き込み、書いたまま閉じずに引き抜かれたファイル、"
        "ブロックデバイスへの直接の書き込み（管理者権限が必要）は見えません。調べる間（通常 1 秒未満、最長 16 秒）媒体は使用中になります。"
        "終了済みのプロセスの利用者は、ファイルの所有者で補います。複写元は、同じプロセスが直前に読んだ同名または同じ大きさのファイルから判断します。",
        "Not read, and said so by the state: text in pictures, documents with a password, old Office files (.doc/.xls/.ppt: raw"
        " text only), 7z, rar, lzh. Of files above 64 MiB only the beginning is looked at. Not seen: what is written within some"
        " 10 ms of the mount, files never closed before the medium was pulled, writing to the block device (needs root). The"
        " medium is busy while a file is looked at (mostly below 1 s, at most 16 s). Where the process has ended the user is"
        " the file's owner. The source is a file of that name or size which the same process read just before.",
    )
    example: ClassVar[Event] = MediaFileWritten(
        time_us=1_790_000_000_000_000,
        pid=4711,
        exe="/usr/bin/cp",
        uid=1000,
        user="yamada",
        mountpoint="/media/yamada/USB",
        source="/dev/sdb1",
        path="meibo.csv",
        file_size=18_211,
        my_numbers=120,
        masked=("********9018",),
        labels=("機密性3",),
        place="juki",
        scan="complete",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._writes: MediaWrites | None = None
        self._scanner = Scanner()
        self._scans: dict[int, _Waiting] = {}
        self._again: dict[File, _Waiting] = {}
        self._known: OrderedDict[File, tuple[float, str]] = OrderedDict()
        self._bounded = ""
        self._watch_s = 0.0

    def open(self) -> Iterable[Event]:
        self._writes = self.platform.media_writes()
        self._writes.watch()
        return ()

    def follow(self, policy: PolicyView) -> Iterable[Event]:
        self._scanner.look_for(tuple((label.name, label.marks) for label in policy.bundle.labels))
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        if self._writes is None:
            return []
        written, mounts = self._writes.filenos()
        found = [(mounts, POLLPRI)]
        if self._room() > 0:
            found.append((written, POLLIN))
        if self._scanner.fileno() >= 0:
            found.append((self._scanner.fileno(), POLLIN))
        return found

    def read(self, fileno: int) -> Iterable[Event]:
        if self._writes is None:
            return
        if fileno == self._writes.filenos()[1]:
            self._writes.watch()
            yield from self._health()
        elif fileno == self._scanner.fileno():
            yield from self._guarded(self._scanner.read)
        else:
            yield from self._guarded(self._take)

    def recover(self) -> Iterable[Event]:
        return self.tick()

    def tick(self) -> Iterable[Event]:
        if self._writes is None:
            return
        now = time.monotonic()
        if now >= self._watch_s:  # nothing tells of mounts in other namespaces
            self._watch_s = now + WATCH_S
            self._writes.watch()
        yield from self._health()
        yield from self._guarded(self._scanner.tick)
        yield from self._guarded(self._look_again)

    def close(self) -> None:
        self._scanner.close()
        for waiting in (*self._scans.values(), *self._again.values()):
            os.close(waiting.file)
        self._scans, self._again = {}, {}
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    def _room(self) -> int:
        return MAX_WAITING - len(self._scans) - len(self._again)

    def _guarded(self, work: Work) -> Iterator[Event]:
        """Tell what was found; where no child can be started, what waits is told as unreadable before the sensor fails."""
        try:
            for finding in work():
                if (waiting := self._scans.pop(finding.number, None)) is not None:
                    yield from self._told(waiting, finding)
        except OSError:
            for waiting in self._scans.values():
                yield from self._told(waiting, Finding(number=0, state="unreadable"))
            self._scans = {}
            raise

    def _take(self) -> list[Finding]:
        if self._writes is not None:
            for written in self._writes.writes(max(1, self._room())):
                self._begin(written)
        return []

    def _begin(self, written: Written) -> None:
        found = os.fstat(written.file)
        key = (found.st_dev, found.st_ino)
        if key in self._again:
            os.close(written.file)
            return
        waiting = _Waiting(written, written.file, key)
        now = time.monotonic()
        last_s, _ = self._known.get(key, (-QUIET_S, ""))
        if now - last_s < QUIET_S or any(one.key == key for one in self._scans.values()):
            waiting.due_s = now + QUIET_S
            self._again[key] = waiting
        else:
            self._submit(waiting)

    def _submit(self, waiting: _Waiting) -> None:
        try:
            number = self._scanner.submit(os.dup(waiting.file), self._path(waiting).rpartition("/")[2])
        except OSError:
            self._scans[-1] = waiting  # told with the others
            raise
        self._scans[number] = waiting

    def _look_again(self) -> list[Finding]:
        now = time.monotonic()
        for key in [key for key, waiting in self._again.items() if waiting.due_s <= now]:
            self._submit(self._again.pop(key))
        return []

    def _told(self, waiting: _Waiting, finding: Finding) -> Iterator[Event]:
        try:
            _, digest = self._known.get(waiting.key, (0.0, ""))
            if not finding.digest or finding.digest != digest:
                yield self._event(waiting, finding)
            self._known[waiting.key] = (time.monotonic(), finding.digest)
            self._known.move_to_end(waiting.key)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        finally:
            os.close(waiting.file)

    def _event(self, waiting: _Waiting, finding: Finding) -> MediaFileWritten:
        written, mount = waiting.written, waiting.written.mount
        found, path = os.fstat(waiting.file), self._path(waiting)
        nothing = not (finding.my_numbers or finding.labels)
        who = known_later(self.platform, written.pid, written.who)
        if written.who is None and who.uid != found.st_uid and mount.fs_type not in OWNERLESS:
            who = ProcessInfo(pid=written.pid)  # what is remembered is older than the writing
        uid = who.uid if who.uid >= 0 else found.st_uid
        return MediaFileWritten(
            time_us=written.time_us,
            pid=written.pid,
            ppid=who.ppid,
            exe=storable(who.exe, 4096),
            cmdline=storable(who.cmdline, 4096),
            uid=uid,
            user=user_name(self.platform, uid),
            source=storable(mount.source, 4096),
            mountpoint=storable(mount.mountpoint, 4096),
            media_id=mount.media_id,
            fs_uuid=mount.fs_uuid,
            serial=storable(mount.serial, 256),
            path=storable(place_of(mount, path), 4096),
            file_size=found.st_size,
            digest=finding.digest,
            my_numbers=finding.my_numbers,
            masked=finding.masked,
            labels=finding.labels,
            place=self._source_of(written.pid, path, found.st_size),
            scan="gone" if nothing and not found.st_nlink else finding.state,
        )

    def _path(self, waiting: _Waiting) -> str:
        return self._writes.path_of(waiting.file) if self._writes else ""

    def _source_of(self, pid: int, path: str, size: int) -> str:
        try:
            return self.platform.access_log.source_of(pid, path.rpartition("/")[2], size)
        except UnsupportedError:  # the files sensor says so
            return ""

    def _health(self) -> Iterator[Event]:
        why = self._writes.incomplete if self._writes else ""
        if why != self._bounded:
            self._bounded = why
            yield AgentHealth(
                time_us=self.platform.now_us(), code=BOUNDED, raised=bool(why), detail=storable(why, 256)
            )
