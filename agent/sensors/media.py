"""Media that are mounted and unmounted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from agent.platform.ports import Mount, Mounts
from agent.sensors import POLLPRI, Sensor
from policies.model import Control
from protocol.events import Event, MediaBlocked, MediaMounted, MediaUnmounted
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

MediaEvent = TypeVar("MediaEvent", MediaMounted, MediaUnmounted, MediaBlocked)


def media_event(kind: type[MediaEvent], mount: Mount, time_us: int) -> MediaEvent:
    """Build an event about a medium, decision fields empty."""
    return kind(
        time_us=time_us,
        source=_storable(mount.source, 4096),
        mountpoint=_storable(mount.mountpoint, 4096),
        fs_type=_storable(mount.fs_type, 256),
        read_only=mount.read_only,
        removable=mount.removable,
        media_id=mount.media_id,
        fs_uuid=mount.fs_uuid,
        label=_storable(mount.label, 256),
        size=mount.size,
        serial=_storable(mount.serial, 256),
    )


def _storable(text: str, limit: int) -> str:
    """File names are bytes; what is not UTF-8 becomes a replacement character, so that the event can be
    encoded.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:limit]


class MediaSensor(Sensor):
    """Mounts of removable or unknown block devices."""

    name: ClassVar[str] = "media"
    control: ClassVar[Control] = "media"
    emits: ClassVar[tuple[type[Event], ...]] = (MediaMounted, MediaUnmounted)
    doc: ClassVar[Text] = Text(
        "取り外し可能または未知の媒体のマウントを、カーネルのマウント表の変化で検知します。/, /boot, /usr, /var, /home を持つディスクと、"
        "エージェント初回起動時にあった固定ディスクは内蔵とみなし、それ以外をすべて媒体として扱います。",
        "Sees removable or unknown media being mounted, by changes of the kernel's mount table. Disks that hold /,"
        " /boot, /usr, /var or /home and fixed disks present at the agent's first start are internal; everything"
        " else is a medium.",
    )
    limits: ClassVar[Text] = Text(
        "ネットワークドライブ、FUSE（MTP を含む）、メモリー上のファイルシステムは対象外です。マウントせずにブロックデバイスを直接読み書きする操作"
        "（管理者権限が必要）は見えません。他のマウント名前空間は約 5 秒ごとに確認します。使用中の媒体では、すでにメモリーに読み込まれた内容は残ります。/var/lib/snapd/snaps のループは内蔵とみなします。"
        "後から増設した内蔵ディスクは登録されるまで媒体として扱われます。",
        "Network drives, FUSE (MTP among it) and memory file systems are out of scope. Reading a block device"
        " without mounting it (needs root) is not seen. Other mount namespaces are looked at every 5 seconds or so."
        " Loop devices over /var/lib/snapd/snaps count as internal. An internal disk added later counts as a medium"
        " until it is registered. Pages of a busy medium that are already mapped into memory stay readable there.",
    )
    example: ClassVar[Event] = MediaMounted(
        time_us=1_790_000_000_000_000,
        source="/dev/sdb1",
        mountpoint="/media/user/USB",
        fs_type="vfat",
        removable=True,
        media_id="3c" * 32,
        fs_uuid="1A2B-3C4D",
        label="USB",
        size=16_008_609_792,
        serial="001CC0EC34F1",
    )
    period_s: ClassVar[float] = 5.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._mounts: Mounts | None = None
        self._known: dict[int, Mount] = {}

    def open(self) -> Iterable[Event]:
        self._mounts = self.platform.mounts()
        self._mounts.fileno()  # watch before looking: nothing can fall between
        self._known = {}
        return self._compare()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return () if self._mounts is None else ((self._mounts.fileno(), POLLPRI),)

    def read(self, fileno: int) -> Iterable[Event]:
        return self._compare()

    def recover(self) -> Iterable[Event]:
        return self._compare()

    def tick(self) -> Iterable[Event]:
        return self._compare()

    def close(self) -> None:
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None

    def _compare(self) -> list[Event]:
        """Report what differs from what was reported; a mount that became writable counts as new."""
        if self._mounts is None:
            return []
        now = self.platform.now_us()
        there = {mount.mount_id: mount for mount in self._mounts.mounts()}
        events: list[Event] = [
            media_event(MediaUnmounted, before, now)
            for number, before in self._known.items()
            if number not in there or not _same(before, there[number])
        ]
        for number, mount in there.items():
            before = self._known.get(number)
            if before is None or not _same(before, mount) or (before.read_only and not mount.read_only):
                events.append(media_event(MediaMounted, mount, now))
        self._known = there
        return events


def _same(one: Mount, other: Mount) -> bool:
    """Mount ids are used again: is it still the same medium at the same place?"""
    return (one.media_id, one.mountpoint, one.source) == (other.media_id, other.mountpoint, other.source)
