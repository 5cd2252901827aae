"""A small PC for tests of the execution gate: an own ext4 root with a dpkg database and programs of 200 bytes."""

import contextlib
import errno
import hashlib
import os
import platform as machine
import select
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.platform import Platform
from agent.platform.execution_ports import Execution, GatePlan, GateReport
from tests.sticks import loop_stick, mount

REFUSED = -errno.EPERM
"""What :func:`run` returns for a program the gate refused."""
DPKG: dict[str, dict[str, tuple[str, ...]]] = {"dpkg": {"*": ()}}
"""Every dpkg package, for everybody."""

_EXIT = {
    "x86_64": (62, bytes.fromhex("31ff b83c000000 0f05")),
    "aarch64": (183, bytes.fromhex("000080d2 a80b80d2 010000d4")),
}
"""Machine → ELF machine number and code of exit(0)."""
_ET_EXEC, _ET_DYN, _PT_LOAD, _PT_INTERP = 2, 3, 1, 3


def program(note: str = "", *, interpreter: str = "", shared: bool = False) -> bytes:
    """A 64-bit ELF program that exits with 0. ``note`` makes its content unique."""
    number, code = _EXIT[machine.machine()]
    path = interpreter.encode() + b"\0" if interpreter else b""
    count = 2 if interpreter else 1
    start = 64 + 56 * count
    body = code + path
    size = start + len(body)
    base = 0 if shared else 0x400000
    kind = _ET_DYN if shared else _ET_EXEC
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", kind, number, 1, base + start, 64, 0, 0, 64, 56, count, 0, 0, 0)
    segments = b""
    if interpreter:
        at = start + len(code)
        segments += struct.pack("<IIQQQQQQ", _PT_INTERP, 4, at, base + at, base + at, len(path), len(path), 1)
    segments += struct.pack("<IIQQQQQQ", _PT_LOAD, 5, 0, base, base, size, size, 0x1000)
    return header + segments + body + note.encode()


class Pc:
    """The root, its package database, and a gate on it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._folder = folder
        self._stick = loop_stick(folder, "ROOT", size=128 << 20)
        node = self._stick.__enter__()
        mount(node, self.root)
        for name in ("usr/bin", "usr/lib", "etc", "home/yamada", "tmp", "var/lib/dpkg/info", "media"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "lib"):
            (self.root / name).symlink_to(f"usr/{name}")
        self.write("etc/passwd", b"root:x:0:0::/root:/bin/sh\nyamada:x:1000:1000::/home/yamada:/bin/sh\n")
        self.platform = Platform(state=folder / "state", run=folder / "run", root=self.root)
        self.seen: list[Execution] = []
        self.reports: list[GateReport] = []
        self.state: dict[str, str] = {}

    def write(self, name: str, content: bytes, mode: int = 0o644) -> str:
        """Write a file below the root; returns its absolute path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def install(self, package: str, files: dict[str, bytes], version: str = "1.0") -> None:
        """Install a package: its files, their checksums, its paragraph in the status file."""
        for name, content in files.items():
            self.write(name, content, 0o755)
        self.register(package, files, version)

    def register(self, package: str, files: dict[str, bytes], version: str = "1.0") -> None:
        """What dpkg writes down about a package."""
        info = self.root / "var/lib/dpkg/info"
        (info / f"{package}.list").write_text("/.\n" + "".join(f"/{name}\n" for name in files))
        sums = "".join(
            f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {name}\n"
            for name, content in files.items()
        )
        (info / f"{package}.md5sums").write_text(sums)
        status = self.root / "var/lib/dpkg/status"
        before = status.read_text() if status.exists() else ""
        paragraph = (
            f"Package: {package}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
        )
        new = status.with_name("status-new")
        new.write_text(before + paragraph)
        new.rename(status)

    def load(self, plan: GatePlan, wait: bool = True) -> None:
        """Hand the gate a plan and wait until it runs with it."""
        gate = self.platform.execution_gate
        before = len(self.reports)
        gate.load(plan)
        if wait:
            self.until(lambda: any(report.what == "started" for report in self.reports[before:]))
            self.until(lambda: self.state.get("gate") == "running")

    def until(self, done: Callable[[], Any], seconds: float = 15.0) -> None:
        """Look after the gate until ``done``; fails after ``seconds``."""
        deadline = time.monotonic() + seconds
        log, gate = self.platform.execution_log, self.platform.execution_gate
        while not done():
            assert time.monotonic() < deadline, (self.reports, self.state, self.seen[-5:])
            select.select([log.fileno(), gate.watch()], [], [], 0.05)
            self.pump()

    def pump(self) -> None:
        """Take what the gate said."""
        self.seen += self.platform.execution_log.executions()
        reports, self.state = self.platform.execution_gate.reports()
        self.reports += reports

    def pid(self, half: str) -> int:
        """Pid of the ``keeper`` or ``handler`` now."""
        return int(self.state[half])

    def close(self) -> None:
        """End the gate and unmount."""
        self.platform.execution_gate.stop()
        subprocess.run(["umount", "-R", str(self.root)], check=True)
        self._stick.__exit__(None, None, None)


@contextlib.contextmanager
def gated_pc(folder: Path) -> Iterator[Pc]:
    """A PC with the package ``good`` (two programs); ends its gate and unmounts at the end."""
    lab = Pc(folder)
    try:
        lab.install("good", {"usr/bin/good": program("good"), "usr/bin/other": program("other")})
        yield lab
    finally:
        lab.close()


def run(path: str, *arguments: str, uid: int | None = None) -> int:
    """Execute a file; returns its exit code, or minus the error number the execution was refused with."""
    child = os.fork()
    if child == 0:
        try:
            if uid is not None:
                os.setgid(uid)
                os.setuid(uid)
            os.execv(path, [path, *arguments])  # noqa: S606 - what is tested
        except OSError as problem:
            os._exit(128 + (problem.errno or 0))
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code > 128 else code


def start(path: str) -> int:
    """Begin to execute a file in a child of ours; returns its pid. It holds no descriptors: not the gate's either."""
    child = os.fork()
    if child == 0:
        try:
            os.closerange(3, 256)
            os.execv(path, [path])  # noqa: S606 - what is tested
        except OSError as problem:
            os._exit(128 + (problem.errno or 0))
        finally:
            os._exit(127)
    return child


def finish(child: int, seconds: float) -> int | None:
    """Wait for a child of :func:`start`; its code as from :func:`run`, None when it still hangs."""
    deadline = time.monotonic() + seconds
    fd = os.pidfd_open(child)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
    finally:
        os.close(fd)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code > 128 else code
