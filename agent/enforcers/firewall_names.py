"""Destinations permitted by DNS name: as addresses, once this PC has looked the name up.

The packet filter knows addresses only. So the first connection to an address not seen before is refused, and a moment later it
is let through. Only answers of trusted name servers count: anybody may run a server that calls any address by a permitted name.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

from agent.connection_names import NameMemory
from agent.platform.linux.resolvers import read_resolvers
from policies.addresses import parse_address, parse_network
from policies.model import Destination, Subject

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

MOST = 256
"""Addresses of one permit; the newest count."""


def trusted_servers(policy: PolicyView, platform: Platform) -> tuple[str, ...]:
    """The zone's designated name servers; where it designates none, those this PC is set to."""
    given = policy.zone.resolvers or read_resolvers(platform.root)
    return tuple(str(ipaddress.ip_address(one)) for one in given)


def named_destinations(
    policy: PolicyView, platform: Platform, now_us: int
) -> list[tuple[Destination, tuple[str, ...]]]:
    """Where this PC may connect now by name, each with the users it is for (empty = everybody)."""
    permits = policy.named_destinations(now_us)
    if not permits:
        return []
    servers = trusted_servers(policy, platform)
    return [
        (Destination(address, subject.port, _protocol(subject)), users)
        for subject, users in permits
        for address in _addresses(platform.names, subject, servers)
    ]


def _addresses(names: NameMemory, subject: Subject, servers: tuple[str, ...]) -> list[str]:
    """Known addresses of a permitted name, in the permitted network if there is one."""
    found = names.addresses_of(subject.name, servers)[:MOST]
    if not subject.network:
        return found
    network = parse_network(subject.network)
    return [one for one in found if (address := parse_address(one)) is not None and network.holds(address)]


def _protocol(subject: Subject) -> Literal["tcp", "udp", "icmp", "any"]:
    return subject.protocol if subject.protocol in {"tcp", "udp", "icmp"} else "any"  # type: ignore[return-value]
