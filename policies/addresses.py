"""IP addresses and networks as integers, so that a comparison costs nanoseconds instead of microseconds."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple


class Address(NamedTuple):
    """An address: IP version (4 or 6) and its value."""

    version: int
    value: int


class Network(NamedTuple):
    """A network: IP version, first and last address."""

    version: int
    first: int
    last: int

    def holds(self, address: Address) -> bool:
        """Tell whether ``address`` lies in this network."""
        return self.version == address.version and self.first <= address.value <= self.last


def parse_network(text: str) -> Network:
    """Read a CIDR such as ``10.1.0.0/16`` or ``fd00::/8``; a bare address is a network of one.

    Host bits may be set, as administrators write them. Raises ``ValueError``.
    """
    network = ipaddress.ip_network(text, strict=False)
    return Network(network.version, int(network.network_address), int(network.broadcast_address))


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """Read an address; None when it is none. IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2) counts as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Address(address.version, int(address))


LOCAL: tuple[Network, ...] = tuple(
    parse_network(text)
    for text in (
        "127.0.0.0/8",
        "::1",
        "169.254.0.0/16",
        "fe80::/10",
        "224.0.0.0/24",
        "ff01::/16",
        "ff02::/16",
        "0.0.0.0/32",
        "255.255.255.255/32",
        "::",
    )
)
"""Addresses that never leave the PC or its own link (RFC 6890, RFC 5771 §4, RFC 4291 §2.7)."""
