"""Logons: who came, who failed, who left."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from agent.logon_sessions import FailureFold, SessionTable
from agent.platform.posture_ports import Logon, LogonLog
from agent.sensors import Sensor
from policies.model import Control
from protocol.events import Event, LogonEnded, LogonFailed, LogonSucceeded
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform


def is_remote(logon: Logon) -> tuple[bool, str]:
    """Whether a logon came from another machine, and the address if one was written down."""
    address = logon.address
    if not address:
        try:
            address = str(ipaddress.ip_address(logon.host.partition("%")[0]))
        except ValueError:
            # ":0" is this PC's own screen; anything else is a name.
            return bool(logon.host) and not logon.host.startswith(":"), ""
    return not ipaddress.ip_address(address).is_loopback, address


def logon_event(logon: Logon, *, count: int = 1, duration_s: int = -1) -> Event:
    """Build the event of a logon that succeeded, failed or ended, decision fields empty."""
    remote, address = is_remote(logon)
    about: dict[str, Any] = {
        "time_us": logon.time_us,
        "user": logon.user[:256],
        "uid": logon.uid,
        "service": logon.service[:256],
        "terminal": logon.terminal[:256],
        "session": logon.session[:256],
        "remote": remote,
        "remote_ip": address,
        "target_user": logon.target_user[:256],
    }
    if logon.what == "failed":
        return LogonFailed(reason=logon.reason, count=count, **about)
    if logon.what == "ended":
        return LogonEnded(duration_s=duration_s, **about)
    return LogonSucceeded(**about)


class LogonsSensor(Sensor):
    """Login records and the authentication log."""

    name: ClassVar[str] = "logons"
    control: ClassVar[Control] = "logons"
    emits: ClassVar[tuple[type[Event], ...]] = (LogonSucceeded, LogonFailed, LogonEnded)
    doc: ClassVar[Text] = Text(
        "ログオンの成功・失敗・終了を、OS のログイン記録（wtmp・btmp・utmp）と認証ログ（auth.log、なければ systemd のジャーナルの sudo・su・sshd）から報告します。"
        "端末と遠隔の別、接続元、継続時間を示し、同じ失敗は 1 分ごとに件数でまとめます。",
        "Reports logons, failures and ends from the login records (wtmp, btmp, utmp) and the authentication log (sudo, su and"
        " sshd in auth.log, else in systemd's journal): local or remote, from where, how long. Equal failures within a minute are one event with a count.",
    )
    limits: ClassVar[Text] = Text(
        "ログイン記録を書かない画面（独自の認証や systemd-logind のみの環境）、auth.log もジャーナルもない端末での su・sudo と端末を割り当てない ssh は見えません。auth.log の行は一般利用者でも偽造できます（ジャーナルの行はできません）。"
        "管理者権限があれば記録自体を書き換えられます。存在しない利用者名は、パスワードの誤入力でありうるため記録しません。x86-64 のみ対応します。",
        "Not seen: ways in that write no login record, su, sudo and ssh without a terminal where there is neither auth.log nor a journal. Any user can forge a line of auth.log, not one of the journal."
        " Root can rewrite the records. Names of no account are not kept: they may be a mistyped password. x86-64 only.",
    )
    example: ClassVar[Event] = LogonSucceeded(
        time_us=1_790_000_000_000_000,
        user="tanaka",
        uid=1001,
        service="sshd",
        terminal="pts/0",
        session="pts/0:4711",
        remote=True,
        remote_ip="10.10.2.9",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._log: LogonLog | None = None
        self._sessions = SessionTable()
        self._failures = FailureFold()

    def open(self) -> Iterable[Event]:
        self._log = self.platform.logon_log()
        self._sessions = SessionTable()
        for logon in self._log.open_sessions():
            self._sessions.know(logon)
        return self.tick()

    def recover(self) -> Iterable[Event]:
        return ()

    def tick(self) -> Iterator[Event]:
        log, now_us = self._log, self.platform.now_us()
        if log is None:
            return
        for logon in log.logons():
            if logon.what == "failed":
                yield from (
                    logon_event(one, count=count) for one, count in self._failures.take(logon, now_us)
                )
            else:
                yield from self._told(self._sessions.take(logon, now_us))
        yield from self._told(self._sessions.due(now_us, log.alive))
        yield from (logon_event(one, count=count) for one, count in self._failures.due(now_us))

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    @staticmethod
    def _told(found: Iterable[tuple[Logon, int]]) -> Iterator[Event]:
        return (logon_event(logon, duration_s=duration) for logon, duration in found)
