"""Links of a PC: whether its zone allows them, a permit does, and whether gateway and name servers are the designated ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from policies.addresses import Address, parse_address, parse_network
from policies.facts.base import permit_facts
from policies.model import Permit, Subject, Zone
from policies.permits import pick

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place

_WIRELESS = frozenset({"wireless_up"})
_JOINT = frozenset({"second_network", "bridging", "tethering", "vpn_up", "hotspot"})
_WORDS: dict[str, dict[str, Any]] = {
    "allowed": {"permit": "granted"},
    "forbidden": {"permit": "not_permittable"},
}
LINK = ("change", "link_type", "mac", "ssid", "bssid", "addresses", "gateway", "resolvers")
"""Fields of ``link.changed`` that the answer depends on."""


def link(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    """By the kind of change; links that simply come and go need no permit."""
    zone = release.zones.get(place.zone)
    if event.change in _WIRELESS:
        return _WORDS.get(zone.wireless if zone else "permit") or _wireless(release, event, place, now_us)
    if event.change in _JOINT:
        if event.change == "second_network" and _is_own(release, event.addresses, place.zone):
            return {"permit": "granted"}
        return _WORDS.get(zone.joint if zone else "permit") or _joint(
            release, event, event.addresses, place, now_us
        )
    if event.change == "gateway" and event.gateway:
        known = {"designated": designated(zone, "gateways", (event.gateway,))}
        if known["designated"] != "no":
            return known
        return known | _joint(release, event, (event.gateway,), place, now_us)
    if event.change == "resolver":
        return {"designated": designated(zone, "resolvers", event.resolvers)}
    return {}


def designated(
    zone: Zone | None, what: Literal["gateways", "resolvers"], seen: Iterable[str]
) -> Literal["", "yes", "no"]:
    """Whether all addresses seen are among those the zone designates; empty where it designates none, or none was seen."""
    wanted = {parse_address(one) for one in getattr(zone, what)} if zone else set()
    found = {parse_address(one) for one in seen}
    if not wanted or not found:
        return ""
    return "yes" if found <= wanted and None not in found else "no"


def _wireless(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    """A permit names the network, its access point, both, or the PC's own adapter."""
    index = release.permits["wireless"]
    permits = [
        *index.find(Subject(ssid=event.ssid, mac=event.bssid)),
        *index.find(Subject(ssid=event.ssid, mac=event.mac)),
    ]
    return permit_facts(*pick(permits, place.where(), now_us))


def _joint(
    release: CompiledBundle, event: Any, seen: Iterable[str], place: Place, now_us: int
) -> dict[str, Any]:
    """A permit names the interface, the network it leads into, or both; the network may be wider than what was seen."""
    addresses = [one for text in seen if (one := parse_address(text.partition("/")[0])) is not None]
    permits = (
        permit
        for permit in release.bundle.permits
        if permit.kind == "joint" and _covers(permit, event.mac.lower(), addresses)
    )
    return permit_facts(*pick(permits, place.where(), now_us))


def _covers(permit: Permit, mac: str, addresses: list[Address]) -> bool:
    subject = permit.subject
    if not (subject.mac or subject.network) or (subject.mac and subject.mac.lower() != mac):
        return False
    if not subject.network:
        return True
    try:
        network = parse_network(subject.network)
    except ValueError:
        return False  # what cannot be read permits nothing
    return bool(addresses) and all(network.holds(address) for address in addresses)


def _is_own(release: CompiledBundle, addresses: Iterable[str], zone: str) -> bool:
    """Whether a link is only a second way into the PC's own zone."""
    zones = {release.zone_of(one.partition("/")[0]) for one in addresses}
    return zones == {zone}
