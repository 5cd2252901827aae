"""The resident agent's side of the scan: starts the child when there is work, gives it one file at a time, ends it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import Struct

from agent import children
from agent.scan.job import GRACE_S, MESSAGE_BYTES, Finding, Job, Limits, State, encode, finding_decoder

START_S = 20.0
"""How long the child may take to start, beyond the time for the file."""
MAX_MARKS, MARK_CHARACTERS = 200, 64
"""Marks of labels handed to the child, and characters of each."""
MOST_FAILURES = 3
"""Children in a row that ended without one answer: then the sensor is told, which starts anew later."""

Marks = tuple[tuple[str, tuple[str, ...]], ...]


class _Waiting(Struct, frozen=True):
    number: int
    file: int
    name: str


class Scanner:
    """Files go in as open descriptors, which it closes; findings come out. Nothing here blocks."""

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._marks: Marks = ()
        self._queue: deque[_Waiting] = deque()
        self._number = 0
        self._current: int | None = None
        self._due_s = 0.0
        self._failures = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    @property
    def waiting(self) -> int:
        """Files not yet looked at."""
        return len(self._queue) + (self._current is not None)

    @property
    def pid(self) -> int:
        """Process id of the child; 0 while there is none."""
        return self._child.pid if self._child else 0

    def look_for(self, marks: Marks) -> None:
        """Labels to look for from the next file on; no more than :data:`MAX_MARKS` marks."""
        left, kept = MAX_MARKS, []
        for name, texts in marks:
            short = tuple(text[:MARK_CHARACTERS] for text in texts[:left])
            left -= len(short)
            if short:
                kept.append((name, short))
        self._marks = tuple(kept)

    def fileno(self) -> int:
        """Readable when a finding came; -1 while there is no child."""
        return self._channel.fileno() if self._channel else -1

    def submit(self, file: int, name: str) -> int:
        """Have a file looked at; returns the number of its finding. Raises OSError when no child can be started."""
        self._number += 1
        self._queue.append(_Waiting(self._number, file, name))
        self._next()
        return self._number

    def read(self) -> list[Finding]:
        """Findings that came. Raises OSError when no child can be started for the next file."""
        if self._channel is None:
            return []
        try:
            data = self._channel.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        found = self._given_up("unreadable") if not data else self._take(data)
        self._next()
        return found

    def tick(self) -> list[Finding]:
        """Give up on a file that takes too long; call about once a second. Raises OSError as :meth:`read`."""
        if self._current is None or self._clock() < self._due_s:
            return []
        found = self._given_up("too_slow")
        self._next()
        return found

    def close(self) -> None:
        """End the child and forget what waits."""
        self._end()
        while self._queue:
            os.close(self._queue.popleft().file)

    def _take(self, data: bytes) -> list[Finding]:
        """What the child says is not trusted: its form, that it is about the file in hand, that it names known labels.

        So what a file did to its reader can make it lie, but not carry the file's content out of the PC.
        """
        try:
            finding = finding_decoder.decode(data)
        except msgspec.DecodeError:
            return self._given_up("unreadable")
        known = {name for name, _ in self._marks}
        if finding.number != self._current or not known.issuperset(finding.labels):
            return self._given_up("unreadable")
        self._current, self._failures = None, 0
        return [finding]

    def _given_up(self, state: State) -> list[Finding]:
        number, self._current = self._current, None
        self._failures += number is not None
        self._end()
        return [] if number is None else [Finding(number=number, state=state)]

    def _next(self) -> None:
        """Hand the next file over, starting a child if there is none."""
        if self._current is not None or not self._queue:
            return
        fresh = self._channel is None
        channel = self._channel or self._start()
        waiting = self._queue.popleft()
        job = Job(number=waiting.number, name=waiting.name, marks=self._marks, limits=self._limits)
        try:
            socket.send_fds(channel, [encode(job)], [waiting.file])
        except OSError:
            # It ended for want of work just now: one more try with a new one.
            self._end()
            if fresh:
                os.close(waiting.file)
                raise
            self._queue.appendleft(waiting)
            self._next()
            return
        os.close(waiting.file)
        self._current = waiting.number
        self._due_s = self._clock() + self._limits.seconds + 2 * GRACE_S + START_S

    def _start(self) -> socket.socket:
        if self._failures >= MOST_FAILURES:
            self._failures = 0
            raise OSError(errno.ECHILD, "the scan child ends without an answer")
        self._child, self._channel = children.start("agent.scan")
        return self._channel

    def _end(self) -> None:
        if self._child is not None and self._channel is not None:
            children.end(self._child, self._channel)
        self._child = self._channel = None
