"""Programs that were started, and those the execution gate refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from agent.platform.execution_ports import Execution, ExecutionLog
from agent.platform.ports import ProcessInfo
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import AgentDropped, Event, ProcessDenied, ProcessStarted
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform


MOST_WAITING = 256
"""Programs that are looked at a second time; in a flood of executions nobody waits."""


class ExecutionSensor(Sensor):
    """Every execution as the gate answered it, with the process that asked."""

    name: ClassVar[str] = "execution"
    control: ClassVar[Control] = "execution"
    emits: ClassVar[tuple[type[Event], ...]] = (ProcessStarted, ProcessDenied, AgentDropped)
    doc: ClassVar[Text] = Text(
        "実行制御ゲート（fanotify）を通るすべてのプログラム実行を、呼び出し元のプロセス・利用者・ファイルのハッシュ・"
        "所属パッケージとともに記録します。拒否した実行は理由を付けて報告します。",
        "Records every execution that passes the gate (fanotify): the calling process, its user, the file's hash and"
        " package. A refused one is reported with the reason.",
    )
    limits: ClassVar[Text] = Text(
        "ゲートが動作している間のみ見えます（方針を受け取る前は記録しません）。「sh スクリプト」のようにインタープリターに"
        "引数で渡されたスクリプト、共有ライブラリ、memfd からの実行は見えません。自分専用のマウント名前空間でファイルシステムを"
        "作り、他のプログラムを介さずに実行するプロセスも見えません。新しいマウントは検知まで約 0.1 ミリ秒の間は対象外です。"
        "本ソフトウェア自身の実行環境（Python）は常に許可されます。起動したプログラムのコマンドライン（args）は起動の後に"
        "読むため、読む前に終了したものは空です。更新中のファイルは、dpkg が一覧を書くまで拒否されることがあります。",
        "Sees only while the gate runs (not before the first policy). Not seen: scripts given to an interpreter as an"
        " argument (`sh file`), shared libraries, memfd, and a process that makes a file system in a mount namespace of its"
        " own and runs from it without any other program in between. A new mount is covered about 0.1 ms after it appears."
        " The agent's own environment (its Python prefix) may always run. The command line of a started program (args) is"
        " read after it has started: it is empty for one that ended before. While a package is being replaced, its programs"
        " may be refused until dpkg has written down their checksums.",
    )
    example: ClassVar[Event] = ProcessDenied(
        time_us=1_790_000_000_000_000,
        action="blocked",
        pid=4711,
        ppid=4700,
        exe="/usr/bin/bash",
        cmdline="bash",
        uid=1000,
        user="yamada",
        target="/home/yamada/Downloads/tool",
        digest="9f" * 32,
        reason="no_cover",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._log: ExecutionLog | None = None
        self._starting: deque[Execution] = deque()
        """Programs whose process was still the caller's when they were looked at."""

    def open(self) -> Iterable[Event]:
        self.platform.execution_gate.probe()
        self._log = self.platform.execution_log
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return [(self._log.fileno(), POLLIN)] if self._log else ()

    def read(self, fileno: int) -> Iterable[Event]:
        return self.tick()

    def tick(self) -> Iterable[Event]:
        if self._log is None:
            return
        yield from self._started(last_look=True)
        for execution in self._log.executions():
            if execution.denied:
                yield self._denied(execution)
            else:
                self._starting.append(execution)
        yield from self._started(last_look=False)
        lost = self._log.lost()
        if lost:
            yield AgentDropped(
                time_us=self.platform.now_us(), reason="sensor_overflow", count=lost, source=self.name
            )

    def close(self) -> None:
        self._log = None

    def _denied(self, seen: Execution) -> Event:
        user = self.platform.processes.user(seen.uid)
        return ProcessDenied(action="blocked", reason=seen.reason, **_facts(seen, user))

    def _started(self, *, last_look: bool) -> Iterable[Event]:
        """Look at the processes that wait; one that is not yet the program is looked at once more, if not too many are."""
        for _ in range(len(self._starting)):
            seen = self._starting.popleft()
            now = self.platform.processes.info(seen.pid)
            if not last_look and _changing(seen, now) and len(self._starting) < MOST_WAITING:
                self._starting.append(seen)
                continue
            user = self.platform.processes.user(seen.uid)
            args = now.cmdline if now is not None and now.exe == seen.target else ""
            # From now on the process is that program; it may be gone before anybody can ask /proc.
            self.platform.processes.remember(
                ProcessInfo(pid=seen.pid, ppid=seen.ppid, exe=seen.target, uid=seen.uid, user=user)
            )
            yield ProcessStarted(args=args, **_facts(seen, user))


def _changing(seen: Execution, now: ProcessInfo | None) -> bool:
    """Whether a process is about to become the program: it is the caller still, or has no command line yet."""
    return now is not None and (now.exe == seen.exe or (now.exe == seen.target and not now.cmdline))


def _facts(seen: Execution, user: str) -> dict[str, Any]:
    return {
        "time_us": seen.time_us,
        "pid": seen.pid,
        "ppid": seen.ppid,
        "exe": seen.exe,
        "cmdline": seen.cmdline,
        "uid": seen.uid,
        "user": user,
        "target": seen.target,
        "digest": seen.digest,
        "package": seen.package,
        "on_media": seen.on_media,
    }
