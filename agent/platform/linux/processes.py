"""Processes of this PC from /proc (proc(5)), with a memory of those that ended before anybody looked."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import msgspec

from agent.platform.ports import ProcessInfo

CMDLINE_LIMIT = 4096
"""Characters of a command line kept."""
MEMORY = 4096
"""How many processes are remembered."""
_PASSWD_FIELDS = 7


def parse_status(data: bytes) -> tuple[int, int]:
    """Parent and real user id out of /proc/PID/status; (0, -1) for what is not there."""
    ppid, uid = 0, -1
    for line in data.split(b"\n"):
        if line.startswith(b"PPid:"):
            ppid = _number(line[5:], 0)
        elif line.startswith(b"Uid:"):
            uid = _number(line[4:].split()[0] if line[4:].split() else b"", -1)
            break
    return ppid, uid


def parse_cmdline(data: bytes) -> str:
    """Return arguments joined by a blank, cut at :data:`CMDLINE_LIMIT` characters."""
    text = data.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    return text[:CMDLINE_LIMIT]


def parse_passwd(text: str) -> dict[int, str]:
    """Read uid → login name (passwd(5)); malformed lines are passed over, the first name of a uid counts."""
    names: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == _PASSWD_FIELDS and fields[2].isascii() and fields[2].isdigit():
            names.setdefault(int(fields[2]), fields[0])
    return names


def _number(text: bytes, default: int) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else default


class Users:
    """Login names of ``root``/etc/passwd, read again when the file changes.

    Names from a directory service are not asked for: that can block on the network. Such users keep their number.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / "etc/passwd"
        self._stamp = (0, 0)
        self._names: dict[int, str] = {}

    def name(self, uid: int) -> str:
        """Login name, or empty."""
        self._refresh()
        return self._names.get(uid, "")

    def uid(self, name: str) -> int | None:
        """User id of a login name; None when this PC does not know it."""
        self._refresh()
        return next((uid for uid, known in self._names.items() if known == name), None)

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._names = parse_passwd(self._path.read_text("utf-8", "replace"))
                self._stamp = stamp
        except OSError:
            return  # replaced just now: what was read last still holds


class LinuxProcesses:
    """Implements ``ports.Processes``."""

    def __init__(self, proc: Path = Path("/proc"), root: Path = Path("/")) -> None:
        self._proc = str(proc)
        self._users = Users(root)
        self._memory: OrderedDict[int, ProcessInfo] = OrderedDict()

    def user(self, uid: int) -> str:
        """Login name of a uid, or empty."""
        return self._users.name(uid)

    def live(self, pid: int) -> ProcessInfo | None:
        """What /proc says now; None when the process is gone."""
        folder = f"{self._proc}/{pid}"
        exe = _link(f"{folder}/exe")  # first: of one that is just ending it is the first to go
        try:
            cmdline = parse_cmdline(_read(f"{folder}/cmdline"))
            ppid, uid = parse_status(_read(f"{folder}/status"))
        except OSError:
            return None
        return ProcessInfo(pid=pid, ppid=ppid, exe=exe, cmdline=cmdline, uid=uid, user=self._users.name(uid))

    def info(self, pid: int) -> ProcessInfo | None:
        """What /proc says now; of a process that is gone, what was remembered; else None."""
        found, remembered = self.live(pid), self._memory.get(pid)
        if found is None or remembered is None or found.cmdline:
            return found or remembered
        exe = found.exe or remembered.exe
        return msgspec.structs.replace(found, exe=exe, cmdline=remembered.cmdline)

    def remember(self, info: ProcessInfo) -> None:
        """Keep the newest :data:`MEMORY` processes."""
        self._memory[info.pid] = info
        self._memory.move_to_end(info.pid)
        if len(self._memory) > MEMORY:
            self._memory.popitem(last=False)


def _link(path: str) -> str:
    """Target of a link; empty for a kernel thread or a zombie: its executable is no longer known to the kernel."""
    try:
        return os.readlink(path).removesuffix(" (deleted)")  # noqa: PTH115 - in a race with the process's end
    except OSError:
        return ""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, CMDLINE_LIMIT * 4)
    finally:
        os.close(fd)
