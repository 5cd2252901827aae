"""Services that wait for connections from other machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from agent.platform.posture_ports import Listener, Listeners
from agent.platform.state_file import load_state, save_state
from agent.sensors import Sensor
from policies.model import Control
from protocol.events import Event, ServiceListening
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

BASELINE_FILE = "services.json"
AGAIN_US = 86_400_000_000
"""A service that comes and goes is told once a day."""
MAX_TOLD = 512
Key = tuple[str, int, str]
"""Protocol, port, program."""


class Baseline(Struct):
    """What listened when this PC was first looked at; state ``services.json``."""

    services: tuple[Key, ...] = ()


class ServicesSensor(Sensor):
    """Compares listening sockets with what was there; the first look only records."""

    name: ClassVar[str] = "services"
    control: ClassVar[Control] = "posture"
    emits: ClassVar[tuple[type[Event], ...]] = (ServiceListening,)
    doc: ClassVar[Text] = Text(
        "他の機器からの接続を待つ TCP・UDP のソケットを 15 秒ごとに調べ、新たに待ち受けを始めたプログラムとパッケージを報告します。"
        "初回にあったものは既知として記録します。この端末の中だけの待ち受け（127.0.0.1、::1）は除きます。",
        "Lists TCP and UDP sockets that wait for other machines every 15 seconds and reports programs, with their package, that"
        " began to listen. What was there at the first look is known. Sockets on loopback are left out.",
    )
    limits: ClassVar[Text] = Text(
        "15 秒より短い待ち受け、他のネットワーク名前空間（コンテナ）、UDP のエフェメラルポートは見えません。"
        "systemd が代わりに待ち受けるソケットは systemd の名で報告します。",
        "Not seen: services that listen for less than 15 seconds, other network namespaces (containers), UDP above the first"
        " port the kernel gives to clients. Sockets that systemd holds for a service are reported as systemd's.",
    )
    example: ClassVar[Event] = ServiceListening(
        time_us=1_790_000_000_000_000,
        protocol="tcp",
        address="0.0.0.0",  # noqa: S104 - what the service listens on, not we
        port=8080,
        exe="/usr/bin/python3.11",
        cmdline="python3 -m http.server 8080",
        pid=4711,
        uid=1001,
        user="tanaka",
        package="python3.11-minimal",
    )
    period_s: ClassVar[float] = 15.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._listeners: Listeners | None = None
        self._known: set[Key] = set()
        self._there: dict[int, tuple[str, str, int]] = {}
        """Socket → what it is; the same socket is looked at once."""
        self._told: dict[Key, int] = {}

    def open(self) -> Iterable[Event]:
        self._listeners = self.platform.listeners()
        self._there, self._told = {}, {}
        path = self.platform.state / BASELINE_FILE
        baseline = load_state(path, Baseline)
        self._known = set(baseline.services) if baseline else set()
        events = list(self._new(seeding=baseline is None))
        if baseline is None:
            save_state(path, Baseline(tuple(sorted(self._known))))
        return events

    def tick(self) -> Iterable[Event]:
        return self._new(seeding=False)

    def close(self) -> None:
        if self._listeners is not None:
            self._listeners.close()
            self._listeners = None

    def _new(self, *, seeding: bool) -> Iterator[Event]:
        if self._listeners is None:
            return
        now_us = self.platform.now_us()
        listening = {one.inode: one for one in self._listeners.listening()}
        for inode, listener in listening.items():
            is_same = (listener.protocol, listener.address, listener.port) == self._there.get(inode)
            if not is_same and (event := self._event(listener, now_us, seeding=seeding)):
                yield event
        self._there = {inode: (one.protocol, one.address, one.port) for inode, one in listening.items()}

    def _event(self, listener: Listener, now_us: int, *, seeding: bool) -> Event | None:
        """None: told less than a day ago."""
        info = self._listeners.holder(listener) if self._listeners else None
        exe = info.exe if info else ""
        key = (listener.protocol, listener.port, exe)
        if seeding:
            self._known.add(key)
        if 0 <= now_us - self._told.get(key, -AGAIN_US) < AGAIN_US:
            return None
        self._remember(key, now_us)
        package = self.platform.packages.owner(exe) if exe else None
        return ServiceListening(
            time_us=now_us,
            protocol=listener.protocol,
            address=listener.address,
            port=listener.port,
            exe=exe,
            package=package.name if package else "",
            known=key in self._known,
            pid=info.pid if info else 0,
            ppid=info.ppid if info else 0,
            cmdline=info.cmdline if info else "",
            uid=info.uid if info else listener.uid,
            user=info.user if info else self.platform.processes.user(listener.uid),
        )

    def _remember(self, key: Key, now_us: int) -> None:
        self._told.pop(key, None)
        self._told[key] = now_us
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
