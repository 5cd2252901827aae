"""Logons out of wtmp, btmp, utmp (utmp(5)) and the authentication log, or the journal where there is none.

The files are looked at by size once a second: three calls of some µs, and rotation needs no second mechanism.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from agent.platform.linux.followed_file import FollowedFile, Position
from agent.platform.linux.journal_follow import JournalFollow, has_journal
from agent.platform.linux.logon_lines import Line, parse_line
from agent.platform.linux.processes import Users
from agent.platform.linux.utmp import (
    BOOT_TIME,
    DEAD_PROCESS,
    LOGIN_PROCESS,
    RUN_LEVEL,
    SIZE,
    USER_PROCESS,
    Record,
    parse_records,
)
from agent.platform.ports import OverflowedError, Processes, UnsupportedError
from agent.platform.posture_ports import Logon
from agent.platform.state_file import load_state, save_state

WTMP, BTMP, UTMP, AUTH = "var/log/wtmp", "var/log/btmp", "run/utmp", "var/log/auth.log"
STATE_FILE = "logons.json"
MAX_SESSIONS = 512
_TAIL = 512 * SIZE
_PROGRAMS = {
    "gdm-session-wor": "gdm",
    "lightdm": "lightdm",
    "sddm-helper": "sddm",
    "login": "login",
    "sshd": "sshd",
}


class Kept(Struct):
    """How far the files were read; state ``logons.json``."""

    wtmp: Position | None = None
    btmp: Position | None = None
    auth: Position | None = None
    journal: str = ""
    """Cursor of the last entry read, where the journal takes the place of the authentication log."""
    users: tuple[str, ...] = ()
    """Names that have logged on here: those of a directory service stand in no file."""


class LinuxLogonLog:
    """Implements ``posture_ports.LogonLog``."""

    def __init__(self, root: Path, state: Path, processes: Processes, proc: Path = Path("/proc")) -> None:
        """Raises UnsupportedError where the PC keeps no login records of the form known here."""
        if sys.maxsize < 1 << 32 or os.uname().machine != "x86_64":
            raise UnsupportedError("logon_log", f"login records of {os.uname().machine} have another form")
        journal = not (root / AUTH).exists() and has_journal(root)
        if not journal and not any((root / name).exists() for name in (WTMP, AUTH)):
            raise UnsupportedError("logon_log", "no wtmp, authentication log or journal", "install rsyslog")
        self._root, self._state = root, state / STATE_FILE
        self._processes, self._proc = processes, proc
        self._users = Users(root)
        kept = load_state(self._state, Kept) or Kept()
        self._resumed = kept.wtmp is not None
        self._wtmp = FollowedFile(root / WTMP, kept.wtmp, unit=SIZE)
        self._btmp = FollowedFile(root / BTMP, kept.btmp, unit=SIZE)
        self._auth = FollowedFile(root / AUTH, kept.auth)
        self._journal = JournalFollow(root, kept.journal) if journal else None
        self._seen_users = dict.fromkeys(kept.users[-MAX_SESSIONS:])
        self._stamps: tuple[object, ...] = ()
        self._skipped = 0
        self._save()

    def open_sessions(self) -> list[Logon]:
        """As of where reading goes on: by the records before it; at the first start by utmp, as far as they live."""
        if self._resumed or not (self._root / UTMP).exists():
            data = self._wtmp.before(_TAIL)
        else:
            try:
                with (self._root / UTMP).open("rb") as file:
                    data = file.read(_TAIL)
            except OSError:
                data = b""
        found = self._replay(data)
        return found if self._resumed else [logon for logon in found if self.alive(logon.pid)]

    def _replay(self, data: bytes) -> list[Logon]:
        """The sessions that are open at the end of these records."""
        found: dict[str, Logon] = {}
        for logon in filter(None, map(self._of_record, parse_records(data))):
            if logon.what == "booted":
                found.clear()
            elif logon.what == "succeeded":
                found[logon.terminal] = logon
            else:
                found.pop(logon.terminal, None)
        return list(found.values())[-MAX_SESSIONS:]

    def logons(self) -> Iterator[Logon]:
        heard = False
        if self._journal is not None:
            for logon in self._of_lines(self._journal.lines(time.time_ns() // 1000)):
                heard = True
                yield logon
        if heard:
            self._save()
        stamps = tuple(_stamp(self._root / name) for name in (WTMP, BTMP, AUTH))
        if stamps == self._stamps:
            return
        more = False
        for follower, read in (
            (self._wtmp, self._sessions),
            (self._btmp, self._failures),
            (self._auth, self._lines),
        ):
            data = follower.read()
            more = more or bool(data)
            yield from read(data)
        # As long as something came there may be more.
        self._stamps = () if more else stamps
        if more:
            self._save()
        skipped = self._wtmp.skipped + self._btmp.skipped + self._auth.skipped
        if skipped > self._skipped:
            lost, self._skipped = skipped - self._skipped, skipped
            raise OverflowedError(f"{lost} bytes of login records were never read")

    def alive(self, pid: int) -> bool:
        return (self._proc / str(pid)).exists()

    def close(self) -> None:
        self._save()
        for follower in (self._wtmp, self._btmp, self._auth):
            follower.close()
        if self._journal is not None:
            self._journal.close()

    def _save(self) -> None:
        kept = Kept(
            wtmp=self._wtmp.position,
            btmp=self._btmp.position,
            auth=self._auth.position,
            journal=self._journal.cursor if self._journal else "",
            users=tuple(self._seen_users),
        )
        try:
            save_state(self._state, kept)
        except OSError:
            return  # a full disk: after a restart some of it is told again

    def _sessions(self, data: bytes) -> Iterator[Logon]:
        for record in parse_records(data):
            logon = self._of_record(record)
            if logon is not None:
                if logon.what == "succeeded":
                    self._remember(logon.user)
                yield logon

    def _of_record(self, record: Record) -> Logon | None:
        """A record of wtmp or utmp as a logon; None: it tells of something else (a getty that waits, a clock set)."""
        if record.type == BOOT_TIME or (record.type == RUN_LEVEL and record.user == "shutdown"):
            return Logon(what="booted", time_us=record.time_us)
        if record.type not in (USER_PROCESS, DEAD_PROCESS) or not record.line:
            return None
        if record.type == USER_PROCESS and not record.user:
            return None
        return Logon(
            what="succeeded" if record.type == USER_PROCESS else "ended",
            time_us=record.time_us,
            user=record.user,
            uid=self._uid(record.user),
            service=self._service(record),
            terminal=record.line,
            session=f"{record.line}:{record.pid}",
            host=record.host,
            address=record.address,
            pid=record.pid,
        )

    def _failures(self, data: bytes) -> Iterator[Logon]:
        for record in parse_records(data):
            if record.type not in (USER_PROCESS, LOGIN_PROCESS):
                continue
            known = self._is_known(record.user)
            yield Logon(
                what="failed",
                time_us=record.time_us,
                # Who mistook the field for the password's has typed it here: what is no account is not kept.
                user=record.user if known else "",
                uid=self._uid(record.user) if known else -1,
                service=self._service(record),
                terminal=record.line,
                host=record.host,
                address=record.address,
                reason="bad_password" if known else "unknown_user",
                pid=record.pid,
            )

    def _lines(self, data: bytes) -> Iterator[Logon]:
        now_us = time.time_ns() // 1000
        yield from self._of_lines(filter(None, (parse_line(raw, now_us) for raw in data.splitlines())))

    def _of_lines(self, lines: Iterable[Line]) -> Iterator[Logon]:
        for line in lines:
            logon = line.logon
            if logon.what == "succeeded":
                self._remember(logon.user)
            yield replace(logon, uid=self._uid(logon.user))

    def _service(self, record: Record) -> str:
        """By the name of the process while it lives, else by the terminal."""
        if record.line == "ssh:notty":
            return "sshd"
        info = self._processes.info(record.pid) if record.pid > 0 else None
        name = info.exe.rpartition("/")[2] if info else ""
        name = name.partition("-session")[0] if name.startswith("sshd") else name
        if name in _PROGRAMS or name.startswith("gdm"):
            return _PROGRAMS.get(name, "gdm")
        if record.line.startswith(":") or record.host.startswith(":"):
            return "display manager"
        return "sshd" if record.host else "login"

    def _uid(self, user: str) -> int:
        uid = self._users.uid(user) if user else None
        return -1 if uid is None else uid

    def _is_known(self, user: str) -> bool:
        return bool(user) and (user in self._seen_users or self._users.uid(user) is not None)

    def _remember(self, user: str) -> None:
        if self._users.uid(user) is None and user not in self._seen_users:
            self._seen_users[user] = None
            while len(self._seen_users) > MAX_SESSIONS:
                del self._seen_users[next(iter(self._seen_users))]


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
