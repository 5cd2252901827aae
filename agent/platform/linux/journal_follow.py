"""The journal of systemd as a source of logon lines: ``journalctl --follow`` in a child (journalctl(1), journal-fields(7)).

Unlike in a log file, who wrote a line is known: journald takes ``_UID`` and ``_COMM`` from the kernel, so a user cannot
make up a line of su or sudo.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.platform.linux.logon_lines import Line, parse_message
from protocol.refusal import UNREADABLE

PROGRAM = "/usr/bin/journalctl"
FOLDERS = ("var/log/journal", "run/log/journal")
_SOURCES = ("su", "sudo", "sshd", "sshd-session")
MAX_LINE = 64 * 1024
_OPTIONS = (
    *("--follow", "--no-tail", "--no-pager", "--quiet", "--output=json"),
    "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,_UID,_COMM",
)


class _Entry(Struct):
    """What is read of an entry; all values are text (or bytes as a list of numbers, which is no line of ours)."""

    cursor: str = msgspec.field(name="__CURSOR", default="")
    time_us: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="")
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    program: str | None = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)
    uid: str = msgspec.field(name="_UID", default="")
    comm: str = msgspec.field(name="_COMM", default="")
    pid: str = msgspec.field(name="_PID", default="")


_decoder = msgspec.json.Decoder(_Entry)


def parse_entry(raw: bytes, now_us: int) -> tuple[Line | None, str]:
    """What an entry tells of a logon (None: nothing), and its cursor (empty: it is no entry)."""
    try:
        entry = _decoder.decode(raw)
    except UNREADABLE:
        return None, ""
    program, text = entry.program, entry.message
    if program not in _SOURCES or not isinstance(text, str) or not _is_own_word(program, entry):
        return None, entry.cursor[:512]
    time_us = int(entry.time_us) if entry.time_us.isdecimal() and len(entry.time_us) < 19 else now_us
    pid = int(entry.pid) if entry.pid.isdecimal() and len(entry.pid) < 10 else 0
    return parse_message(program, pid, text, min(time_us, now_us)), entry.cursor[:512]


def _is_own_word(program: str, entry: _Entry) -> bool:
    """Whether root's process of that name said it; anybody can call ``logger --tag sudo``."""
    return entry.uid == "0" and (entry.comm == program or (program, entry.comm) == ("sshd-session", "sshd"))


def has_journal(root: Path) -> bool:
    """Whether this PC keeps a journal that can be followed."""
    return Path(PROGRAM).exists() and any((root / one).is_dir() for one in FOLDERS)


class JournalFollow:
    """A running journalctl; it is started again when it ended, from where it was left."""

    def __init__(self, root: Path, cursor: str) -> None:
        self.cursor = cursor
        self._begin_s = int(time.time())
        self._where = [] if root == Path("/") else [f"--root={root}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def lines(self, now_us: int) -> Iterator[Line]:
        """What came since; never blocks. A journalctl that ended is started anew at the next call."""
        if self._process is None:
            self._start()
            return
        for raw in self._read():
            line, cursor = parse_entry(raw, now_us)
            self.cursor = cursor or self.cursor
            if line is not None:
                yield line

    def _start(self) -> None:
        start = f"--after-cursor={self.cursor}" if self.cursor else f"--since=@{self._begin_s}"
        identifiers = [f"--identifier={one}" for one in _SOURCES]
        self._rest = b""
        try:
            self._process = subprocess.Popen(
                [PROGRAM, *self._where, *_OPTIONS, start, *identifiers],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            )
        except OSError:
            return
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        os.set_blocking(self._process.stdout.fileno(), False)

    def _read(self) -> list[bytes]:
        process = self._process
        if process is None or process.stdout is None:
            return []
        try:
            data = os.read(process.stdout.fileno(), MAX_LINE)
        except BlockingIOError:
            return []
        if not data:
            self.close()
            return []
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest = b""
        return whole

    def close(self) -> None:
        """End journalctl; the cursor stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
