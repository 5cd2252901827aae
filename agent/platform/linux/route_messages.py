"""rtnetlink messages about links, addresses and default routes, read into plain values. Pure.

Layouts: rtnetlink(7), kernel ``include/uapi/linux/{if_link,if_addr,rtnetlink,netconf}.h``.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from msgspec import Struct

from agent.platform.linux.netlink import Message, attributes
from agent.platform.linux.wireless import mac_text
from protocol.refusal import RefusedError

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNETCONF, DELNETCONF, GETNETCONF = 80, 81, 82
IFF_UP = 0x1
LINK_HEAD = struct.Struct("=BBHiII")
"""family, padding, hardware type, index, flags, change mask"""
_ADDR_HEAD = struct.Struct("=BBBBI")
_ROUTE_HEAD = struct.Struct("=BBBBBBBBI")
_HOP_HEAD = struct.Struct("=HBBi")
_LOOPBACK, _OPERATING, _CARRIER = 0x8, 0x40, 0x10000
_ADDRESS, _NAME, _LOWER, _MASTER, _INFO, _FOREIGN = 1, 3, 5, 10, 18, 37
_KIND = 1
_LINK_SCOPE = 253
_OIF, _GATEWAY, _METRIC, _MULTIPATH, _TABLE, _VIA = 4, 5, 6, 9, 15, 18
_UNICAST, _LOCAL_TABLE, _CLONED = 1, 255, 0x200
WIDEST = 3
"""A route this wide (prefix length) stands for the default one: VPN clients use two halves to go before it."""
_FORWARDING = 2


class RawLink(Struct, frozen=True):
    """One interface as rtnetlink has it; ``master`` and ``below`` are interface numbers, 0 = none."""

    index: int
    name: str
    mac: str
    kind: str
    arp_type: int
    up: bool
    carrier: bool
    operating: bool
    master: int
    below: int


class RawRoute(Struct, frozen=True):
    """A default route, or one hop of it."""

    index: int
    gateway: str
    metric: int
    version: int
    prefix: int


def is_about_lines(message: Message) -> bool:
    """Whether a notification can mean another link state: routes to single networks do not."""
    if message.type in {NEWROUTE, DELROUTE}:
        return len(message.body) < 2 or message.body[1] <= WIDEST
    return message.type in {NEWLINK, DELLINK, NEWADDR, DELADDR, NEWNETCONF, DELNETCONF}


def parse_link(body: bytes) -> RawLink | None:
    """One RTM_NEWLINK; None for loopback. Raises RefusedError ``truncated``."""
    if len(body) < LINK_HEAD.size:
        raise RefusedError("truncated", f"link of {len(body)} bytes")
    _, _, arp_type, index, flags, _ = LINK_HEAD.unpack_from(body)
    if flags & _LOOPBACK:
        return None
    found = attributes(body[LINK_HEAD.size :])
    info = attributes(found.get(_INFO, b""))
    return RawLink(
        index=index,
        name=_text(found.get(_NAME, b"")),
        mac=mac_text(found.get(_ADDRESS, b"")),
        kind=_text(info.get(_KIND, b"")),
        arp_type=arp_type,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & _CARRIER),
        operating=bool(flags & _OPERATING),
        master=_number(found.get(_MASTER)),
        below=0 if _FOREIGN in found else _number(found.get(_LOWER)),
    )


def parse_address(body: bytes) -> tuple[int, str] | None:
    """(interface number, address with prefix length); None when it is valid on the link or the PC only.

    Raises RefusedError ``truncated``.
    """
    if len(body) < _ADDR_HEAD.size:
        raise RefusedError("truncated", f"address of {len(body)} bytes")
    _, prefix, _, scope, index = _ADDR_HEAD.unpack_from(body)
    found = attributes(body[_ADDR_HEAD.size :])
    packed = found.get(2) or found.get(1, b"")  # IFA_LOCAL is the PC's own end of a line with two ends
    if scope >= _LINK_SCOPE or len(packed) not in (4, 16):
        return None
    return index, f"{ipaddress.ip_address(packed)}/{prefix}"


def parse_routes(body: bytes) -> Iterator[RawRoute]:
    """The hops of one RTM_NEWROUTE if it is a default route. Raises RefusedError ``truncated``."""
    if len(body) < _ROUTE_HEAD.size:
        raise RefusedError("truncated", f"route of {len(body)} bytes")
    family, prefix, _, _, table, _, _, kind, flags = _ROUTE_HEAD.unpack_from(body)
    if prefix > WIDEST or kind != _UNICAST or flags & _CLONED:
        return
    found = attributes(body[_ROUTE_HEAD.size :])
    if (_number(found.get(_TABLE)) or table) == _LOCAL_TABLE:
        return
    version = 4 if family == 2 else 6
    metric = _number(found.get(_METRIC))
    if _OIF in found:
        yield RawRoute(_number(found[_OIF]), _gateway(found), metric, version, prefix)
    for index, hop in _hops(found.get(_MULTIPATH, b"")):
        yield RawRoute(index, _gateway(hop), metric, version, prefix)


def _hops(data: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    """Each hop of a route (struct rtnexthop): length, flags, weight, interface, then attributes."""
    at = 0
    while at + _HOP_HEAD.size <= len(data):
        size, _, _, index = _HOP_HEAD.unpack_from(data, at)
        if size < _HOP_HEAD.size or at + size > len(data):
            raise RefusedError("truncated", f"next hop of {size} bytes at {at} of {len(data)}")
        yield index, attributes(data[at + _HOP_HEAD.size : at + size])
        at += size + (-size % 4)


def parse_forwarding(body: bytes) -> tuple[int, bool] | None:
    """(interface number, whether it passes packets on) of one RTM_NEWNETCONF. Raises RefusedError ``truncated``."""
    found = attributes(body[4:])
    if 1 not in found or _FORWARDING not in found:
        return None
    return _number(found[1], signed=True), _number(found[_FORWARDING]) != 0


def _gateway(found: dict[int, bytes]) -> str:
    packed = found.get(_GATEWAY) or found.get(_VIA, b"")[2:]
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else ""


def _number(raw: bytes | None, *, signed: bool = False) -> int:
    if raw is None or len(raw) != 4:
        return 0
    return int(struct.unpack("=i" if signed else "=I", raw)[0])


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
