"""The way to the collector, which no link control may cut."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from agent.identity import TRUST_FILE, Identity
from agent.platform.link_ports import Gateway, LinkState
from protocol.refusal import RefusedError

if TYPE_CHECKING:
    from agent.platform import Platform


class Way:
    """By which links, and through which gateways, the pinned addresses of the collector are reached."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stamp = -1
        self._pinned: tuple[str, ...] | None = ()
        """None: this PC has a collector, but where it is cannot be read."""

    def links(self, state: LinkState) -> tuple[str, ...]:
        """Links that lead there now; for a collector known by name only, those of the default routes."""
        found: list[str] = []
        for address in self._addresses() or ():
            if not _is_literal(address):
                found += [gateway.interface for gateway in state.gateways]
            elif (hop := self._platform.network.hop(address)) is not None and hop.interface != "lo":
                found.append(hop.interface)
        return tuple(dict.fromkeys(found))

    def kept(self, state: LinkState, last: tuple[str, ...]) -> set[str]:
        """The links of now, else those of ``last`` time, with their ports, and what they run on."""
        way = set(self.links(state) or last)
        if self._pinned is None:
            way |= {link.name for link in state.links}
        for _ in state.links:  # once for each floor there could be
            for link in state.links:
                if link.name in way and link.below:
                    way.add(link.below)
                if link.name in way and link.link_type == "vpn":
                    way |= {gateway.interface for gateway in state.gateways}
                if link.master in way:
                    way.add(link.name)
        return way | {"lo"}

    def needs(self, gateway: Gateway, state: LinkState) -> bool:
        """Whether the collector could not be reached without a gateway. One known by name only might be anywhere."""
        others = [one for one in state.gateways if one != gateway and one.version == gateway.version]
        addresses = self._addresses()
        if addresses is None:
            return not others
        for address in addresses:
            if not _is_literal(address):
                return not others
            hop = self._platform.network.hop(address)
            through = gateway.address or address
            if (
                hop is not None
                and (hop.interface, hop.next_hop) == (gateway.interface, through)
                and not others
            ):
                return True
        return False

    def _addresses(self) -> tuple[str, ...] | None:
        """Out of the trust root, read again when it changed."""
        try:
            stamp_ns = (self._platform.state / TRUST_FILE).stat().st_mtime_ns
            if stamp_ns != self._stamp:
                self._pinned = Identity.load(self._platform.state).root.addresses
                self._stamp = stamp_ns
        except FileNotFoundError:
            self._pinned = ()  # not enrolled: there is no collector yet
        except (RefusedError, OSError):
            self._pinned = self._pinned or None
        return self._pinned


def _is_literal(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
