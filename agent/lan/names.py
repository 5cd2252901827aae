"""What DHCP, DHCPv6 and mDNS payloads tell of a machine: its name, and by which options it asks.

Sources: RFC 2131 §2 and RFC 2132 (DHCP), RFC 8415 §8 and §21 (DHCPv6), RFC 1035 §4.1 and RFC 6762 §18 (mDNS).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

from protocol.refusal import RefusedError

_BOOTREQUEST, _BOOTREPLY = 1, 2
_COOKIE_AT, _OPTIONS_AT = 236, 240
_COOKIE = b"\x63\x82\x53\x63"
_PAD, _END = 0, 255
_NAME, _ASKED_IP, _ASKED_OPTIONS, _VENDOR = 12, 50, 55, 60
_ORO, _VENDOR6, _FQDN6 = 6, 16, 39
_SOLICIT, _INFORM = 1, 11
_MOST_OPTIONS = 64
_MOST_RECORDS, _MOST_LABELS = 32, 32
_ADDRESS_RECORDS = frozenset((1, 28))
_LONGEST = 256


class Facts(Struct, frozen=True):
    """What a lease protocol tells."""

    ip: str = ""
    hostname: str = ""
    fingerprint: str = ""


def dhcp_facts(payload: bytes, mac: str) -> Facts:
    """A DHCP message. Raises RefusedError ``truncated`` or ``malformed_body``."""
    if len(payload) < _OPTIONS_AT:
        raise RefusedError("truncated", "DHCP")
    if payload[_COOKIE_AT:_OPTIONS_AT] != _COOKIE or payload[0] not in (_BOOTREQUEST, _BOOTREPLY):
        raise RefusedError("malformed_body", "DHCP")
    if payload[0] == _BOOTREPLY or any(payload[24:28]) or payload[28:34].hex(":") != mac:
        return Facts()  # a server, a relay or a forger: what stands in it is somebody else's
    found = dict(_options(payload))
    asked = found.get(_ASKED_OPTIONS, b"")
    ip = found.get(_ASKED_IP, b"") if not any(payload[12:16]) else payload[12:16]
    fingerprint = _fingerprint("", asked, found.get(_VENDOR, b""))
    address = ".".join(map(str, ip)) if len(ip) == 4 and any(ip) else ""  # noqa: PLR2004 - IPv4
    return Facts(address, _text(found.get(_NAME, b"")), fingerprint)


def _options(payload: bytes) -> Iterator[tuple[int, bytes]]:
    at = _OPTIONS_AT
    for _ in range(_MOST_OPTIONS):
        while at < len(payload) and payload[at] == _PAD:
            at += 1
        if at >= len(payload) or payload[at] == _END:
            return
        if at + 2 > len(payload) or at + 2 + payload[at + 1] > len(payload):
            raise RefusedError("truncated", "DHCP option")
        yield payload[at], payload[at + 2 : at + 2 + payload[at + 1]]
        at += 2 + payload[at + 1]


def dhcp6_facts(payload: bytes) -> Facts:
    """A DHCPv6 message. Raises RefusedError ``truncated``."""
    if len(payload) < 4:  # noqa: PLR2004 - RFC 8415 §8
        raise RefusedError("truncated", "DHCPv6")
    if not _SOLICIT <= payload[0] <= _INFORM or payload[0] in (2, 7, 10):
        return Facts()  # a server or a relay
    found: dict[int, bytes] = {}
    at = 4
    while at < len(payload) and len(found) < _MOST_OPTIONS:
        if at + 4 > len(payload):
            raise RefusedError("truncated", "DHCPv6 option")
        code, size = struct.unpack_from(">HH", payload, at)
        if at + 4 + size > len(payload):
            raise RefusedError("truncated", "DHCPv6 option")
        found[code] = payload[at + 4 : at + 4 + size]
        at += 4 + size
    name = _labels(found.get(_FQDN6, b"")[1:], 0)[0]
    return Facts(
        "", name.partition(".")[0], _fingerprint("v6:", found.get(_ORO, b""), found.get(_VENDOR6, b"")[6:])
    )


def mdns_hostname(payload: bytes) -> str:
    """The host name a multicast DNS answer announces addresses for; empty where it announces none.

    Raises RefusedError ``truncated`` or ``malformed_body``.
    """
    if len(payload) < 12:  # noqa: PLR2004 - RFC 1035 §4.1.1
        raise RefusedError("truncated", "mDNS")
    flags, questions, *records = struct.unpack_from(">HHHHH", payload, 2)
    if not flags & 0x8000:
        return ""
    at = 12
    for _ in range(min(questions, _MOST_RECORDS)):
        at = _labels(payload, at)[1] + 4
    for _ in range(min(sum(records), _MOST_RECORDS)):
        name, at = _labels(payload, at)
        if at + 10 > len(payload):
            raise RefusedError("truncated", "mDNS record")
        kind, _class, _ttl, size = struct.unpack_from(">HHIH", payload, at)
        if kind in _ADDRESS_RECORDS:
            return name.removesuffix(".local")
        at += 10 + size
    return ""


def _labels(data: bytes, at: int) -> tuple[str, int]:
    """A domain name, and where what follows it begins. Pointers may only lead back (so no name goes round)."""
    labels: list[str] = []
    after = -1
    while at < len(data) and len(labels) < _MOST_LABELS:
        size = data[at]
        if size >= 0xC0:  # noqa: PLR2004 - a pointer, RFC 1035 §4.1.4
            if at + 2 > len(data):
                raise RefusedError("truncated", "name")
            target = (size & 0x3F) << 8 | data[at + 1]
            if target >= at:
                raise RefusedError("malformed_body", "name that points forward")
            after = at + 2 if after < 0 else after
            at = target
            continue
        if not size:
            at += 1
            break
        labels.append(_text(data[at + 1 : at + 1 + size]))
        at += 1 + size
    return ".".join(labels)[:_LONGEST], at if after < 0 else after


def _fingerprint(head: str, asked: bytes, vendor: bytes) -> str:
    """``1,3,6,15 MSFT 5.0``: options in the order asked for, and the vendor class; empty when neither is there."""
    wide = len(head) > 0
    codes = struct.unpack(f">{len(asked) // 2}H", asked[: len(asked) // 2 * 2]) if wide else tuple(asked)
    text = f"{','.join(map(str, codes))} {_text(vendor)}".strip()
    return (head + text)[:_LONGEST] if text else ""


def _text(data: bytes) -> str:
    """Text of a stranger: UTF-8, without control characters, at most 256."""
    return "".join(char for char in data.decode("utf-8", "replace") if char.isprintable())[:_LONGEST].strip()
