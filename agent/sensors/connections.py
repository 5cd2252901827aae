"""Connections out of the firewall's packet log, with the process and the user behind each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from agent.connection_folds import Folder, by_person, by_process, service_of
from agent.platform.linux.ruleset import DENY, LOG_GROUP, OPEN, WATCH
from agent.platform.ports import Packet, PacketLog, ProcessInfo, Sockets, UnsupportedError
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import Action, ConnectionBlocked, ConnectionOpened, Event
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

Seen = ConnectionBlocked | ConnectionOpened
_WINDOW_TICKS = 60
"""Repeats of what was not stopped are told once a minute."""
_DNS = 53
_ACTIONS: dict[str, Action] = {DENY: "blocked", WATCH: "observed", OPEN: "allowed"}


class ConnectionsSensor(Sensor):
    """Reads NFLOG group :data:`LOG_GROUP`; the firewall enforcer's rules fill it."""

    name: ClassVar[str] = "connections"
    control: ClassVar[Control] = "connections"
    emits: ClassVar[tuple[type[Event], ...]] = (ConnectionOpened, ConnectionBlocked)
    doc: ClassVar[Text] = Text(
        ja="パケットフィルタの記録から、許可・遮断した通信を、プロセスと利用者とともに報告します。"
        "遮断したTCPはソケットも直ちに終了させます。許可した通信は、利用者・プログラム・宛先・ポートごとに1分単位でまとめます。",
        en="Reports connections allowed and stopped, from the packet filter's log, with process and user. "
        "The socket of a stopped TCP connection is ended at once. Allowed connections are folded by minute, user, program, "
        "destination and port.",
    )
    limits: ClassVar[Text] = Text(
        ja="着信、ループバック、収集サーバーへの通信は報告しません。パケットソケット（AF_PACKET）で送られたものは見えません。"
        "終了済みで実行記録もないプロセスの実行ファイルは [名前] と表示します。"
        "BPFが使えないPCでは、すぐ終了するUDP・ICMPの送信元プロセスは分かりません。宛先の名前は、端末が53番ポートで引いた場合だけ分かります。"
        "用途（service）はポート番号で判断します。",
        en="Inbound, loopback and collector traffic is not reported. What is sent through packet sockets (AF_PACKET) is "
        "not seen. The executable of a process that is gone and was not recorded is shown as [name]. Without BPF, "
        "senders of UDP and ICMP that end at once stay unknown. The name of a destination is known only where the PC looked it "
        "up over port 53; the service is judged by the port.",
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
        dest_name="files.example",
        service="web",
        latency_us=640,
        attribution="bpf",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._log: PacketLog | None = None
        self._stopped: Folder[ConnectionBlocked] = Folder(by_process)
        self._opened: Folder[ConnectionOpened] = Folder(by_person)
        self._ticks = 0

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
                event = self._event(packet)
                if isinstance(event, ConnectionOpened):
                    yield from self._opened.fold(event)
                else:
                    yield from self._stopped.fold(event)

    def _event(self, packet: Packet) -> Seen:
        """Attribute first, while the socket waits in SYN-SENT; then end it; then all the rest."""
        started = time.perf_counter_ns()
        info, how = self._sockets.owner(packet)
        if packet.prefix == DENY and packet.protocol == "tcp":
            self._end(packet)
        latency_us = (time.perf_counter_ns() - started) // 1000
        actor = self._actor(packet, info)
        names = self.platform.names
        if packet.dest_port == _DNS:
            names.asked((packet.dest_ip, packet.src_port, packet.protocol), actor)
        facts: dict[str, Any] = {
            "time_us": self.platform.now_us(),
            "action": _ACTIONS[packet.prefix],
            "protocol": packet.protocol,
            "src_ip": packet.src_ip,
            "src_port": packet.src_port,
            "dest_ip": packet.dest_ip,
            "dest_port": packet.dest_port,
            "direction": packet.direction,
            "service": service_of(packet.protocol, packet.dest_port),
            "dest_name": names.name_of(packet.dest_ip),
            **msgspec.structs.asdict(actor),
        }
        if packet.prefix != DENY:
            return ConnectionOpened(**facts)
        return ConnectionBlocked(**facts, attribution=how, latency_us=latency_us)

    def _end(self, packet: Packet) -> None:
        """Ending the socket is a courtesy to the program: the packet itself was dropped by the kernel already."""
        try:
            self._sockets.destroy(packet)
        except UnsupportedError:
            return

    def tick(self) -> Iterable[Event]:
        """Report the repeats: of what was stopped those of the last second, of the rest those of the last minute."""
        self._ticks += 1
        opened = self._opened.flush() if self._ticks % _WINDOW_TICKS == 0 else []
        return [*self._stopped.flush(), *opened]

    def close(self) -> None:
        if self._log:
            self._log.close()
            self._log = None

    def _actor(self, packet: Packet, info: ProcessInfo | None) -> ProcessInfo:
        """The process; of an unknown or unseen one at least the user, whom NFLOG always has."""
        found = info or ProcessInfo(pid=0)
        uid = found.uid if found.uid >= 0 else packet.uid
        return msgspec.structs.replace(found, uid=uid, user=found.user or self.platform.processes.user(uid))
