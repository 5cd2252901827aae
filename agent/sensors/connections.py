"""Connections out of the firewall's packet log, with the process and the user behind each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from agent.platform.linux.ruleset import DENY, LOG_GROUP, OPEN, WATCH
from agent.platform.ports import Packet, PacketLog, ProcessInfo, Sockets, UnsupportedError
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import Action, ConnectionBlocked, ConnectionOpened, Event
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

Seen = ConnectionBlocked | ConnectionOpened
Key = tuple[type[Seen], int, str, int, str]
_FOLDED = 4096
"""Distinct repeats that are kept before they are reported ahead of the tick."""
_ACTIONS: dict[str, Action] = {DENY: "blocked", WATCH: "observed", OPEN: "allowed"}


class Folder:
    """Repeats of one event within a second become its ``count``. The first is reported at once. Pure."""

    def __init__(self) -> None:
        self._first: set[Key] = set()
        self._repeats: dict[Key, Seen] = {}

    def fold(self, event: Seen) -> list[Seen]:
        """What is to be reported now."""
        key = (type(event), event.pid, event.dest_ip, event.dest_port, event.protocol)
        if key not in self._first:
            due = self.flush() if len(self._first) >= _FOLDED else []
            self._first.add(key)
            return [*due, event]
        held = self._repeats.get(key)
        self._repeats[key] = msgspec.structs.replace(held, count=held.count + 1) if held else event
        return []

    def flush(self) -> list[Seen]:
        """The second is over: the repeats, each with how many there were. A key that went on stays folded."""
        due = list(self._repeats.values())
        self._first = set(self._repeats)
        self._repeats = {}
        return due


class ConnectionsSensor(Sensor):
    """Reads NFLOG group :data:`LOG_GROUP`; the firewall enforcer's rules fill it."""

    name: ClassVar[str] = "connections"
    control: ClassVar[Control] = "connections"
    emits: ClassVar[tuple[type[Event], ...]] = (ConnectionOpened, ConnectionBlocked)
    doc: ClassVar[Text] = Text(
        ja="パケットフィルタの記録から、許可・遮断した通信を、プロセスと利用者とともに報告する。"
        "遮断したTCPはソケットも直ちに終了させる。",
        en="Reports connections allowed and stopped, from the packet filter's log, with process and user. "
        "The socket of a stopped TCP connection is ended at once.",
    )
    limits: ClassVar[Text] = Text(
        ja="着信、ループバック、収集サーバへの通信は報告しない。パケットソケット（AF_PACKET）で送られたものは見えない。"
        "終了済みで実行記録もないプロセスの実行ファイルは [名前] と表示する。"
        "BPFが使えないPCでは、すぐ終了するUDP・ICMPの送信元プロセスは分からない。",
        en="Inbound, loopback and collector traffic is not reported. What is sent through packet sockets (AF_PACKET) is "
        "not seen. The executable of a process that is gone and was not recorded is shown as [name]. Without BPF, "
        "senders of UDP and ICMP that end at once stay unknown.",
    )
    example: ClassVar[Event] = ConnectionBlocked(
        time_us=1_790_000_000_000_000,
        action="blocked",
        pid=4312,
        ppid=4100,
        exe="/usr/bin/curl",
        cmdline="curl https://files.example/",
        uid=1004,
        user="sato",
        protocol="tcp",
        src_ip="10.20.1.15",
        src_port=51514,
        dest_ip="203.0.113.7",
        dest_port=443,
        latency_us=640,
        attribution="bpf",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._log: PacketLog | None = None
        self._folder = Folder()

    @property
    def _sockets(self) -> Sockets:
        return self.platform.sockets

    def open(self) -> Iterable[Event]:
        """Raises UnsupportedError ``nflog_unsupported`` or ``nflog_busy``."""
        self._log = self.platform.packet_log(LOG_GROUP)
        _ = self._sockets  # stamps sockets from now on
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return [(self._log.fileno(), POLLIN)] if self._log else []

    def read(self, fileno: int) -> Iterable[Event]:
        """Generator: each packet is acted on before the next is read."""
        return self._events() if self._log else ()

    def _events(self) -> Iterator[Event]:
        if self._log is None:
            return
        for packet in self._log.packets():
            if packet.prefix in _ACTIONS:
                yield from self._folder.fold(self._event(packet))

    def _event(self, packet: Packet) -> Seen:
        """Attribute first, while the socket waits in SYN-SENT; then end it."""
        started = time.perf_counter_ns()
        info, how = self._sockets.owner(packet)
        facts: dict[str, Any] = {
            "time_us": self.platform.now_us(),
            "action": _ACTIONS[packet.prefix],
            "protocol": packet.protocol,
            "src_ip": packet.src_ip,
            "src_port": packet.src_port,
            "dest_ip": packet.dest_ip,
            "dest_port": packet.dest_port,
            "direction": packet.direction,
            **_actor(packet, info),
        }
        if packet.prefix != DENY:
            return ConnectionOpened(**facts)
        if packet.protocol == "tcp":
            self._end(packet)
        latency = (time.perf_counter_ns() - started) // 1000
        return ConnectionBlocked(**facts, attribution=how, latency_us=latency)

    def _end(self, packet: Packet) -> None:
        """Ending the socket is a courtesy to the program: the packet itself was dropped by the kernel already."""
        try:
            self._sockets.destroy(packet)
        except UnsupportedError:
            return

    def tick(self) -> Iterable[Event]:
        """Report the repeats of the last second."""
        return self._folder.flush()

    def close(self) -> None:
        if self._log:
            self._log.close()
            self._log = None


def _actor(packet: Packet, info: ProcessInfo | None) -> dict[str, object]:
    """Fields of the process; of an unknown one at least the uid, which NFLOG always has."""
    if info is None:
        return {"uid": packet.uid}
    return {
        "pid": info.pid,
        "ppid": info.ppid,
        "exe": info.exe,
        "cmdline": info.cmdline,
        "uid": info.uid if info.uid >= 0 else packet.uid,
        "user": info.user,
    }
