"""Raw netlink: message and attribute packing, one small socket class.

pyroute2 would cost the resident agent 20 MiB. Layouts: RFC 3549 and kernel ``include/uapi/linux/netlink.h``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from msgspec import Struct

from protocol.refusal import RefusedError

NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 0, 4, 12
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_KIND_MASK = 0x3FFF
_RCVBUFFORCE = 33
_LARGEST = 1 << 18


class Message(Struct, frozen=True):
    """One netlink message without its header; ``port`` is the sender's, or that of whose request it tells."""

    type: int
    port: int
    body: bytes
    sequence: int = 0


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes of a body by kind (the last one wins). Raises RefusedError ``truncated``."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > len(data):
            raise RefusedError("truncated", f"netlink attribute of {size} bytes at {at} of {len(data)}")
        found[kind & _KIND_MASK] = data[at + 4 : at + size]
        at += size + (-size % 4)
    return found


def messages(data: bytes) -> Iterator[Message]:
    """Messages of one datagram. Raises RefusedError ``truncated``."""
    at = 0
    while at + 16 <= len(data):
        size, kind, _flags, sequence, port = _HEADER.unpack_from(data, at)
        if size < 16 or at + size > len(data):
            raise RefusedError("truncated", f"netlink message of {size} bytes at {at} of {len(data)}")
        yield Message(kind, port, data[at + 16 : at + size], sequence)
        at += size + (-size % 4)


def error_of(message: Message) -> int | None:
    """Error number of an error message (0 = acknowledged); None when it is another kind of message."""
    if message.type != _ERROR or len(message.body) < 4:
        return None
    return -int(struct.unpack_from("=i", message.body)[0])


class NetlinkSocket:
    """A netlink socket of the calling thread's network namespace."""

    def __init__(self, protocol: int, *, groups: int = 0, buffer: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        try:
            if buffer:
                self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, buffer)
            self._socket.bind((0, groups))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._socket.fileno()

    def send(self, kind: int, flags: int, body: bytes) -> None:
        """Send one message."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(16 + len(body), kind, flags, self._sequence, 0) + body)

    def receive(self) -> bytes | None:
        """One datagram without waiting; None when there is none. Raises OSError (``ENOBUFS`` after a loss)."""
        try:
            return self._socket.recv(_LARGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def request(self, kind: int, flags: int, body: bytes) -> list[Message]:
        """Send a request and collect its answer. Raises OSError with the kernel's error number."""
        self.send(kind, flags | REQUEST, body)
        answer: list[Message] = []
        while True:
            for message in messages(self._socket.recv(_LARGEST)):
                if message.sequence != self._sequence:
                    continue  # what is left of a request that failed half-way
                if message.type == _DONE:
                    return answer
                if (code := error_of(message)) is not None:
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answer
                answer.append(message)
            if answer and not flags & (ACK | DUMP):
                return answer

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def lost(error: OSError) -> bool:
    """Tell whether a receive failed because the kernel had to drop messages."""
    return error.errno == errno.ENOBUFS
