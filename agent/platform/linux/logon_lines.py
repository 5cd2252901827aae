"""Lines of the authentication log (sudo, su, sshd), as RFC 3164 or ISO 8601 syslog writes them.

Only what login records do not hold is taken from here: change of account, and sessions without a terminal. What a line
says in quotes was typed by whoever tried: patterns are anchored, and a name may only hold the characters of a login name.
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from agent.platform.posture_ports import Logon

MAX_LINE = 2048
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY_US = 86_400_000_000
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}"
_HEAD = re.compile(
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,16}) \S{1,255} "
    r"(?P<program>sudo|su|sshd(?:-session)?)(?:\[(?P<pid>\d{1,10})\])?: (?P<text>.*)"
)
_SUDO = re.compile(rf"\s*(?P<user>{_NAME}) : (?P<rest>.*)")
_SUDO_USER = re.compile(r"(?:^| ; )USER=(\S{1,64})(?= ;|$)")
_SUDO_TTY = re.compile(r"(?:^| ; )TTY=(\S{1,64}) ;")
_SU = re.compile(
    rf"(?P<bad>FAILED SU )?\(to (?P<target>{_NAME})\) (?P<user>{_NAME}) on (?P<terminal>\S{{1,64}})"
)
_SSH = re.compile(
    rf"Accepted (?P<how>[a-z-]{{1,40}}(?:/\S{{1,40}})?) for (?P<user>{_NAME}) from (?P<address>[0-9a-fA-F:.]{{2,45}}) port \d{{1,5}}\b.*"
)
_SSH_END = re.compile(rf"pam_unix\(sshd:session\): session closed for user (?P<user>{_NAME})")


class Line(NamedTuple):
    """A line about a logon, and the process that wrote it (0 = it does not say)."""

    logon: Logon
    pid: int


def parse_line(raw: bytes, now_us: int) -> Line | None:
    """What a line tells, or None: it is about something else.

    The time is the line's own (RFC 3164 writes local time without a year: the latest such moment), else ``now_us``.
    """
    if len(raw) > MAX_LINE:
        return None
    head = _HEAD.fullmatch(raw.decode("utf-8", "replace").rstrip("\r\n"))
    if head is None:
        return None
    written_us = _moment(head["time"], now_us)
    return parse_message(head["program"], int(head["pid"] or 0), head["text"], written_us)


def _moment(text: str, now_us: int) -> int:
    try:
        if text[0].isdigit():
            found = datetime.fromisoformat(text).timestamp()
        else:
            month, (hour, minute, second) = _MONTHS.index(text[:3]) + 1, map(int, text[7:].split(":"))
            year = time.localtime(now_us / 1e6).tm_year
            for candidate in (year, year - 1):
                found = time.mktime((candidate, month, int(text[4:6]), hour, minute, second, 0, 0, -1))
                if found * 1e6 <= now_us + _DAY_US:
                    break
    except (ValueError, OverflowError):
        return now_us
    return min(int(found * 1e6), now_us) if found > 0 else now_us


def parse_message(program: str, pid: int, text: str, now_us: int) -> Line | None:
    """What a program said, without its header."""
    reader = {"sudo": _sudo, "su": _su}.get(program, _ssh)
    logon = reader(text, now_us, pid)
    return None if logon is None else Line(logon, pid)


def _sudo(text: str, now_us: int, pid: int) -> Logon | None:
    found = _SUDO.fullmatch(text)
    if found is None:
        return None
    # Folder and command line are the caller's words and may hold " ; USER=" themselves: then nobody is named.
    rest = found["rest"]
    before = rest.partition(" ; COMMAND=")[0]
    targets = set(_SUDO_USER.findall(before) or _SUDO_USER.findall(rest))
    if not targets:
        return None
    terminal = _SUDO_TTY.search(before)
    tried = Logon(
        what="failed",
        time_us=now_us,
        user=found["user"],
        service="sudo",
        terminal=terminal[1] if terminal else "",
        target_user=targets.pop() if len(targets) == 1 else "",
        reason="bad_password" if "incorrect password" in before else "not_allowed",
        pid=pid,
    )
    done = rest.startswith(("TTY=", "PWD=", "USER=", "HOST="))
    return replace(tried, what="succeeded", reason="") if done else tried


def _su(text: str, now_us: int, pid: int) -> Logon | None:
    found = _SU.fullmatch(text)
    if found is None:
        return None
    return Logon(
        what="failed" if found["bad"] else "succeeded",
        time_us=now_us,
        user=found["user"],
        service="su",
        terminal="" if found["terminal"] == "none" else found["terminal"],
        target_user=found["target"],
        reason="bad_password" if found["bad"] else "",
        pid=pid,
    )


def _ssh(text: str, now_us: int, pid: int) -> Logon | None:
    if found := _SSH.fullmatch(text):
        return Logon(
            what="succeeded",
            time_us=now_us,
            user=found["user"],
            service="sshd",
            session=f"sshd:{pid}",
            host=found["address"],
            address=found["address"],
            pid=pid,
        )
    if found := _SSH_END.fullmatch(text):
        return Logon(
            what="ended", time_us=now_us, user=found["user"], service="sshd", session=f"sshd:{pid}", pid=pid
        )
    return None
