"""The segments a PC is on, out of its links and gateways. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from msgspec import Struct

from agent.platform.link_ports import Link, LinkState

MOST = 4
"""Interfaces watched of one PC."""
NO_GATEWAY = "-"
"""In place of a gateway's MAC, where a segment leads nowhere else."""
_TYPES = frozenset(("wired", "wireless", "bridge"))


class Segment(Struct, frozen=True):
    """A segment as this PC is on it. ``id``: network and MAC of its gateway, which tells equal networks apart; empty
    while that MAC is not known yet.
    """

    id: str
    interface: str
    mac: str
    addresses: tuple[str, ...]
    wireless: bool = False


def segments_of(state: LinkState, gateway_mac: Callable[[str, str], str]) -> tuple[Segment, ...]:
    """Segments of all links that are connected and have an address; those with a gateway first.

    ``gateway_mac``: (interface, address) → MAC, or empty. A bridge without a gateway behind it is inside this PC
    (containers, virtual machines), and a port of a bridge has its addresses there.
    """
    gateways: dict[str, str] = {}
    for gateway in state.gateways:
        if gateway.address:
            gateways.setdefault(gateway.interface, gateway.address)
    links = [
        link
        for link in state.links
        if _is_lan(link) and not (link.link_type == "bridge" and link.name not in gateways)
    ]
    links.sort(key=lambda link: link.name not in gateways)
    return tuple(_segment(link, gateways.get(link.name, ""), gateway_mac) for link in links[:MOST])


def _is_lan(link: Link) -> bool:
    return (
        link.link_type in _TYPES
        and link.up
        and link.running
        and not link.master
        and bool(link.addresses and link.mac)
    )


def _segment(link: Link, gateway: str, gateway_mac: Callable[[str, str], str]) -> Segment:
    interfaces = [ipaddress.ip_interface(text) for text in link.addresses]
    # The network of the gateway names the segment; else the first of IPv4, so that all PCs of a segment say the same.
    hop = ipaddress.ip_address(gateway) if gateway else None
    named = [one.network for one in interfaces if hop is not None and hop in one.network]
    network = min(named or [one.network for one in interfaces], key=lambda net: (net.version, net))
    mac = gateway_mac(link.name, gateway) if gateway else NO_GATEWAY
    addresses = tuple(str(one.ip) for one in interfaces)
    return Segment(
        f"{network} {mac}" if mac else "", link.name, link.mac, addresses, link.link_type == "wireless"
    )
