"""Frames from a packet socket with a filter in the kernel (packet(7), ``Documentation/networking/filter.rst``).

libpcap and scapy stay out of the resident agent: what is let through is little, and read by ``agent.lan.frames``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Iterator

from agent.platform.ports import UnsupportedError

SHOWS_MACHINES = (
    "40 0 0 12,21 37 0 2054,21 0 18 34525,48 0 0 20,21 0 3 58,48 0 0 54,53 0 4 133,37 3 31 136,21 0 2 0,48 0 0 54,"
    "21 28 0 58,48 0 0 20,21 0 27 17,40 0 0 54,21 24 0 67,21 23 0 68,21 22 0 546,21 21 0 547,21 20 0 5353,40 0 0 56,"
    "21 18 14 67,21 0 18 2048,48 0 0 23,21 0 16 17,40 0 0 20,69 14 0 8191,177 0 0 14,72 0 0 14,21 10 0 67,21 9 0 68,"
    "21 8 0 546,21 7 0 547,21 6 0 5353,72 0 0 16,21 4 0 67,21 3 0 68,21 2 0 546,21 1 0 547,21 0 1 5353,6 0 0 1514,6 0 0 0"
)
"""What tcpdump 4.99.3 makes (``-s 1514 -y EN10MB -ddd``, lines joined by commas, without the first: their number) of

    arp or (ip6 and (ip6[6] == 58 and ip6[40] >= 133 and ip6[40] <= 136)) or (ip6 and ip6[6] == 0 and ip6[40] == 58)
    or (udp and (port 67 or port 68 or port 546 or port 547 or port 5353))

ARP, NDP, multicast listener reports (the first an IPv6 machine sends), DHCP, DHCPv6 and mDNS.
"""
NAMES_SWITCH = "40 0 0 12,21 4 0 35020,32 0 0 2,21 0 3 214748364,40 0 0 0,21 0 1 256,6 0 0 1514,6 0 0 0"
"""Likewise of ``ether proto 0x88cc or ether dst 01:00:0c:cc:cc:cc``: LLDP and CDP."""

BUFFER = 2 << 20
_LONGEST = 1514
_ALL = 0x0003
_SOL_PACKET, _STATISTICS, _IGNORE_OUTGOING, _ADD_MEMBERSHIP = 263, 6, 23, 1
_ATTACH_FILTER, _RCVBUFFORCE = 26, 33
_ALL_MULTICAST = 2
_GONE = frozenset((errno.ENETDOWN, errno.ENXIO, errno.ENODEV))


class PacketCapture:
    """Implements ``lan_ports.Capture``. Raises UnsupportedError ``capture_unsupported``; OSError without the interface."""

    def __init__(self, interface: str, program: str = SHOWS_MACHINES, *, buffer: int = BUFFER) -> None:
        try:
            # Protocol 0 takes nothing in until bind, so no frame passes before the filter stands.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            raise UnsupportedError("capture_unsupported", str(error), "run the agent as root") from error
        try:
            _attach(self._socket, program)
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, buffer)
            with contextlib.suppress(OSError):  # before Linux 4.20 own frames are told apart by the caller
                self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.bind((interface, _ALL))
            # The network card lets only its own groups through; mDNS, DHCPv6 and LLDP are others'.
            index = socket.if_nametoindex(interface)
            self._socket.setsockopt(
                _SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", index, _ALL_MULTICAST, 0, b"")
            )
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._socket.fileno()

    def frames(self, most: int) -> Iterator[bytes]:
        """What waits, at most so many. An interface that is only down for a while has nothing to tell."""
        for _ in range(most):
            try:
                frame, origin = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    return
                raise
            if origin[2] != socket.PACKET_OUTGOING:
                yield frame

    def lost(self) -> int:
        """Frames dropped because the buffer was full; reading sets the kernel's count back."""
        _packets, drops = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        return int(drops)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _attach(one: socket.socket, program: str) -> None:
    """Put a classic BPF program before the socket (``struct sock_fprog``)."""
    code = b"".join(struct.pack("HBBI", *map(int, line.split())) for line in program.split(","))
    instructions = ctypes.create_string_buffer(code, len(code))
    one.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(code) // 8, ctypes.addressof(instructions))
    )
