"""Frames by which a machine shows itself: ARP, NDP, MLD, DHCP, DHCPv6, mDNS. Pure; every byte may be forged.

Layouts: RFC 826 (ARP), RFC 5227 (address probes), RFC 4861 and 3810 (ICMPv6), RFC 2131 (DHCP), RFC 8415 (DHCPv6).
"""

from __future__ import annotations

import socket
import struct

from msgspec import Struct

from agent.lan.names import dhcp6_facts, dhcp_facts, mdns_hostname
from protocol.refusal import RefusedError

_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_HOP_BY_HOP, _UDP, _ICMPV6 = 0, 17, 58
_ETHERNET, _IP4_HEADER, _IP6_HEADER, _UDP_HEADER = 14, 20, 40, 8
_RS, _RA, _NS, _NA = 133, 134, 135, 136
_FRAGMENT = 0x1FFF
_DHCP, _DHCP6, _MDNS = {67, 68}, {546, 547}, 5353
_GROUP_BIT, _LOCAL_BIT = 1, 2
_ARP_OF_IPV4 = b"\0\1\x08\0\6\4"
NOWHERE = frozenset(("0.0.0.0", "::"))  # noqa: S104 - addresses of somebody who has none yet


class Sighting(Struct, frozen=True):
    """What one frame tells of its sender. ``via`` as in ``neighbour.seen``; what it does not tell is empty."""

    mac: str
    via: str
    ip: str = ""
    hostname: str = ""
    fingerprint: str = ""


def read_frame(frame: bytes) -> Sighting | None:
    """The sender of an Ethernet frame; None for one that shows no machine.

    Raises RefusedError: ``truncated``, ``bad_value`` (no sender can have that address), ``malformed_body``.
    """
    if len(frame) < _ETHERNET:
        raise RefusedError("truncated", "Ethernet header")
    if frame[6] & _GROUP_BIT or not any(frame[6:12]):
        raise RefusedError("bad_value", "source MAC of a group, or zero")
    mac = frame[6:12].hex(":")
    kind = frame[12] << 8 | frame[13]
    body = frame[_ETHERNET:]
    if kind == _ARP:
        return _read_arp(mac, body)
    if kind == _IPV4:
        return _read_ipv4(mac, body)
    if kind == _IPV6:
        return _read_ipv6(mac, body)
    return None


def is_randomised(mac: str) -> bool:
    """Whether a MAC is locally administered (IEEE 802, U/L bit), as systems that hide their own make up."""
    return bool(int(mac[:2], 16) & _LOCAL_BIT)


def _read_arp(mac: str, body: bytes) -> Sighting:
    if len(body) < 28:  # noqa: PLR2004 - RFC 826 for Ethernet and IPv4
        raise RefusedError("truncated", "ARP")
    if body[:6] != _ARP_OF_IPV4:
        raise RefusedError("malformed_body", "ARP of something else than IPv4 over Ethernet")
    if body[8:14].hex(":") != mac:
        return Sighting(mac, "arp")  # it speaks for another machine, but it is there itself
    # A probe (RFC 5227) has no sender address yet: the target is what the machine is about to take.
    ip = socket.inet_ntop(socket.AF_INET, body[14:18] if any(body[14:18]) else body[24:28])
    return Sighting(mac, "arp", _address(ip))


def _read_ipv4(mac: str, body: bytes) -> Sighting | None:
    if len(body) < _IP4_HEADER:
        raise RefusedError("truncated", "IPv4 header")
    size = (body[0] & 0xF) * 4
    if body[0] >> 4 != 4 or size < _IP4_HEADER:  # noqa: PLR2004 - version 4
        raise RefusedError("malformed_body", "IPv4 header")
    if body[9] != _UDP or (body[6] << 8 | body[7]) & _FRAGMENT:
        return None
    return _read_udp(mac, _address(socket.inet_ntop(socket.AF_INET, body[12:16])), body[size:])


def _read_ipv6(mac: str, body: bytes) -> Sighting | None:
    if len(body) < _IP6_HEADER:
        raise RefusedError("truncated", "IPv6 header")
    if body[0] >> 4 != 6:  # noqa: PLR2004 - version 6
        raise RefusedError("malformed_body", "IPv6 header")
    ip = _address(socket.inet_ntop(socket.AF_INET6, body[8:24]))
    if body[6] == _UDP:
        return _read_udp(mac, ip, body[_IP6_HEADER:])
    if body[6] == _HOP_BY_HOP:
        return Sighting(mac, "ndp", ip)  # the filter lets only multicast listener reports through here
    return _read_ndp(mac, ip, body[_IP6_HEADER:]) if body[6] == _ICMPV6 else None


def _read_ndp(mac: str, ip: str, body: bytes) -> Sighting | None:
    if len(body) < 8:  # noqa: PLR2004 - RFC 4861 §4.1, the shortest
        raise RefusedError("truncated", "NDP")
    if body[0] in (_RS, _RA):
        return Sighting(mac, "ndp", ip)
    if body[0] not in (_NS, _NA):
        return None
    if len(body) < 24:  # noqa: PLR2004 - RFC 4861 §4.3
        raise RefusedError("truncated", "NDP")
    target = _address(socket.inet_ntop(socket.AF_INET6, body[8:24]))
    # Duplicate address detection asks from nowhere for the address it is about to take.
    return Sighting(mac, "ndp", target if body[0] == _NA or not ip else ip)


def _read_udp(mac: str, ip: str, body: bytes) -> Sighting | None:
    if len(body) < _UDP_HEADER:
        raise RefusedError("truncated", "UDP header")
    source, target = struct.unpack_from(">HH", body)
    payload = body[_UDP_HEADER:]
    if _DHCP & {source, target}:
        facts = dhcp_facts(payload, mac)
        return Sighting(mac, "dhcp", facts.ip or ip, facts.hostname, facts.fingerprint)
    if _DHCP6 & {source, target}:
        facts = dhcp6_facts(payload)
        return Sighting(mac, "dhcp", ip, facts.hostname, facts.fingerprint)
    if _MDNS in (source, target):
        return Sighting(mac, "mdns", ip, mdns_hostname(payload))
    return None


def _address(ip: str) -> str:
    return "" if ip in NOWHERE else ip
