"""What the two processes of the execution gate share. Standard library only."""

from __future__ import annotations

import socket
from collections import namedtuple
from struct import Struct

from agent.platform.linux.fanotify import Group

BEAT_S = 0.5
"""How often each process of the pair says that it lives."""
SILENCE_S = 2.5
"""So much silence means hung: the other one is killed."""
POLL_S = 0.5

BEAT, LOADED, NAMESPACE, MARKED, LOAD = b"H", b"L", b"N", b"M", b"R"
"""Messages inside the pair: heartbeat with counters; list loaded (or why not); a process whose mount namespace is to be
looked at, and that this was done; load the list again."""
COUNTERS = Struct("<QQQ")
"""Answered, denied, records dropped."""
QUIT, RELOAD = b"Q", b"R"
"""Commands of the agent."""

_Options = namedtuple("_Options", "root sys list_path pid_path closed log_fd command_fd")  # noqa: PYI024 - see gate_wire


class Options(_Options):
    """How the gate was started."""

    __slots__ = ()

    def arguments(self) -> list[str]:
        """As command line; :meth:`parse` is the reverse."""
        return [str(int(value)) if isinstance(value, bool) else str(value) for value in self]

    @classmethod
    def parse(cls, arguments: list[str]) -> Options:
        """Read the command line. Raises ValueError."""
        root, sys, list_path, pid_path, closed, log_fd, command_fd = arguments
        return cls(root, sys, list_path, pid_path, closed == "1", int(log_fd), int(command_fd))


class Shared:
    """Descriptors and options both processes hold."""

    def __init__(
        self, options: Options, trusted: Group, foreign: Group, log: socket.socket, command: socket.socket
    ) -> None:
        self.options = options
        self.trusted = trusted
        self.foreign = foreign
        self.log = log
        self.command = command


def tell(peer: socket.socket, message: bytes) -> None:
    """Send without blocking; a peer that does not read, or is gone, is found out by its silence."""
    try:
        peer.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return


def hear(peer: socket.socket) -> bytes | None:
    """Return one message, None when there is none; an empty one means that the other side is gone."""
    try:
        return peer.recv(65536, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
