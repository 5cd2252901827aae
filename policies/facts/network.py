"""Connections, names, neighbours and links: zones, permits, registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policies.addresses import parse_address
from policies.facts.base import Facts, permit_facts
from policies.facts.links import LINK, designated, link
from policies.permits import pick

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place

LOCAL_ZONE = "local"
"""Zone of destinations on the PC itself or its own link."""
NAME_PORTS = frozenset({53, 853})
"""Plain and encrypted (DoT) questions to name servers."""


def _connection(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    zone = release.zone_of(event.dest_ip)
    address = parse_address(event.dest_ip)
    known: dict[str, Any] = {"dest_zone": zone}
    if release.centre is not None:
        known["indicator"] = release.centre.indicator_of((event.dest_ip, event.dest_name))
    if event.dest_port in NAME_PORTS:
        known["designated"] = designated(release.zones.get(place.zone), "resolvers", (event.dest_ip,))
    if event.direction == "in" or zone == LOCAL_ZONE:
        return known
    if address is None:
        return known | {"permit": "none"}
    protocol = "icmp" if event.protocol == "icmpv6" else event.protocol
    routes = release.zone_routes.get(place.zone, ())
    if any(route.leads_to(address, event.dest_port, protocol) for route in routes):
        return known | {"permit": "granted"}
    permits = (
        route.permit
        for route in release.permit_routes
        if route.permit is not None and route.leads_to(address, event.dest_port, protocol, event.dest_name)
    )
    return known | permit_facts(*pick(permits, place.where(event.user), now_us))


def _name(release: CompiledBundle, event: Any, place: Place, _now_us: int) -> dict[str, Any]:
    known = {"designated": designated(release.zones.get(place.zone), "resolvers", (event.server,))}
    if release.centre is None:
        return known
    return known | {"indicator": release.centre.indicator_of((event.query, *event.answers))}


def _neighbour(release: CompiledBundle, event: Any, _place: Place, _now_us: int) -> dict[str, Any]:
    return {} if release.centre is None else {"asset": release.centre.asset_of_mac(event.mac)}


_CONNECTION = ("dest_ip", "dest_name", "dest_port", "protocol", "direction", "user")

FACTS = {
    "connection.opened": Facts(_CONNECTION, _connection),
    "connection.blocked": Facts(_CONNECTION, _connection),
    "dns.resolved": Facts(("query", "answers", "server"), _name),
    "link.changed": Facts(LINK, link),
    "neighbour.seen": Facts(("mac",), _neighbour),
}
