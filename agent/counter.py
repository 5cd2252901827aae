"""The counter (窓口): a local socket where users of the PC see what was refused to them and apply for a permit.

Anybody on the PC may connect; the kernel says who it is (SO_PEERCRED, unix(7)). One question a connection, small, soon.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.counter_wire import MAX_ANSWER, MAX_QUESTION, SOCKET, Answer, Denied, Question, read_question
from protocol.refusal import RefusedError

MAX_CLIENTS, MAX_PER_USER = 16, 4
DEADLINE_S = 5.0
QUESTIONS_PER_MINUTE = 60
MAX_USERS = 256
_PEER = struct.Struct("iII")
Answerer = Callable[[int, Question], Answer]
"""(user id, question) → answer; raises RefusedError."""


class _Client(Struct):
    socket: socket.socket
    uid: int
    until_s: float
    data: bytes = b""


class Counter:
    """The socket and its clients. Nothing here blocks, and nobody can keep others out for longer than a deadline."""

    def __init__(self, run: Path, answer: Answerer, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError when the socket cannot be made."""
        self._answer, self._clock = answer, clock
        self._clients: dict[int, _Client] = {}
        self._asked: OrderedDict[int, deque[float]] = OrderedDict()
        self._path = run / SOCKET
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # Everybody may pass through the folder to this name; what else is in it stays closed, and is not listed.
            run.chmod(0o711)
            self._listener.bind(str(self._path))
            self._path.chmod(0o666)
            self._listener.listen(MAX_CLIENTS)
        except OSError:
            self._listener.close()
            raise

    def filenos(self) -> list[int]:
        """Descriptors to wait on."""
        return [self._listener.fileno(), *self._clients]

    def read(self, fileno: int) -> None:
        """Let a client in, or hear one."""
        if fileno == self._listener.fileno():
            self._accept()
        elif fileno in self._clients:
            self._hear(self._clients[fileno])

    def tick(self) -> None:
        """End those who take too long."""
        now_s = self._clock()
        for client in list(self._clients.values()):
            if now_s >= client.until_s:
                self._end(client)

    def close(self) -> None:
        """Close up."""
        for client in list(self._clients.values()):
            self._end(client)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        accepted.setblocking(False)
        _, uid, _ = _PEER.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        client = _Client(accepted, uid, self._clock() + DEADLINE_S)
        of_user = sum(one.uid == uid for one in self._clients.values())
        if len(self._clients) >= MAX_CLIENTS or of_user >= MAX_PER_USER or not self._may_ask(uid):
            self._reply(client, Denied("overloaded", "too many questions; try again in a minute"))
            accepted.close()
            return
        self._clients[accepted.fileno()] = client

    def _may_ask(self, uid: int) -> bool:
        now_s = self._clock()
        asked = self._asked.setdefault(uid, deque(maxlen=QUESTIONS_PER_MINUTE))
        self._asked.move_to_end(uid)
        if len(self._asked) > MAX_USERS:
            self._asked.popitem(last=False)
        if len(asked) == QUESTIONS_PER_MINUTE and now_s - asked[0] < 60.0:  # noqa: PLR2004 - a minute
            return False
        asked.append(now_s)
        return True

    def _hear(self, client: _Client) -> None:
        try:
            data = client.socket.recv(MAX_QUESTION + 1)
        except BlockingIOError:
            return
        except OSError:
            self._end(client)
            return
        client.data += data
        if data and len(client.data) <= MAX_QUESTION:
            return
        try:
            answer = self._answer(client.uid, read_question(client.data))
        except RefusedError as refusal:
            answer = Denied(refusal.name, refusal.detail)
        self._reply(client, answer)
        self._end(client)

    @staticmethod
    def _reply(client: _Client, answer: Answer) -> None:
        """At most :data:`MAX_ANSWER` bytes, which a socket takes at once; a client that reads nothing gets nothing."""
        with contextlib.suppress(OSError):
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_ANSWER)
            client.socket.send(msgspec.msgpack.encode(answer), socket.MSG_NOSIGNAL)

    def _end(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        client.socket.close()


def put_question(run: Path, question: Question, *, within_s: float = DEADLINE_S) -> bytes:
    """Ask the counter of this PC. Raises OSError: there is none, or it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(within_s)
        client.connect(os.fspath(run / SOCKET))
        with contextlib.suppress(BrokenPipeError):  # it may have answered before it was asked: too busy
            client.sendall(msgspec.msgpack.encode(question))
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) <= MAX_ANSWER:
            try:
                data = client.recv(65536)
            except ConnectionResetError:
                if not answer:
                    raise
                break
            if not data:
                break
            answer += data
        return answer
