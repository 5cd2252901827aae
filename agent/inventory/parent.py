"""The resident agent's side of the inventory: hands work to a child, one at a time, and ends it when it takes too long."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from agent import children
from agent.inventory.job import (
    GO,
    MESSAGE_BYTES,
    Ended,
    Failed,
    Folders,
    Found,
    Job,
    Ready,
    encode,
    said_decoder,
)
from agent.platform.ports import SoftwareChange, SoftwareSource
from protocol.events import Event

if TYPE_CHECKING:
    from agent.platform import Platform

MAX_PATHS, MAX_BYTES = 512, 96 * 1024
"""More single programs than this waiting: the whole source is looked at instead."""
PACKETS = 16
"""Read in one turn of the loop."""

Watch = Callable[[SoftwareSource, Iterable[str]], bool]
Sieve = Callable[[list[str]], list[str]]


class Looker:
    """At most one child. Nothing here blocks; every method that starts or hears a child raises OSError when that fails.

    ``watch`` is given the folders to watch and says whether it could, ``sieve`` the single paths before a child is started for them, and returns
    those worth it. Two children begin at least ``pause_s`` apart; one is killed after ``seconds``.
    """

    def __init__(
        self,
        platform: Platform,
        watch: Watch,
        sieve: Sieve,
        *,
        nice: int,
        seconds: float,
        pause_s: float = 0.0,
    ) -> None:
        self._platform, self._watch, self._sieve = platform, watch, sieve
        self._nice, self._seconds, self._pause_s = nice, seconds, pause_s
        self._sources: dict[SoftwareSource, None] = {}
        self._paths: dict[str, None] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._due_s = self._next_s = 0.0
        self._all_watched = True
        self.complete = True
        """Could all folders be watched that the last look at whole sources found?"""

    @property
    def pid(self) -> int:
        """Process id of the child; 0 while there is none."""
        return self._child.pid if self._child else 0

    def fileno(self) -> int:
        """Readable when the child said something; -1 while there is none."""
        return self._channel.fileno() if self._channel else -1

    def put(self, changes: Iterable[SoftwareChange]) -> None:
        """Have changes looked at."""
        for change in changes:
            if not change.path:
                self._sources[change.source] = None
            elif "user_place" not in self._sources:
                self._paths[change.path] = None
        self._fold()
        self._next()

    def read(self) -> list[Event]:
        """Take what the child said."""
        events: list[Event] = []
        for _ in range(PACKETS):
            if self._channel is None:
                break
            try:
                data = self._channel.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:  # it ended before it read what it was told
                data = b""
            events += self._take(self._channel, data)
        return events

    def tick(self) -> None:
        """Give up on a child that takes too long, start one that is due; call about once a second."""
        if self._child is not None and time.monotonic() >= self._due_s:
            self._end()
            raise TimeoutError(errno.ETIMEDOUT, f"the inventory took more than {self._seconds:.0f} s")
        self._next()

    def close(self) -> None:
        """End the child and forget what waits."""
        self._sources.clear()
        self._paths.clear()
        self._end()

    def _take(self, channel: socket.socket, data: bytes) -> tuple[Event, ...]:
        """Hear one packet. What the child says has a form, and nothing else is done with it."""
        if not data:
            self._end()
            raise OSError(errno.ECHILD, "the inventory child ended without an answer")
        try:
            said = said_decoder.decode(data)
        except msgspec.DecodeError as problem:
            self._end()
            raise OSError(errno.EPROTO, f"the inventory child: {problem}") from problem
        match said:
            case Folders(source, folders):
                self._all_watched &= self._watch(source, map(os.fsdecode, folders))
            case Ready():
                self.complete = self._all_watched
                channel.send(GO)
            case Found(events):
                return events
            case Failed(detail):
                self._end()
                raise OSError(errno.ECHILD, f"the inventory child: {detail}")
            case Ended():
                self._end()
                self._next()
        return ()

    def _fold(self) -> None:
        if len(self._paths) > MAX_PATHS or sum(map(len, self._paths)) * 3 > MAX_BYTES:
            self._paths.clear()
            self._sources["user_place"] = None

    def _next(self) -> None:
        """Start a child if there is work and it is time."""
        now_s = time.monotonic()
        if self._child is not None or now_s < self._next_s or not (self._sources or self._paths):
            return
        paths = [] if "user_place" in self._sources else self._sieve(list(self._paths))
        sources = tuple(self._sources)
        self._sources.clear()
        self._paths.clear()
        if not (sources or paths):
            return
        job = Job(
            root=os.fsencode(self._platform.root),
            state=os.fsencode(self._platform.state),
            sources=sources,
            paths=tuple(map(os.fsencode, paths)),
            nice=self._nice,
        )
        self._all_watched = True if sources else self.complete
        self._due_s, self._next_s = now_s + self._seconds, now_s + self._pause_s
        self._start(encode(job))

    def _start(self, job: bytes) -> None:
        self._child, self._channel = children.start("agent.inventory")
        self._channel.send(job)

    def _end(self) -> None:
        if self._child is not None and self._channel is not None:
            child, channel = self._child, self._channel
            self._child = self._channel = None
            children.end(child, channel)
