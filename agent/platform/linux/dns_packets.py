"""Answers of name servers out of IP packets (RFC 1035 §4, RFC 3596). Pure, bounded; whatever is malformed is None."""

from __future__ import annotations

import ipaddress
import struct

from agent.platform.link_ports import Answer

MAX_ANSWERS = 16
_PORT = 53
_MAX_RECORDS, _MAX_LABELS = 64, 128
_MAX_TTL_S = 7 * 86_400
_UDP, _TCP = 17, 6
_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 43: "DS", 48: "DNSKEY",
    64: "SVCB", 65: "HTTPS", 255: "ANY",
}  # fmt: skip
_RCODES = {0: "noerror", 2: "servfail", 3: "nxdomain", 5: "refused"}
_NAMED = {2: 0, 5: 0, 12: 0, 15: 2, 33: 6}
"""Record types whose data is a name, and where in the data it begins."""


class MalformedError(ValueError):
    """Not a DNS message."""


def parse_packet(data: bytes) -> Answer | None:
    """An IPv4 or IPv6 packet from a name server; None when it is no answer to one question."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        protocol, body, source = data[9], data[(data[0] & 0xF) * 4 :], data[12:16]
    elif version == 6 and len(data) >= 40:
        protocol, body, source = data[6], data[40:], data[8:24]
    else:
        return None
    if len(body) < 8 or struct.unpack_from(">H", body)[0] != _PORT:
        return None
    (port,) = struct.unpack_from(">H", body, 2)
    message = _datagram(body) if protocol == _UDP else _segment(body) if protocol == _TCP else b""
    try:
        return _answer(message, str(ipaddress.ip_address(source)), port, tcp=protocol == _TCP)
    except (MalformedError, struct.error, IndexError):
        return None


def _datagram(body: bytes) -> bytes:
    return body[8 : max(8, struct.unpack_from(">H", body, 4)[0])]


def _segment(body: bytes) -> bytes:
    """A message that begins and ends in one segment; longer ones are not put together."""
    if len(body) < 20:
        return b""
    stream = body[(body[12] >> 4) * 4 :]
    if len(stream) < 2:
        return b""
    (size,) = struct.unpack_from(">H", stream)
    return stream[2 : 2 + size] if len(stream) >= 2 + size else b""


def _answer(message: bytes, server: str, port: int, *, tcp: bool) -> Answer:
    if len(message) < 12:
        raise MalformedError("header")
    flags, questions, records = struct.unpack_from(">HHH", message, 2)
    if not flags & 0x8000 or flags & 0x7800 or questions != 1:
        raise MalformedError("no answer to a query")
    query, at = read_name(message, 12)
    kind, _class = struct.unpack_from(">HH", message, at)
    texts, addresses = _records(message, at + 4, min(records, _MAX_RECORDS))
    return Answer(
        server=server,
        port=port,
        protocol="tcp" if tcp else "udp",
        query=query,
        query_type=_TYPES.get(kind, f"TYPE{kind}"),
        rcode=_RCODES.get(flags & 0xF, "other"),
        answers=tuple(texts[:MAX_ANSWERS]),
        addresses=tuple(addresses),
    )


def _records(message: bytes, at: int, count: int) -> tuple[list[str], list[tuple[str, int]]]:
    """What the answer section says; one cut off in the middle counts as far as it goes."""
    texts: list[str] = []
    addresses: list[tuple[str, int]] = []
    for _ in range(count):
        try:
            _, at = read_name(message, at)
            kind, _class, ttl, size = struct.unpack_from(">HHIH", message, at)
            at += 10
            if at + size > len(message):
                break
            if (kind, size) in {(1, 4), (28, 16)}:
                address = str(ipaddress.ip_address(message[at : at + size]))
                addresses.append((address, min(ttl, _MAX_TTL_S)))
                texts.append(address)
            elif kind in _NAMED and size > _NAMED[kind]:
                texts.append(read_name(message, at + _NAMED[kind])[0])
            at += size
        except (MalformedError, struct.error, IndexError):
            break
    return texts, addresses


def read_name(message: bytes, at: int) -> tuple[str, int]:
    r"""A name, lower case, without the last dot, and where what follows begins. Raises MalformedError, IndexError.

    What is not printable is written ``\ddd`` (RFC 1035 §5.1). Pointers lead backwards only, so they come to an end.
    """
    labels: list[str] = []
    after, limit, length = 0, at, 0
    for _ in range(_MAX_LABELS):
        size = message[at]
        if size == 0:
            return ".".join(labels)[:253], after or at + 1
        if size & 0xC0 == 0xC0:
            after = after or at + 2
            target = (size & 0x3F) << 8 | message[at + 1]
            if target >= limit:
                raise MalformedError("a pointer leads forward")
            at = limit = target
            continue
        length += size + 1
        if size & 0xC0 or length > 255 or at + 1 + size > len(message):
            raise MalformedError("label")
        labels.append(_label(message[at + 1 : at + 1 + size]))
        at += 1 + size
    raise MalformedError("too many labels")


def _label(raw: bytes) -> str:
    if raw.isalnum() and raw.isascii():
        return raw.decode("ascii").lower()
    return "".join(
        chr(one).lower() if 0x21 <= one < 0x7F and one not in b".\\" else f"\\{one:03}" for one in raw
    )
