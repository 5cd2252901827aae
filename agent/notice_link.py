"""The agent's end of the child that shows notices to one user."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from agent import children
from agent.notice_wire import MAX_DATAGRAM, Show, Told, read_told
from agent.platform.posture_ports import Person

ANSWER_S = 15.0
"""A child that has not said by then whether a notice is shown is ended."""
MAX_AGE_S = 1800.0


class NoticeLink:
    """A child of its own for one user; it ends by itself when it has nothing to do."""

    def __init__(self, person: Person, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError."""
        self.person = person
        self._clock = clock
        self._began_s = clock()
        self._unanswered: dict[int, float] = {}
        arguments = map(str, (person.uid, person.gid, person.bus, *person.terminals))
        env = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        self._process, self._socket = children.start("agent.notice_child", *arguments, env=env)

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._socket.fileno()

    def show(self, notice: Show) -> bool:
        """Hand over a notice; False: the child takes nothing more."""
        try:
            self._socket.send(msgspec.msgpack.encode(notice), socket.MSG_NOSIGNAL)
        except OSError:
            return False
        self._unanswered[notice.id] = self._clock()
        return True

    def read(self) -> tuple[list[Told], bool]:
        """What the child said, and whether it has ended. What it left unanswered was not shown."""
        found: list[Told] = []
        while True:
            try:
                data = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return found, False
            except OSError:
                data = b""
            if not data:
                return [*found, *self.close()], True
            told = read_told(data)
            if told is not None:
                self._unanswered.pop(told.id, None)
                found.append(told)

    @property
    def is_late(self) -> bool:
        """Whether it hangs, or lives for too long."""
        now_s = self._clock()
        late = any(now_s - since > ANSWER_S for since in self._unanswered.values())
        return late or now_s - self._began_s > MAX_AGE_S

    def close(self) -> list[Told]:
        """End the child; returns what it never answered as failed."""
        state: Literal["failed"] = "failed"
        left = [Told(number, state) for number in self._unanswered]
        self._unanswered.clear()
        if self._socket.fileno() >= 0:
            children.end(self._process, self._socket)
        return left
