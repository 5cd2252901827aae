"""The text that cuts a PC off from everything but its collector. Pure; nft(8) syntax that version 1.0.6 understands.

``inet`` at priority -400 comes before every other rule, ``arp`` stops neighbour discovery, ``netdev`` stops what never
passes the others: packet sockets, other ethertypes, IPv6 ND. What stays besides the collector's own TCP ports, and why:
ARP/ND with the next hop (no link without it), EAPOL (802.1X and Wi-Fi rekeying, ends at the switch or access point),
and *inbound* "packet too big" and router advertisements (the path to the collector breaks without them; nothing leaves).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from agent.platform.linux.ruleset import Collector

NAME = "sekisho_isolation"
FAMILIES = ("inet", "arp", "netdev")
Level = Literal["egress", "ingress", "arp", "inet"]
LEVELS: tuple[Level, ...] = ("egress", "ingress", "arp", "inet")
"""From the strongest to what every kernel can do; each includes those after it."""
_PRIORITY = -400


class Path(Struct, frozen=True):
    """The way out that stays: the collector, the next hops towards it, and the interfaces there are."""

    collector: Collector
    hops: tuple[str, ...]
    devices: tuple[str, ...] = ()


def solicited_node(address: str) -> str:
    """Multicast address that neighbour solicitations for ``address`` go to (RFC 4291 §2.7.1)."""
    low = int(ipaddress.IPv6Address(address)) & 0xFFFFFF
    return str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("ff02::1:ff00:0")) | low))


def _split(addresses: Iterable[str]) -> tuple[list[str], list[str]]:
    parsed = sorted(
        {ipaddress.ip_address(one.partition("%")[0]) for one in addresses}, key=lambda one: (one.version, one)
    )
    return [str(one) for one in parsed if one.version == 4], [str(one) for one in parsed if one.version == 6]


def _braced(items: Iterable[object]) -> str:
    return f"{{ {', '.join(map(str, items))} }}"


def _accepted_in(path: Path) -> list[str]:
    four, six = _split(path.collector.addresses)
    _, hops = _split(path.hops)
    ports = _braced(sorted(set(path.collector.ports)))
    answer = f"tcp sport {ports} tcp flags & (syn | ack) != syn accept"
    rules = ["icmp type destination-unreachable icmp code frag-needed accept"]
    rules += [f"ip saddr {_braced(four)} {answer}"] if four else []
    rules += [f"ip6 saddr {_braced(six)} {answer}", "icmpv6 type packet-too-big accept"] if six else []
    if hops:
        kinds = "{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }"
        rules.append(f"ip6 saddr {_braced(hops)} icmpv6 type {kinds} accept")
    return rules


def _accepted_out(path: Path) -> list[str]:
    four, six = _split(path.collector.addresses)
    _, hops = _split(path.hops)
    ports = _braced(sorted(set(path.collector.ports)))
    rules = [f"ip daddr {_braced(four)} tcp dport {ports} accept"] if four else []
    rules += [f"ip6 daddr {_braced(six)} tcp dport {ports} accept"] if six else []
    if hops:
        targets = _braced(dict.fromkeys([*hops, *map(solicited_node, hops)]))
        rules.append(f"ip6 daddr {targets} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept")
    return rules


def _chain(name: str, hook: str, rules: Iterable[str], priority: int = _PRIORITY) -> list[str]:
    head = f"    type filter hook {hook} priority {priority}; policy drop;"
    return [f"  chain {name} {{", head, *(f"    {rule}" for rule in rules), "    counter drop", "  }"]


def _inet(path: Path) -> list[str]:
    return [
        *_chain("input", "input", ['iifname "lo" accept', *_accepted_in(path)]),
        *_chain("output", "output", ['oifname "lo" accept', *_accepted_out(path)]),
        *_chain("forward", "forward", []),
    ]


def _arp(path: Path) -> list[str]:
    hops, _ = _split(path.hops)
    to = [f"arp daddr ip {_braced(hops)} accept"] if hops else []
    by = [f"arp saddr ip {_braced(hops)} accept"] if hops else []
    return [*_chain("input", "input", by, 0), *_chain("output", "output", to, 0)]


def _netdev(path: Path, *, egress: bool) -> list[str]:
    """The rules once, and for every device base chains that jump there."""
    hops, _ = _split(path.hops)
    eapol = "ether type 0x888e accept"
    arp_in = [f"arp saddr ip {_braced(hops)} accept"] if hops else []
    arp_out = [f"arp daddr ip {_braced(hops)} accept"] if hops else []
    lines = ["  chain from_net {", *(f"    {rule}" for rule in [eapol, *arp_in, *_accepted_in(path)]), "  }"]
    lines += ["  chain to_net {", *(f"    {rule}" for rule in [eapol, *arp_out, *_accepted_out(path)]), "  }"]
    for number, device in enumerate(path.devices):
        lines += _chain(f"in_{number}", f'ingress device "{device}"', ["jump from_net"])
        if egress:
            lines += _chain(f"out_{number}", f'egress device "{device}"', ["jump to_net"])
    return lines


def render_isolation(path: Path, level: Level, *, families: Iterable[str] = FAMILIES) -> str:
    """The whole cut in one transaction that also replaces an earlier one. Raises ValueError for a malformed address.

    With ``families`` inet and arp the text names no device: that is what is loaded at boot, before there are any.
    """
    lines: list[str] = []
    for family, body in (
        ("inet", _inet(path)),
        ("arp", _arp(path) if level != "inet" else []),
        ("netdev", _netdev(path, egress=level == "egress") if level in ("egress", "ingress") else []),
    ):
        if body and family in families:
            lines += [
                f"table {family} {NAME}",
                f"delete table {family} {NAME}",
                f"table {family} {NAME} {{",
                *body,
                "}",
            ]
    return "\n".join(lines) + "\n"


def render_release(present: Iterable[tuple[str, str]]) -> str:
    """Takes away what is there of the cut; empty when nothing is."""
    return "".join(f"delete table {family} {name}\n" for family, name in sorted(present) if name == NAME)
