"""Packets that firewall rules logged, read from an NFLOG group without a library.

Sources: kernel ``include/uapi/linux/netfilter/nfnetlink_log.h`` and ``net/netfilter/nfnetlink_log.c``. The kernel batches
100 packets or one second by default; a rule's ``queue-threshold`` can only lower the group's. So the group has
a high one and a short timer, and the rules whose packets are urgent say ``queue-threshold 1``.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Literal

from agent.platform.linux.netlink import (
    ACK,
    NETLINK_NETFILTER,
    REQUEST,
    NetlinkSocket,
    attribute,
    attributes,
    error_of,
    lost,
    messages,
)
from agent.platform.ports import OverflowedError, Packet, UnsupportedError
from protocol.refusal import RefusedError

_PACKET, _CONFIG = 0x400, 0x401
_COPY_BYTES = 128
_BUFFER = 4 << 20
_THRESHOLD, _TIMER_CS = 64, 10
_DATAGRAMS = 256
"""Datagrams per call, so that a flood cannot starve the agent's loop."""

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_WITH_PORTS = {6, 17, 33, 132, 136}
_EXTENSIONS = {0, 43, 51, 60}
_FRAGMENT = 44
_ECHO = {8, 128}
_LOCAL_IN = 1


def parse_payload(data: bytes) -> tuple[int, str, int, str, int]:
    """(protocol number, source, port, destination, port) of an IPv4 or IPv6 packet, perhaps cut or forged.

    What cannot be read is empty or 0. For ICMP the destination port is the type, the source port the echo identifier.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        number = data[9]
        source, target = (socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16))
        later = struct.unpack_from(">H", data, 6)[0] & 0x1FFF
        body = b"" if later else data[(data[0] & 0xF) * 4 :]
    elif version == 6 and len(data) >= 40:
        source, target = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
        number, body = _upper_layer(data)
    else:
        return 0, "", 0, "", 0
    source_port, target_port = _ports(number, body)
    return number, source, source_port, target, target_port


def _upper_layer(data: bytes) -> tuple[int, bytes]:
    """Walk the extension headers (RFC 8200 §4)."""
    number, at = data[6], 40
    while at + 8 <= len(data):
        if number == _FRAGMENT:
            if struct.unpack_from(">H", data, at + 2)[0] & 0xFFF8:
                return data[at], b""
            number, at = data[at], at + 8
        elif number in _EXTENSIONS:
            size = (data[at + 1] + 2) * 4 if number == 51 else (data[at + 1] + 1) * 8
            number, at = data[at], at + size
        else:
            break
    return number, data[at:]


def _ports(number: int, body: bytes) -> tuple[int, int]:
    if number in _WITH_PORTS and len(body) >= 4:
        return struct.unpack_from(">HH", body)
    if number in (1, 58) and body:
        identifier = struct.unpack_from(">H", body, 4)[0] if body[0] in _ECHO and len(body) >= 6 else 0
        return identifier, body[0]
    return 0, 0


def parse_packet(body: bytes) -> Packet:
    """One NFLOG message (without netlink header). Raises RefusedError ``truncated``."""
    if len(body) < 4:
        raise RefusedError("truncated", f"NFLOG message of {len(body)} bytes")
    found = attributes(body[4:])
    header = found.get(1, b"")
    direction: Literal["out", "in"] = "in" if len(header) >= 3 and header[2] == _LOCAL_IN else "out"
    number, source, source_port, target, target_port = parse_payload(found.get(9, b""))
    return Packet(
        prefix=found.get(10, b"").split(b"\0")[0].decode("ascii", "replace"),
        protocol=_PROTOCOLS.get(number, str(number)),
        src_ip=source,
        src_port=source_port,
        dest_ip=target,
        dest_port=target_port,
        uid=_number(found.get(11), -1),
        direction=direction,
        mark=_number(found.get(2), 0),
    )


def _number(value: bytes | None, missing: int) -> int:
    return int.from_bytes(value, "big") if value is not None and len(value) == 4 else missing


class NetfilterLog:
    """Reader of one NFLOG group.

    Raises UnsupportedError ``nflog_unsupported`` when the kernel has no NFLOG, ``nflog_busy`` when the group has a reader.
    """

    def __init__(self, group: int) -> None:
        try:
            self._netlink = NetlinkSocket(NETLINK_NETFILTER, buffer=_BUFFER)
        except OSError as error:
            raise UnsupportedError("nflog_unsupported", str(error), "run the agent as root") from error
        try:
            self._configure(group, attribute(1, b"\x01"))
            self._configure(group, attribute(2, struct.pack(">IBB", _COPY_BYTES, 2, 0)))
            self._configure(group, attribute(4, struct.pack(">I", _TIMER_CS)))
            self._configure(group, attribute(5, struct.pack(">I", _THRESHOLD)))
        except OSError as error:
            self.close()
            # the rights were there a moment ago, for the buffer: so the group is another socket's
            if error.errno in (errno.EBUSY, errno.EPERM):
                raise UnsupportedError("nflog_busy", f"NFLOG group {group} has a reader already") from error
            raise UnsupportedError("nflog_unsupported", str(error), "modprobe nfnetlink_log") from error
        self.garbled = 0
        """Messages that could not be read."""

    def _configure(self, group: int, option: bytes) -> None:
        self._netlink.request(_CONFIG, REQUEST | ACK, struct.pack(">BBH", 0, 0, group) + option)

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._netlink.fileno()

    def packets(self) -> Iterator[Packet]:
        """What was logged since, at most some hundred datagrams. Raises OverflowedError after a loss."""
        for _ in range(_DATAGRAMS):
            try:
                data = self._netlink.receive()
            except OSError as error:
                if lost(error):
                    raise OverflowedError("NFLOG") from error
                raise
            if data is None:
                return
            yield from self._read(data)

    def _read(self, data: bytes) -> Iterator[Packet]:
        try:
            for message in messages(data):
                if message.type == _PACKET:
                    yield parse_packet(message.body)
                elif error_of(message):
                    self.garbled += 1
        except RefusedError:
            self.garbled += 1

    def close(self) -> None:
        """Leave the group."""
        self._netlink.close()
