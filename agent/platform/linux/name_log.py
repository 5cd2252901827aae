"""Answers of name servers as they arrive: two packet sockets with a kernel filter (packet(7)).

A socket for one ethertype sees what comes in only, so nothing is added to what this PC sends. Loopback is left out: what a
forwarder on this PC answers came in from a server before. The filter lets through UDP and TCP from port 53 that is for this PC.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

from agent.platform.link_ports import Answer
from agent.platform.linux.dns_packets import parse_packet
from agent.platform.ports import UnsupportedError

_IPV4, _IPV6 = 0x0800, 0x86DD
_ATTACH_FILTER, _RCVBUFFORCE = 26, 33
_SOL_PACKET, _STATISTICS = 263, 6
_BUFFER = 512 * 1024
_BATCH = 256
"""Packets per call and socket, so that a flood cannot starve the agent's loop."""
_LARGEST = 65_535
_EARLY = 4096

_LD_W, _LD_H, _LD_B, _LD_H_IND, _LDX_HEADER = 0x20, 0x28, 0x30, 0x48, 0xB1
_JEQ, _JSET, _RET = 0x15, 0x45, 0x06
_TO_WHOM, _INTERFACE = 0xFFFFF004, 0xFFFFF008
"""Ancillary data: packet type (0 = for this PC), interface number (loopback is always 1)."""


def _filter(version: int) -> bytes:
    """Classic BPF; jumps count from the next instruction, and the last but one accepts."""
    code: list[tuple[int, int, int, int]] = [
        (_LD_W, 0, 0, _TO_WHOM), (_JEQ, 0, -1, 0),
        (_LD_W, 0, 0, _INTERFACE), (_JEQ, -1, 0, 1),
        (_LD_B, 0, 0, 9 if version == 4 else 6), (_JEQ, 1, 0, 17), (_JEQ, 0, -1, 6),
    ]  # fmt: skip
    if version == 4:
        # no later fragments; the header has its length in itself
        code += [(_LD_H, 0, 0, 6), (_JSET, -1, 0, 0x1FFF), (_LDX_HEADER, 0, 0, 0), (_LD_H_IND, 0, 0, 0)]
    else:
        code += [(_LD_H, 0, 0, 40)]
    code += [(_JEQ, 0, -1, 53), (_RET, 0, 0, _LARGEST), (_RET, 0, 0, 0)]
    end = len(code) - 1
    return b"".join(
        struct.pack("=HBBI", op, *(end - at - 1 if jump < 0 else jump for jump in (yes, no)), value)
        for at, (op, yes, no, value) in enumerate(code)
    )


class LinuxNameLog:
    """Implements ``link_ports.NameLog``. Raises UnsupportedError ``packet_socket_unsupported``."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        try:
            for version, kind in ((4, _IPV4), (6, _IPV6)):
                self._sockets.append(_listen(version, kind))
        except OSError as error:
            self.close()
            raise UnsupportedError(
                "packet_socket_unsupported", str(error), "run the agent as root"
            ) from error
        self.unread = 0
        """Packets that are no readable answers."""

    def filenos(self) -> tuple[int, ...]:
        """One descriptor for each IP version."""
        return tuple(one.fileno() for one in self._sockets)

    def answers(self) -> list[Answer]:
        """At most some hundred packets."""
        found: list[Answer] = []
        for one in self._sockets:
            for _ in range(_BATCH):
                try:
                    data = one.recv(_LARGEST)
                except BlockingIOError:
                    break
                answer = parse_packet(data)
                if answer is None:
                    self.unread += 1
                else:
                    found.append(answer)
        return found

    def lost(self) -> int:
        """Packets the kernel dropped since the last call."""
        return sum(
            struct.unpack("=II", one.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1] for one in self._sockets
        )

    def close(self) -> None:
        """Stop listening."""
        while self._sockets:
            self._sockets.pop().close()


def _listen(version: int, kind: int) -> socket.socket:
    """All interfaces. What came in before the filter was there is thrown away. Raises OSError."""
    flags = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    one = socket.socket(socket.AF_PACKET, flags, socket.htons(kind))
    try:
        code = _filter(version)
        buffer = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HL", len(code) // 8, ctypes.addressof(buffer))
        one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
        one.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        with contextlib.suppress(BlockingIOError):
            for _ in range(_EARLY):
                one.recv(1)
    except BaseException:
        one.close()
        raise
    return one
