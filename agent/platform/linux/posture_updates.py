"""How old the PC's software is, what waits, and whether programs on media start by themselves. Files only."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path

_DONE = ("var/lib/apt/periodic/upgrade-stamp", "var/log/unattended-upgrades/unattended-upgrades-dpkg.log")
_HISTORY = "var/log/apt/history.log"
_HISTORY_TAIL = 64 * 1024
_LISTS = ("var/lib/apt/periodic/update-success-stamp", "var/lib/apt/lists")
_DAY_S = 86_400
_NAME = re.compile(r'^PRETTY_NAME="?([^"\n]{1,200})"?', re.MULTILINE)
_UPGRADED = re.compile(r"^Upgrade: ", re.MULTILINE)
_COUNT_BYTES = 4 * 1024 * 1024
_COUNT_CPU_S = 30


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def update_age_days(root: Path, now_s: float, pending: int) -> int:
    """Days since the PC was last up to date; -1 = not known.

    Where nothing waits (``pending`` 0) it was up to date when the package lists were fetched, else when an upgrade was
    last done.
    """
    fetched = max(_changed_at(root / name) for name in _LISTS)
    upgraded = max(_changed_at(root / name) for name in _DONE)
    if _has_upgraded(root / _HISTORY):
        upgraded = max(upgraded, _changed_at(root / _HISTORY))
    moment = max(fetched, upgraded) if pending == 0 else upgraded
    return int(max(0.0, now_s - moment) // _DAY_S) if moment else -1


def _has_upgraded(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _HISTORY_TAIL))
            return _UPGRADED.search(file.read(_HISTORY_TAIL).decode("utf-8", "replace")) is not None
    except OSError:
        return False


def os_name(root: Path) -> str:
    """``PRETTY_NAME`` of os-release(5)."""
    try:
        found = _NAME.search((root / "etc/os-release").read_text("utf-8", "replace"))
    except OSError:
        return ""
    return found[1] if found else ""


def reboot_required(root: Path) -> bool:
    """Debian and Ubuntu leave a file."""
    return any((root / name).exists() for name in ("run/reboot-required", "var/run/reboot-required"))


_DESKTOPS = ("usr/share/wayland-sessions", "usr/share/xsessions")
_AUTORUN = re.compile(r"^\s*autorun-never\s*=\s*(true|false)\s*$", re.MULTILINE)


def autorun(root: Path) -> str:
    """Return on | off | unknown. Without a desktop nothing starts by itself; GNOME's key is read from the site's dconf files."""
    if not any((root / folder).is_dir() for folder in _DESKTOPS):
        return "off"
    values = []
    for path in sorted((root / "etc/dconf/db").glob("*.d/*"))[:64]:
        try:
            values += _AUTORUN.findall(path.read_text("utf-8", "replace")[:65536])
        except OSError:
            continue
    if not values:
        return "unknown"
    return "off" if values[-1] == "true" else "on"


def parse_count(output: bytes) -> int:
    """How many packages ``apt-get --simulate upgrade`` would install."""
    return sum(1 for line in output.splitlines() if line.startswith(b"Inst "))


class AptCount:
    """Implements ``posture_ports.UpdateCount``: apt-get simulates an upgrade in a process of its own, at low priority."""

    def __init__(self, program: str) -> None:
        """Raises OSError when it cannot be started."""
        self._output = os.memfd_create("updates", os.MFD_CLOEXEC)
        self._ended = -1
        try:
            self._process = subprocess.Popen(
                ["nice", "-n", "19", program, "--simulate", "-o", "Debug::NoLocking=1", "dist-upgrade"],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
            self._ended = os.pidfd_open(self._process.pid)
            resource.prlimit(self._process.pid, resource.RLIMIT_CPU, (_COUNT_CPU_S, _COUNT_CPU_S))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._ended

    def result(self) -> int | None:
        code = self._process.poll()
        if code is None:
            return None
        return parse_count(os.pread(self._output, _COUNT_BYTES, 0)) if code == 0 else -1

    def close(self) -> None:
        process: subprocess.Popen[bytes] | None = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            process.wait()
        for fd in (self._output, self._ended):
            if fd >= 0:
                os.close(fd)
        self._output = self._ended = -1
