"""The keeper of the execution gate: marks file systems, watches the handler, talks to the agent. Standard library only."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

from agent.platform.linux.gate_marks import Marks
from agent.platform.linux.gate_pair import (
    BEAT,
    BEAT_S,
    COUNTERS,
    LOAD,
    LOADED,
    MARKED,
    NAMESPACE,
    POLL_S,
    QUIT,
    RELOAD,
    SILENCE_S,
    Shared,
    hear,
    tell,
)
from agent.platform.linux.gate_wire import encode_report

REPORT_S = 2.0


class Keeper:
    """Watches one handler until it is gone."""

    def __init__(self, shared: Shared, handler: socket.socket, pid: int) -> None:
        self._shared = shared
        self._handler = handler
        self._pid = pid
        options = shared.options
        self._marks = Marks(shared.trusted, shared.foreign, options.root, options.sys)
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._counters = (0, 0, 0)
        self._beat_at = self._report_at = 0.0
        self._heard_at = time.monotonic()
        self._loaded = False

    def run(self, lost: str) -> None:
        """Keep the handler until it ends. ``lost``: how the keeper before was lost, empty if there was none."""
        self._write_pids()
        if lost:
            self._report("keeper_lost", cause=lost)
        try:
            self._watch()
        finally:
            os.close(self._mounts)

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self._handler.fileno(), select.POLLIN)
        poller.register(self._mounts, select.POLLPRI)
        poller.register(self._shared.command.fileno(), select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll(POLL_S * 1000)}
            if self._handler.fileno() in ready and not self._listen():
                self._bury("died")
                return
            if self._mounts in ready and self._loaded:
                self._sync()
            if self._shared.command.fileno() in ready and not self._obey():
                poller.unregister(self._shared.command.fileno())
            self._beat()
            if time.monotonic() - self._heard_at > SILENCE_S:
                stopped = _state(self._pid) == "T"
                os.kill(self._pid, signal.SIGKILL)
                self._bury("stopped" if stopped else "hung")
                return

    def _listen(self) -> bool:
        namespaces: list[int] = []
        while (message := hear(self._handler)) is not None:
            if not message:
                return False
            self._heard_at = time.monotonic()
            kind, body = message[:1], message[1:]
            if kind == BEAT:
                self._counters = COUNTERS.unpack(body)
            elif kind == NAMESPACE:
                namespaces.append(int(body))
            elif kind == LOADED:
                self._list_loaded(body.decode("utf-8", "replace"))
        for pid in namespaces:
            self._marks.sync_process(pid)
            tell(self._handler, MARKED)
        return True

    def _list_loaded(self, problem: str) -> None:
        """Nothing is marked before a handler has a list; a handler that replaces one finds the marks in place."""
        self._report("loaded" if not problem else "load_failed", why=problem)
        if not problem:
            self._loaded = True
            self._sync()

    def _sync(self) -> None:
        os.lseek(self._mounts, 0, os.SEEK_SET)
        table = bytearray()
        while chunk := os.read(self._mounts, 65536):
            table += chunk
        self._marks.sync(bytes(table))
        self._status()

    def _obey(self) -> bool:
        """Carry out commands; False when the agent is gone and the gate stays without it (fail mode closed)."""
        while (message := hear(self._shared.command)) is not None:
            if message == RELOAD:
                tell(self._handler, LOAD)
            elif message == QUIT or (not message and not self._shared.options.closed):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                sys.exit(0)
            elif not message:
                return False
        return True

    def _bury(self, cause: str) -> None:
        """Reap the handler and settle by the fail mode what it had not answered."""
        _, status = os.waitpid(self._pid, 0)
        allow = not self._shared.options.closed
        settled = self._shared.trusted.settle(allow=allow) + self._shared.foreign.settle(allow=allow)
        code = os.waitstatus_to_exitcode(status)
        if cause == "died" and code >= 0:
            cause = "crashed"
        self._report("handler_lost", cause=cause, code=code, settled=settled, allowed=int(allow))

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            tell(self._handler, BEAT)
        if now - self._report_at >= REPORT_S:
            self._status()

    def _status(self) -> None:
        self._report_at = time.monotonic()
        answered, denied, dropped = self._counters
        unmarked = "; ".join(f"{where}: {why}" for where, why in self._marks.failed.items())
        self._report(
            "status",
            keeper=os.getpid(),
            handler=self._pid,
            answered=answered,
            denied=denied,
            dropped=dropped,
            marks=len(self._marks),
            unmarked=unmarked,
        )

    def _report(self, what: str, **values: object) -> None:
        tell(self._shared.log, encode_report({"what": what, **values}))

    def _write_pids(self) -> None:
        """Leave a trace by which a fresh agent finds this pair: pid and start time of each."""
        path = self._shared.options.pid_path
        lines = "".join(f"{pid} {start_time(pid)}\n" for pid in (os.getpid(), self._pid))
        fd = os.open(
            path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            os.write(fd, lines.encode())
        finally:
            os.close(fd)
        os.replace(path + ".new", path)


def start_time(pid: int) -> str:
    """Start time of a process in clock ticks after boot (proc(5)): with the pid it names one process for ever."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, from ``state`` on; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
