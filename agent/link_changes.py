"""What is to be told when the links of a PC go from one state to another. Pure.

A *network* is what a link is addressed in; links with an address of the same prefix are in one network. Bridges without
hardware, as virtual machines and containers use them, are in none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from agent.platform.link_ports import Gateway, Link, LinkState
from protocol.events import LinkChanged

MOST = 128
"""Changes told of one step: a PC has few links, and who makes hundreds gains nothing by it."""
_LINES = frozenset({"tether", "modem", "bluetooth"})
_TOLD_OTHERWISE = _LINES | {"vpn"}
"""Link types whose own change says already that there is a second network."""


def changes(old: LinkState, new: LinkState, time_us: int) -> list[LinkChanged]:
    """Events of one step, at most :data:`MOST`. From an empty state: everything that is there."""
    step = _Step(old, new, time_us)
    parts = (
        step.links(),
        step.bridges(),
        step.networks(),
        step.hotspots(),
        step.gateways(),
        step.resolvers(),
    )
    return [event for part in parts for event in part][:MOST]


class Networks:
    """The networks of a state: each is the set of names of the links in it."""

    def __init__(self, state: LinkState) -> None:
        routed = {gateway.interface for gateway in state.gateways}
        hard = {link.master for link in state.links if link.real and link.master}
        self.groups: list[set[str]] = []
        known: list[tuple[set[str], set[str]]] = []
        for link in state.links:
            if not _joins(link, routed, hard):
                continue
            prefixes = {str(ipaddress.ip_network(one, strict=False)) for one in link.addresses}
            same = [entry for entry in known if entry[1] & prefixes]
            names, all_ = {link.name}, set(prefixes)
            for entry in same:
                names |= entry[0]
                all_ |= entry[1]
                known.remove(entry)
            known.append((names, all_))
        first = state.gateways[0].interface if state.gateways else ""
        self.groups = sorted(
            (names for names, _ in known), key=lambda names: (first not in names, sorted(names))
        )
        """The one of the default route first."""

    @property
    def members(self) -> set[str]:
        """Links that are in a network."""
        return {name for names in self.groups for name in names}


def _joins(link: Link, routed: set[str], hard: set[str]) -> bool:
    if not link.running or link.master or link.link_type == "other":
        return False
    if link.link_type == "bridge" and link.name not in hard:
        return False
    return bool(link.addresses) or link.name in routed


class _Step:
    """From one state to the next."""

    def __init__(self, old: LinkState, new: LinkState, time_us: int) -> None:
        self._old, self._new, self._time_us = old, new, time_us
        self._was = {link.name: link for link in old.links}
        self._is = {link.name: link for link in new.links}
        self._before, self._after = Networks(old), Networks(new)

    def _event(self, change: str, link: Link | None, **facts: object) -> LinkChanged:
        radio = link.radio if link else None
        told = {
            "interface": link.name if link else "",
            "link_type": link.link_type if link else "",
            "mac": link.mac if link else "",
            "ssid": radio.ssid if radio else "",
            "bssid": radio.bssid if radio else "",
            "addresses": link.addresses if link else (),
            "gateway": shown(self._new.gateways[0]) if self._new.gateways else "",
            "resolvers": self._new.resolvers,
            "networks": len(self._after.groups),
        }
        return LinkChanged(time_us=self._time_us, change=change, **(told | facts))  # type: ignore[arg-type]

    def links(self) -> Iterator[LinkChanged]:
        """Links that came and went."""
        for link in self._old.links:
            if _connected(link, self._old) and not self._still(link):
                yield self._event(_WENT.get(link.link_type, "down"), link, addresses=())
        for link in self._new.links:
            before = self._was.get(link.name)
            here = before is not None and _connected(before, self._old) and _same(before, link)
            if _connected(link, self._new) and not here:
                yield self._event(
                    "hotspot" if link.radio.access_point else _CAME.get(link.link_type, "up"), link
                )

    def _still(self, link: Link) -> bool:
        now = self._is.get(link.name)
        return now is not None and _connected(now, self._new) and now.index == link.index

    def bridges(self) -> Iterator[LinkChanged]:
        """Ports that make a bridge join a real line with something else."""
        before = dict(_bridging(self._old))
        for bridge, ports in _bridging(self._new):
            for port in ports[1:] if bridge not in before else ports:
                if port.name not in {one.name for one in before.get(bridge, ())}:
                    yield self._event("bridging", port, link_type="bridge")

    def networks(self) -> Iterator[LinkChanged]:
        """A second network, and the end of it. Who came last is told, not who was there."""
        known = self._before.members
        for place, names in enumerate(self._after.groups):
            first = not known and place == 0
            if first or names & known:
                continue
            link = self._is[min(names)]
            if link.link_type not in _TOLD_OTHERWISE and len(self._after.groups) > 1:
                yield self._event("second_network", link)
        if len(self._before.groups) > 1 >= len(self._after.groups):
            yield self._event("single_network", self._is.get(min(self._after.members, default="")))

    def hotspots(self) -> Iterator[LinkChanged]:
        """Links whose neighbours this PC lets through to another network."""
        served = _served(self._new, self._after)
        for name in sorted(served - _served(self._old, self._before)):
            yield self._event("hotspot", self._is[name])

    def gateways(self) -> Iterator[LinkChanged]:
        """Default gateways that came, and the one in use if it is another one now."""
        for version in (4, 6):
            old = [shown(one) for one in self._old.gateways if one.version == version]
            new = {shown(one): one for one in self._new.gateways if one.version == version}
            told = [name for name in new if name not in old]
            if old and new and (first := next(iter(new))) != old[0] and first not in told:
                told.insert(0, first)
            previous = old[0] if old else ""
            for name in told:
                yield self._event(
                    "gateway", self._is.get(new[name].interface), gateway=name, previous=previous
                )
            if old and not new:
                yield self._event("gateway", None, gateway="", previous=previous)

    def resolvers(self) -> Iterator[LinkChanged]:
        """Other name servers; their order does not matter."""
        if set(self._old.resolvers) != set(self._new.resolvers):
            yield self._event("resolver", None, previous=", ".join(self._old.resolvers)[:256])


_CAME = {"wireless": "wireless_up", "vpn": "vpn_up", **dict.fromkeys(_LINES, "tethering")}
_WENT = {"wireless": "wireless_down", "vpn": "vpn_down"}


def _connected(link: Link, state: LinkState) -> bool:
    """A tunnel that nothing is sent through is none yet; what only serves virtual machines is not told."""
    if link.link_type == "vpn":
        return link.running and (
            bool(link.addresses) or any(one.interface == link.name for one in state.gateways)
        )
    return (
        link.running
        and link.link_type != "other"
        and (link.link_type != "bridge" or bool(_ports(link, state)))
    )


def _same(before: Link, link: Link) -> bool:
    return (before.index, before.link_type, before.radio.ssid, before.radio.access_point) == (
        link.index,
        link.link_type,
        link.radio.ssid,
        link.radio.access_point,
    )


def _ports(bridge: Link, state: LinkState) -> list[Link]:
    """Ports of a bridge with a real line among them, that line first; else none."""
    ports = [link for link in state.links if link.master == bridge.name and link.up]
    real = [link for link in ports if link.real]
    return [*real, *(link for link in ports if not link.real)] if real else []


def _bridging(state: LinkState) -> Iterator[tuple[str, list[Link]]]:
    for link in state.links:
        if link.link_type == "bridge" and link.up and len(ports := _ports(link, state)) > 1:
            yield link.name, ports


def _served(state: LinkState, networks: Networks) -> set[str]:
    """While packets are passed on: the links in a network without a way out, or all but the first network's."""
    others = networks.groups[1:]
    if not state.forwarding or not others:
        return set()
    routed = {gateway.interface for gateway in state.gateways}
    return {name for names in others for name in names - routed} or others[0]


def shown(gateway: Gateway) -> str:
    """How events name a gateway: its address, or the line where it has none."""
    return gateway.address or f"dev {gateway.interface}"
