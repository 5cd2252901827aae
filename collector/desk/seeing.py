"""What stored events show that no register and no policy knows: devices, media, machines, software, destinations.

Whether something is known is asked of the draft itself, so what a permit, an asset or the site file covers never comes
up. Bounded: at most :data:`MOST_SUBJECTS` of a kind are told apart, the rest is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import asdict

from collector.console.masking import mask_path
from collector.detection.batch import Batch, Decoded
from collector.registers.seeding import SEED_KINDS, Sighting
from policies.addresses import parse_address
from policies.enrich import CompiledBundle, Place
from policies.facts.network import LOCAL_ZONE
from policies.facts.things import NEEDS_NO_PERMIT
from policies.model import Enrichment, Subject
from policies.permits import FIELDS, is_specific
from protocol.events import (
    AnyEvent,
    ConnectionBlocked,
    ConnectionOpened,
    DeviceAttached,
    DeviceBlocked,
    Event,
    MediaBlocked,
    MediaMounted,
    NeighbourSeen,
    ProcessDenied,
    ProcessStarted,
    SoftwareChanged,
    SoftwareInstalled,
    kind_of,
)

MOST_SUBJECTS = 20_000
MOST_PCS = 1_000
"""PCs told apart for one subject."""
LABEL = 256
RPM_SYSTEMS = ("red hat", "rhel", "fedora", "centos", "rocky", "alma", "suse", "miracle")


Look = Callable[[Any, Enrichment], "tuple[Subject, str] | None"]
"""(event, what is known of it) → what to propose and a label; None = it is known, or nothing certain."""


def _device(event: Any, known: Enrichment) -> tuple[Subject, str] | None:
    if event.device_class in NEEDS_NO_PERMIT or known.permit == "not_permittable":
        return None
    subject = Subject(**{name: getattr(event, name) for name in FIELDS["device"]})
    label = f"{event.device_class} {event.label}".strip()
    return (subject, label) if is_specific("device", subject) else None


def _medium(event: Any, _known: Enrichment) -> tuple[Subject, str] | None:
    subject = Subject(media_id=event.media_id, fs_uuid=event.fs_uuid, serial=event.serial)
    label = f"{event.label or event.fs_type} {event.size >> 20} MiB"
    return (subject, label) if is_specific("medium", subject) else None


def _machine(event: Any, known: Enrichment) -> tuple[Subject, str] | None:
    if not event.mac or event.randomised or known.asset == "city":
        return None  # a made-up MAC is another one tomorrow
    return Subject(mac=event.mac.lower()), f"{event.hostname} {event.ip}".strip()


def _installed(event: Any, _known: Enrichment) -> tuple[Subject, str] | None:
    if event.digest:
        return Subject(digest=event.digest), event.name
    found = Subject(source=event.source, package=event.name)
    return (found, f"{event.name} {event.version}") if is_specific("software", found) else None


def _started(event: Any, _known: Enrichment) -> tuple[Subject, str] | None:
    if event.package:
        return Subject(source="dpkg", package=event.package), event.package
    return (Subject(digest=event.digest), event.target) if event.digest and not event.on_media else None


def _destination(event: Any, known: Enrichment) -> tuple[Subject, str] | None:
    address = parse_address(event.dest_ip)
    if event.direction == "in" or address is None or known.dest_zone in {"", LOCAL_ZONE}:
        return None
    bits = 32 if address.version == 4 else 128  # noqa: PLR2004
    protocol = "icmp" if event.protocol == "icmpv6" else event.protocol
    port = 0 if protocol == "icmp" else event.dest_port
    if protocol not in {"tcp", "udp", "icmp"}:
        return None
    subject = Subject(network=f"{event.dest_ip}/{bits}", port=port, protocol=protocol)
    return subject, f"{event.dest_name} {known.dest_zone}".strip()


LOOKS: dict[str, dict[type[Event], Look]] = {
    "devices": {DeviceAttached: _device, DeviceBlocked: _device},
    "media": {MediaMounted: _medium, MediaBlocked: _medium},
    "machines": {NeighbourSeen: _machine},
    "software": {
        SoftwareInstalled: _installed,
        SoftwareChanged: _installed,
        ProcessStarted: _started,
        ProcessDenied: _started,
    },
    "destinations": {ConnectionOpened: _destination, ConnectionBlocked: _destination},
}
"""What is looked for → events that show it, and how to read them."""


def seen_kinds(wanted: Iterable[str]) -> frozenset[str]:
    """Kinds of event that show what is wanted (empty = everything)."""
    looks = [LOOKS[kind] for kind in wanted or SEED_KINDS]
    return frozenset(str(type_.__struct_config__.tag) for look in looks for type_ in look)


class Seeing:
    """Gathers sightings: :meth:`take` batch by batch, then :meth:`found`."""

    def __init__(
        self,
        compiled: CompiledBundle,
        agents: Mapping[str, tuple[str, str]],
        wanted: Iterable[str],
        systems: Mapping[str, str] | None = None,
    ) -> None:
        """``agents``: PC → (host name, section); ``systems``: PC → its operating system, for the source of packages."""
        self._compiled, self._agents, self._systems = compiled, agents, systems or {}
        self._looks = {type_: (kind, look) for kind in wanted for type_, look in LOOKS[kind].items()}
        self._places: dict[str, Place] = {}
        self._found: dict[tuple[object, ...], Sighting] = {}
        self._counts: Counter[str] = Counter()
        self.left_out = 0
        """Events about subjects beyond the limit."""

    def take(self, batch: Batch, decoded: Decoded) -> None:
        """Look at a batch."""
        for event in decoded.events:
            entry = self._looks.get(type(event)) if event is not None else None
            if event is not None and entry is not None:
                self._look(batch, event, *entry)

    def _look(self, batch: Batch, event: AnyEvent, kind: str, look: Look) -> None:
        place = self._places.get(batch.agent_id)
        if place is None:
            place = self._places[batch.agent_id] = self._compiled.place(batch.agent_id)
        known = self._compiled.known(event, place, min(event.time_us, batch.received_us))[0]
        if known.asset == "city" or known.permit == "granted":
            return
        seen = look(event, known)
        if seen is None:
            return
        subject, label = seen
        if kind == "destinations" and place.zone not in self._compiled.zones:
            return  # a PC without a zone: there is no list this could go on
        if subject.source == "dpkg" and kind_of(event).startswith("process."):
            subject = Subject(source=self._source(batch.agent_id), package=subject.package)
        self._note(
            batch.agent_id,
            event,
            place,
            Sighting(
                kind=kind,
                subject={name: value for name, value in asdict(subject).items() if value},
                label=str(mask_path(label))[:LABEL],
                zone=place.zone if kind == "destinations" else "",
                pcs=set(),
                sections=Counter(),
            ),
        )

    def _source(self, agent_id: str) -> str:
        """The execution sensor names the package that owns a program, not whose package it is."""
        system = self._systems.get(agent_id, "").lower()
        return "rpm" if any(name in system for name in RPM_SYSTEMS) else "dpkg"

    def _note(self, agent_id: str, event: AnyEvent, place: Place, fresh: Sighting) -> None:
        key = (fresh.kind, fresh.zone, *sorted(fresh.subject.items()))
        sighting = self._found.get(key)
        if sighting is None:
            if self._counts[fresh.kind] >= MOST_SUBJECTS:
                self.left_out += 1
                return
            self._counts[fresh.kind] += 1
            sighting = self._found[key] = fresh
        section = self._agents.get(agent_id, ("", place.section))[1]
        if len(sighting.pcs) < MOST_PCS:
            sighting.pcs.add(agent_id)
        sighting.sections[section] += 1
        sighting.times += 1
        sighting.first_us = min(sighting.first_us or event.time_us, event.time_us)
        sighting.last_us = max(sighting.last_us, event.time_us)

    def found(self) -> list[Sighting]:
        """Everything seen that nothing knows."""
        return list(self._found.values())
