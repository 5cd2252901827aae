"""Look-up by what was seen, so that a bundle of thousands of permits costs the same as one of ten."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from policies.addresses import Address, Network, parse_network
from policies.model import Destination, Permit, PermitKind, Subject
from policies.permits import covers, name_covers

T = TypeVar("T")

ANCHORS: dict[PermitKind, tuple[str, ...]] = {
    "device": ("device_id", "serial"),
    "medium": ("media_id", "fs_uuid", "serial"),
    "confidential_medium": ("media_id", "fs_uuid", "serial"),
    "software": ("digest", "package"),
    "wireless": ("ssid", "mac"),
    "joint": ("mac", "network"),
    "take_out": ("device_id", "serial", "media_id", "fs_uuid"),
    "contractor": ("account",),
}
"""Fields by which a subject is looked up: a specific one has at least one of them."""


class SubjectIndex(Generic[T]):
    """Finds entries whose subject covers what was seen, by look-up instead of by trying each."""

    def __init__(self, kind: PermitKind, entries: Iterable[tuple[Subject, T]]) -> None:
        self._kind = kind
        self._by_anchor: dict[tuple[str, str], list[tuple[Subject, T]]] = {}
        for subject, entry in entries:
            for name in ANCHORS[kind]:
                if value := getattr(subject, name):
                    lower = value.lower()
                    key = value if lower == value else lower  # one text for both: there are thousands
                    self._by_anchor.setdefault((name, key), []).append((subject, entry))
                    break

    def find(self, seen: Subject) -> list[T]:
        """Entries that cover ``seen``."""
        found: list[T] = []
        for name in ANCHORS[self._kind]:
            value = getattr(seen, name).lower()
            keys = ((name, value), (name, "*")) if name == "package" else ((name, value),)
            for key in keys if value else ():
                entries = self._by_anchor.get(key, ())
                found.extend(entry for subject, entry in entries if covers(self._kind, subject, seen))
        return found


class Route(NamedTuple):
    """An allowed destination, and the permit it comes from (None: the zone itself)."""

    network: Network | None
    port: int
    protocol: str
    permit: Permit | None
    name: str = ""
    """DNS name by which the PC must have looked the address up; empty = any or none."""

    def leads_to(self, address: Address, port: int, protocol: str, name: str = "") -> bool:
        """Tell whether a connection is covered."""
        return (
            self.port in {0, port}
            and self.protocol in {"any", "", protocol}
            and (self.network is None or self.network.holds(address))
            and (not self.name or name_covers(self.name, name))
        )


def zone_route(destination: Destination) -> Route:
    """The route of a zone's destination. Raises ValueError."""
    return Route(parse_network(destination.network), destination.port, destination.protocol, None)


def permit_route(permit: Permit) -> Route:
    """The route of a destination permit. Raises ValueError."""
    subject = permit.subject
    network = parse_network(subject.network) if subject.network or not subject.name else None
    return Route(network, subject.port, subject.protocol, permit, subject.name)
