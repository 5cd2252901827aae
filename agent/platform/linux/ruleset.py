"""The text of table ``inet sekisho``: where this PC may connect. Pure; nft(8) syntax that version 1.0.6 understands.

Interval sets refuse elements that overlap, and policies overlap all the time (a /16 at any port, one host of it at 443).
So networks become disjoint ranges: what is allowed at any port is taken out of what is allowed at one.

Answers to inbound connections pass. What this PC began is looked up for every packet, not only for the first: a
connection whose permit ends is stopped at once, also one older than the agent.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from agent.platform.linux.bpf import MARK_FROM_STAMP
from policies.model import Destination

TABLE = ("inet", "sekisho")
LOG_GROUP = 7460
DENY, WATCH, OPEN = "sekisho-deny", "sekisho-watch", "sekisho-open"
"""Log prefixes: stopped; would be stopped if we enforced; allowed."""
_OPEN_THRESHOLD = 32

Range = tuple[int, int]
"""First and last address, inclusive."""
Version = Literal[4, 6]
VERSIONS: tuple[Version, Version] = (4, 6)
_IP = {4: "ip", 6: "ip6"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}


class Grant(Struct, frozen=True):
    """An allowed destination; ``uids`` empty = for everybody."""

    destination: Destination
    uids: tuple[int, ...] = ()


class Collector(Struct, frozen=True):
    """What is always allowed: literal addresses and TCP ports."""

    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Sorted, without overlap or touching neighbours."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def subtract(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
    """Merged ``ranges`` without merged ``holes``."""
    left: list[Range] = []
    for first, last in ranges:
        at = first
        for low, high in holes:
            if high < at or low > last:
                continue
            if low > at:
                left.append((at, low - 1))
            at = high + 1
        if at <= last:
            left.append((at, last))
    return left


def span(network: str) -> tuple[Version, Range]:
    """IP version and range of a CIDR network or address. Raises ValueError."""
    parsed = ipaddress.ip_network(network, strict=False)
    version: Version = 4 if parsed.version == 4 else 6
    return version, (int(parsed.network_address), int(parsed.broadcast_address))


def _show(version: Version, area: Range) -> str:
    make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    first, last = area
    return str(make(first)) if first == last else f"{make(first)}-{make(last)}"


class _Areas:
    """Allowed ranges by IP version: all protocols; ICMP; and by protocol and port (0 = any)."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self.everything: dict[Version, list[Range]] = defaultdict(list)
        self.icmp: dict[Version, list[Range]] = defaultdict(list)
        self.ports: dict[tuple[str, Version], dict[int, list[Range]]] = defaultdict(lambda: defaultdict(list))
        for one in destinations:
            version, area = span(one.network)
            if one.protocol == "icmp":
                self.icmp[version].append(area)
            elif one.protocol == "any" and not one.port:
                self.everything[version].append(area)
            else:
                for protocol in ("tcp", "udp") if one.protocol == "any" else (one.protocol,):
                    self.ports[protocol, version][one.port].append(area)

    def elements(self, protocol: str, version: Version) -> list[str]:
        """Elements ``network . port`` of one set, disjoint."""
        by_port = self.ports[protocol, version]
        anywhere = merge(by_port.get(0, ()))
        found = [f"{_show(version, area)} . 0-65535" for area in anywhere]
        for port in sorted(set(by_port) - {0}):
            areas = subtract(merge(by_port[port]), anywhere)
            found += [f"{_show(version, area)} . {port}" for area in areas]
        return found


def _set(name: str, kind: str, elements: list[str]) -> list[str]:
    lines = [f"  set {name} {{", f"    type {kind}; flags interval;"]
    if elements:
        lines.append(f"    elements = {{ {', '.join(elements)} }}")
    return [*lines, "  }"]


def _sets(areas: _Areas) -> list[str]:
    lines: list[str] = []
    for version in VERSIONS:
        kind = _TYPE[version]
        lines += _set(
            f"any{version}", kind, [_show(version, one) for one in merge(areas.everything[version])]
        )
        lines += _set(f"icmp{version}", kind, [_show(version, one) for one in merge(areas.icmp[version])])
        for protocol in ("tcp", "udp"):
            lines += _set(f"{protocol}{version}", f"{kind} . inet_service", areas.elements(protocol, version))
    return lines


def _zone_rules(personal: Sequence[Grant]) -> list[str]:
    lines: list[str] = []
    for version in VERSIONS:
        ip, icmp = _IP[version], "icmp" if version == 4 else "ipv6-icmp"
        lines += [
            f"    {ip} daddr @any{version} goto opened",
            f"    {ip} daddr . tcp dport @tcp{version} goto opened",
            f"    {ip} daddr . udp dport @udp{version} goto opened",
            f"    meta l4proto {icmp} {ip} daddr @icmp{version} goto opened",
        ]
    for grant in personal:
        who = f"    meta skuid {{ {', '.join(map(str, grant.uids))} }}"
        lines += [f"{who} {what} goto opened" for what in _matches(grant.destination)]
    return [*lines, "    goto forbidden"]


def _matches(one: Destination) -> list[str]:
    version, area = span(one.network)
    target = f"{_IP[version]} daddr {_show(version, area)}"
    if one.protocol == "icmp":
        return [f"meta l4proto {'icmp' if version == 4 else 'ipv6-icmp'} {target}"]
    if one.protocol == "any" and not one.port:
        return [target]
    protocols = ("tcp", "udp") if one.protocol == "any" else (one.protocol,)
    port = one.port or "0-65535"
    return [f"{target} {protocol} dport {port}" for protocol in protocols]


def collector_rules(collector: Collector) -> list[str]:
    """One rule for each IP version that has an address."""
    lines: list[str] = []
    ports = ", ".join(map(str, sorted(set(collector.ports))))
    for version in VERSIONS:
        own = [one for one in collector.addresses if span(one)[0] == version]
        if own and ports:
            lines.append(
                f"    {_IP[version]} daddr {{ {', '.join(sorted(own))} }} tcp dport {{ {ports} }} accept"
            )
    return lines


def _noted(prefix: str, threshold: int) -> list[str]:
    """Log the first packet of a connection and let it pass. The borrowed mark is given back; a foreign one is kept."""
    log = f'log prefix "{prefix}" group {LOG_GROUP} queue-threshold {threshold}'
    return [
        "    ct status confirmed accept",
        f"    meta mark != 0 {log} accept",
        f"    {MARK_FROM_STAMP}",
        f"    {log}",
        "    meta mark set 0x0 accept",
    ]


def _forbidden(mode: Literal["observe", "enforce"]) -> list[str]:
    if mode == "observe":
        return _noted(WATCH, 1)
    return [
        f"    {MARK_FROM_STAMP}",
        f'    log prefix "{DENY}" group {LOG_GROUP} queue-threshold 1',
        "    drop",
    ]


_NETWORK_UPKEEP = [
    # DHCP and DHCPv6 clients; neighbour discovery, router solicitation, multicast membership (never routed)
    "    ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
    "    ip6 daddr { ff02::1:2, fe80::/10 } udp sport 546 udp dport 547 accept",
    "    ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
    "    ip6 daddr ff02::/16 ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept",
    "    ip daddr 224.0.0.0/4 ip ttl 1 ip protocol igmp accept",
]


def render(
    grants: Sequence[Grant],
    mode: Literal["observe", "enforce"],
    collector: Collector,
    *,
    owned: bool = False,
    table: tuple[str, str] = TABLE,
    before: bool = False,
) -> str:
    """The whole table. ``owned``: it belongs to the process that loads it and vanishes with it (fail open).

    ``before``: another gate in front of :data:`TABLE`, which tells of what both let through.
    Raises ValueError for a network that is none.
    """
    areas = _Areas(grant.destination for grant in grants if not grant.uids)
    personal = [grant for grant in grants if grant.uids]
    priority = "filter - 5" if before else "filter"
    lines = [
        f"table {table[0]} {table[1]} {{",
        *(["  flags owner"] if owned else []),
        *_sets(areas),
        "  chain opened {",
        *(["    accept"] if before else _noted(OPEN, _OPEN_THRESHOLD)),
        "  }",
        "  chain forbidden {",
        *_forbidden(mode),
        "  }",
        "  chain zone {",
        "    ct state established ct direction reply accept",
        "    ct state related accept",
        *collector_rules(collector),
        *_NETWORK_UPKEEP,
        *_zone_rules(personal),
        "  }",
        "  chain output {",
        f"    type filter hook output priority {priority}; policy accept;",
        '    oif "lo" accept',
        "    goto zone",
        "  }",
        "  chain forward {",
        f"    type filter hook forward priority {priority}; policy accept;",
        "    goto zone",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"
