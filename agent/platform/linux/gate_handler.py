"""The handler of the execution gate: answers the kernel, then tells the agent. Standard library only."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time

from agent.platform.linux.fanotify import Group
from agent.platform.linux.gate_caller import Caller
from agent.platform.linux.gate_content import LargeError, Reading, Readings
from agent.platform.linux.gate_judge import ON_MEDIA, UNSURE, Judge, Verdict, is_loader, path_of
from agent.platform.linux.gate_pair import (
    BEAT,
    BEAT_S,
    COUNTERS,
    LOAD,
    LOADED,
    MARKED,
    NAMESPACE,
    POLL_S,
    SILENCE_S,
    Shared,
    hear,
    tell,
)
from agent.platform.linux.gate_wire import (
    DATAGRAM_LIMIT,
    DENIED,
    RECORDS,
    UNCOVERED,
    Record,
    encode_record,
)
from agent.platform.linux.gate_wire import (
    ON_MEDIA as MEDIA_FLAG,
)

FLUSH_S = 0.02
"""Records are sent when nothing was asked for so long: an answer wakes a program on this very processor, so whatever is
done right after it delays that program."""
FLUSH_AT, OLD_US = 64, 100_000
"""So many records, or one so old, are sent even though questions keep coming."""
BACKLOG = 4096
"""Records kept while the agent does not read; more are counted as dropped, never waited for."""
MARK_S = 0.2
"""How long a program in a mount namespace of its own waits until that is marked."""
_PENDING = 4096


class Handler:
    """Reads both groups until the keeper is gone."""

    def __init__(self, shared: Shared, keeper: socket.socket, keeper_pid: int) -> None:
        self._shared = shared
        self._keeper = keeper
        self._keeper_pid = keeper_pid
        self._judge = Judge(shared.options.root, closed=shared.options.closed, beat=self._beat)
        self._poller = select.epoll()
        private = (keeper.fileno(), shared.trusted.fd, shared.foreign.fd, self._poller.fileno())
        self._readings = Readings(self._poller, private)
        self._interpreters: dict[int, bytes] = {}
        self._records: list[Record] = []
        self._backlog: list[bytes] = []
        self._answered = self._denied = self._dropped = 0
        self._beat_at = 0.0
        self._heard_at = time.monotonic()
        self._marked = False
        self._namespaces: dict[int, int] = {}
        self._own_mounts = os.stat("/proc/self/ns/mnt").st_ino

    def run(self) -> str:
        """Answer until the keeper is gone; returns how it was lost (``died`` or ``hung``)."""
        lost = self._serve()
        self._readings.abandon(allow=not self._shared.options.closed)
        self._flush()
        self._poller.close()
        return lost

    def _serve(self) -> str:
        self._load()
        poller = self._poller
        trusted, foreign = self._shared.trusted, self._shared.foreign
        for fd in (trusted.fd, foreign.fd, self._keeper.fileno()):
            poller.register(fd, select.EPOLLIN)
        while True:
            waiting = bool(self._records or self._backlog)
            ready = {fd for fd, _ in poller.poll(FLUSH_S if waiting else POLL_S)}
            for group in (trusted, foreign):
                if group.fd in ready:
                    self._answer_all(group)
            if self._readings:
                self._take_read(ready)
            if self._keeper.fileno() in ready and not self._listen():
                return "died"
            if waiting and (not ready or len(self._records) >= FLUSH_AT or self._records_are_old()):
                self._flush()
            self._beat()
            if time.monotonic() - self._heard_at > SILENCE_S and not self._keeper_is_late():
                return "hung"

    def _records_are_old(self) -> bool:
        return bool(self._records) and time.time_ns() // 1000 - self._records[0].time_us > OLD_US

    def _answer_all(self, group: Group) -> None:
        for _, fd, pid in group.read():
            if fd >= 0:
                self._answer(group, fd, pid)
                self._beat()

    def _answer(self, group: Group, fd: int, pid: int) -> None:
        if group is self._shared.foreign:
            self._decide(group, fd, pid, path_of(fd), ON_MEDIA)
            return
        try:
            path, verdict = self._judge.verdict(fd)
        except LargeError as large:
            if self._readings.start(Reading(group, fd, pid, large.identity)):
                return
            path, verdict = path_of(fd), UNSURE
        self._decide(group, fd, pid, path, verdict)

    def _take_read(self, ready: set[int]) -> None:
        """Answer the questions whose large files have been read."""
        for reading, content in self._readings.finished(ready):
            path, verdict = path_of(reading.fd), UNSURE
            if content is not None:
                self._judge.learn(reading.identity, content)
                with contextlib.suppress(LargeError):  # it was changed meanwhile
                    path, verdict = self._judge.verdict(reading.fd)
            self._decide(reading.group, reading.fd, reading.pid, path, verdict)

    def _decide(self, group: Group, fd: int, pid: int, path: bytes, verdict: Verdict) -> None:
        awaited = self._interpreters.pop(pid, None)
        self._answered += 1
        if awaited == path and not verdict.reason:
            # The kernel opens the interpreter of a program that was allowed just now: no execution of its own.
            group.answer(fd, allow=True)
            os.close(fd)
            self._await(pid, verdict)
            return
        caller = Caller(pid)
        reason, package = self._reason(verdict, path, caller)
        denied = bool(reason) and self._judge.enforcing
        if not denied and caller.namespace not in (0, self._own_mounts):
            self._look_at_namespace(pid, caller.namespace)
        group.answer(fd, allow=not denied)
        os.close(fd)
        if not denied:
            self._await(pid, verdict)
        self._denied += denied
        flags = (DENIED if denied else 0) | (UNCOVERED if reason else 0)
        flags |= MEDIA_FLAG if verdict is ON_MEDIA else 0
        self._log((pid, caller.ppid, caller.uid, flags, reason, verdict.digest), caller, path, package)

    def _reason(self, verdict: Verdict, path: bytes, caller: Caller) -> tuple[str, bytes]:
        """Why not (empty = may), and the package that covers it."""
        reason = verdict.reason_for(caller.uid)
        if reason:
            script_of = self._judge.maintainer_script(path, caller.uid, caller.exe)
            return ("", script_of) if script_of else (reason, b"")
        # Called by name, the loader would run any file, and that file is never asked about. Root's tools need it (ldd).
        return ("no_cover", b"") if caller.uid != 0 and is_loader(path) else ("", verdict.package)

    def _await(self, pid: int, verdict: Verdict) -> None:
        if verdict.interpreter:
            if len(self._interpreters) >= _PENDING:
                del self._interpreters[next(iter(self._interpreters))]
            self._interpreters[pid] = verdict.interpreter

    def _log(
        self, facts: tuple[int, int, int, int, str, bytes], caller: Caller, path: bytes, package: bytes
    ) -> None:
        if len(self._backlog) >= BACKLOG:
            self._dropped += 1
            return
        self._records.append(
            Record(time.time_ns() // 1000, *facts, caller.exe, caller.cmdline, path, package)
        )

    def _flush(self) -> None:
        """Send what the agent's socket takes; never waits. Datagrams grow with the backlog."""
        self._backlog += map(encode_record, self._records)
        self._records.clear()
        while self._backlog:
            size, count = 1, 0
            for record in self._backlog:
                if size + len(record) > DATAGRAM_LIMIT:
                    break
                size += len(record)
                count += 1
            try:
                datagram = RECORDS + b"".join(self._backlog[:count])
                self._shared.log.send(datagram, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:  # full, or no agent just now: they stay in the bounded backlog
                return
            del self._backlog[:count]

    def _look_at_namespace(self, pid: int, namespace: int) -> None:
        """Before a process in a mount namespace of its own goes on, have marked what was mounted there since.

        Otherwise ``unshare --mount``, a fresh tmpfs and a copy onto it would be a way around the gate.
        """
        try:
            with open(b"/proc/%d/mountinfo" % pid, "rb") as file:
                table = hash(file.read())
        except OSError:
            return
        if self._namespaces.get(namespace) != table:
            if len(self._namespaces) >= _PENDING:
                self._namespaces.clear()
            self._namespaces[namespace] = table
            tell(self._keeper, NAMESPACE + b"%d" % pid)
            self._await_marks()

    def _await_marks(self) -> None:
        """Wait a little for the keeper; it may be held up by a file system that hangs, and nobody must wait for that."""
        self._marked = False
        poller = select.poll()
        poller.register(self._keeper.fileno(), select.POLLIN)
        until = time.monotonic() + MARK_S
        while not self._marked and (left := until - time.monotonic()) > 0:
            if poller.poll(left * 1000) and not self._listen():
                return

    def _listen(self) -> bool:
        while (message := hear(self._keeper)) is not None:
            if not message:
                return False
            self._heard_at = time.monotonic()
            if message == MARKED:
                self._marked = True
            elif message == LOAD:
                self._load()
        return True

    def _load(self) -> None:
        try:
            self._judge.load(self._shared.options.list_path)
        except (OSError, ValueError) as problem:
            tell(self._keeper, LOADED + str(problem).encode("utf-8", "replace"))
        else:
            tell(self._keeper, LOADED)

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            tell(self._keeper, BEAT + COUNTERS.pack(self._answered, self._denied, self._dropped))

    def _keeper_is_late(self) -> bool:
        """After silence: False when the keeper was ended. It is our parent; another parent means it is gone already."""
        if self._listen() and time.monotonic() - self._heard_at <= SILENCE_S:
            return True
        if os.getppid() == self._keeper_pid:
            os.kill(self._keeper_pid, signal.SIGKILL)
        return False
