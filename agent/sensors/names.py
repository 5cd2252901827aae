"""Names this PC looks up over the network, with the process and the user who asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from agent.connection_folds import Folder, by_question
from agent.platform.link_ports import Answer, NameLog
from agent.platform.ports import OverflowedError, ProcessInfo
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import DnsResolved, Event
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

_SETTLE_S = 0.5
"""The packet filter's log, which says who asked, is a little later than the answer."""
_WINDOW_TICKS = 600


class NamesSensor(Sensor):
    """Reads the answers of name servers off the line, after a filter in the kernel."""

    name: ClassVar[str] = "names"
    control: ClassVar[Control] = "connections"
    emits: ClassVar[tuple[type[Event], ...]] = (DnsResolved,)
    doc: ClassVar[Text] = Text(
        ja="名前サーバーからの応答（53番ポート）を読み、名前・応答・問い合わせ先を、問い合わせたプロセスと利用者とともに報告します。"
        "同じ問い合わせは10分ごとにまとめます。通信の宛先名もここから分かります。",
        en="Reads the answers of name servers (port 53) and reports name, answer and server, with the process and the user who asked. "
        "Equal look-ups are folded every ten minutes. The names of connections come from here.",
    )
    limits: ClassVar[Text] = Text(
        ja="暗号化された問い合わせ（DoH、DoT）の内容は見えません（DoTの853番ポートは規則で検知します）。端末内の転送プログラム（systemd-resolvedなど）を"
        "使う端末では、問い合わせたのは転送プログラムと表示されます。複数のセグメントに分かれたTCPの応答、IPv6拡張ヘッダ付きの応答は読みません。"
        "利用者は、通信の制御が動いているときだけ分かります。一つのアドレスに複数の名前があるときは最後の名前になります。",
        en="What is asked in encrypted form (DoH, DoT) is not seen (port 853 is flagged by a rule). Where a forwarder runs on the PC "
        "(systemd-resolved and others) it is the one who asks. TCP answers in several segments and answers behind IPv6 extension "
        "headers are not read. Who asked is known only while the connections control runs. Of several names of one address the "
        "last is kept.",
    )
    example: ClassVar[Event] = DnsResolved(
        time_us=1_790_000_000_000_000,
        pid=4312,
        ppid=4100,
        exe="/usr/bin/firefox",
        cmdline="firefox",
        uid=1004,
        user="sato",
        query="files.example",
        query_type="A",
        answers=("203.0.113.7",),
        rcode="noerror",
        server="10.20.0.53",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._log: NameLog | None = None
        self._names = platform.names
        self._folder: Folder[DnsResolved] = Folder(by_question)
        self._ticks = 0

    def open(self) -> Iterable[Event]:
        """Raises UnsupportedError ``packet_socket_unsupported``."""
        self._log = self._names.log = self.platform.name_log()
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return [(one, POLLIN) for one in self._log.filenos()] if self._log else ()

    def read(self, fileno: int) -> Iterable[Event]:
        """Answers are told a moment later, when it is known who asked."""
        self._names.settle()
        return ()

    def tick(self) -> Iterable[Event]:
        """Raises OverflowedError when answers were lost."""
        return self._due()

    def recover(self) -> Iterable[Event]:
        """What was lost cannot be read again."""
        return ()

    def _due(self) -> Iterator[Event]:
        if self._log is None:
            return
        self._names.collect()
        for answer in self._names.heard(_SETTLE_S):
            yield from self._folder.fold(self._event(answer))
        self._ticks += 1
        if self._ticks % _WINDOW_TICKS == 0:
            yield from self._folder.flush()
        lost, self._names.unheard = self._log.lost() + self._names.unheard, 0
        if lost:
            raise OverflowedError(f"{lost} answers of name servers")

    def _event(self, answer: Answer) -> DnsResolved:
        by = self._names.asker(answer) or ProcessInfo(pid=0)
        return DnsResolved(
            time_us=self.platform.now_us(),
            query=answer.query,
            query_type=answer.query_type,
            answers=answer.answers,
            rcode=answer.rcode,
            server=answer.server,
            **msgspec.structs.asdict(by),
        )

    def close(self) -> None:
        if self._log is not None:
            self._names.log = None
            self._log.close()
            self._log = None
