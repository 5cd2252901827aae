"""How this PC reaches others, and the probes that prove an isolation, as a Protocol (see ``ports``)."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Hop(Struct, frozen=True):
    """How an address is reached: interface and next hop (the address itself when it is on the link)."""

    interface: str
    next_hop: str


class Network(Protocol):
    """Interfaces, routes and the probes that prove an isolation."""

    def interfaces(self) -> list[str]:
        """Names of all network interfaces but loopback."""
        ...

    def hop(self, address: str) -> Hop | None:
        """The way to an address; None when there is no route."""
        ...

    def reachable(self, addresses: tuple[str, ...], port: int, within_ms: int) -> bool:
        """Whether a TCP connection to any of the addresses completes in time."""
        ...

    def escaped(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the addresses to which a datagram was not refused on this PC itself (empty = all were)."""
        ...
