"""What is known about an event beyond its own fields: permit, asset, zones, section, office hours.

One :class:`CompiledBundle` serves every PC of a collector. Its answers depend only on what the event is about, on the
place of the PC and on the permits in force at that moment, so they are remembered by exactly that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from policies.addresses import LOCAL, parse_address, parse_network
from policies.facts import BY_KIND
from policies.facts.base import Centre, Facts
from policies.facts.network import LOCAL_ZONE
from policies.lookup import ANCHORS, SubjectIndex, permit_route, zone_route
from policies.match import Entry, Matcher
from policies.model import Bundle, Destination, Enrichment, Permit, PermitKind, SoftwareAllow, Subject
from policies.permits import State, Where, in_scope, pick
from protocol.events import KINDS, Event

CACHE_ENTRIES = 8192
_LONG_AGO, _NEVER = -(1 << 63), 1 << 63
OUTSIDE, UNKNOWN = "outside", "unknown"
"""Zones of destinations that are in no zone of ours; no address."""

_MINUTE_US = 60_000_000
_TOKYO_MINUTES = 9 * 60
_DAY_MINUTES = 24 * 60
_EPOCH_WEEKDAY = 3
"""1 January 1970 was a Thursday (0 = Monday)."""
_SATURDAY = 5
_OPENS, _CLOSES = 8 * 60 + 30, 17 * 60 + 15

ABOUT: dict[type[Event], Facts] = {
    type_: facts for kind, type_ in KINDS.items() if (facts := BY_KIND.get(kind)) is not None
}
"""What is looked up for an event, and the fields the answer depends on."""
_KEYS: dict[type[Event], Callable[[Event], Any]] = {
    type_: attrgetter(*facts.about) for type_, facts in ABOUT.items()
}


def office_span(time_us: int) -> tuple[int, int, bool]:
    """Whether a time lies in office hours, and from when until when (exclusive) that answer holds.

    Monday to Friday, 08:30 to 17:15 Asia/Tokyo (which has no daylight saving); holidays are not known.
    """
    days, minute = divmod(time_us // _MINUTE_US + _TOKYO_MINUTES, _DAY_MINUTES)
    if (days + _EPOCH_WEEKDAY) % 7 >= _SATURDAY:
        first, last, inside = 0, _DAY_MINUTES, False
    elif minute < _OPENS:
        first, last, inside = 0, _OPENS, False
    elif minute < _CLOSES:
        first, last, inside = _OPENS, _CLOSES, True
    else:
        first, last, inside = _CLOSES, _DAY_MINUTES, False
    midnight = days * _DAY_MINUTES - _TOKYO_MINUTES
    return (midnight + first) * _MINUTE_US, (midnight + last) * _MINUTE_US, inside


class Place(Struct, frozen=True):
    """Where a PC is; ``memory`` is equal for PCs that no permit tells apart."""

    agent_id: str
    zone: str
    section: str
    memory: tuple[str, ...]

    def where(self, user: str = "") -> Where:
        """What the scope of a permit is compared with."""
        return Where(self.agent_id, self.section, self.zone, user)


class CompiledBundle:
    """A bundle ready for look-ups. Raises ValueError for networks that are none (``open_bundle`` refuses those)."""

    def __init__(self, bundle: Bundle, digest: str, centre: Centre | None = None) -> None:
        self.bundle = bundle
        self.digest = digest
        self.centre = centre
        self.matcher = Matcher(bundle.rules)
        self.zones = {zone.name: zone for zone in bundle.zones}
        self._zone_networks = sorted(
            ((parse_network(text), zone.name) for zone in bundle.zones for text in zone.networks),
            key=lambda entry: entry[0].last - entry[0].first,
        )
        self.zone_routes = {zone.name: [zone_route(to) for to in zone.allow] for zone in bundle.zones}
        self.destination_permits = [permit for permit in bundle.permits if permit.kind == "destination"]
        self.permit_routes = [permit_route(permit) for permit in self.destination_permits]
        self.permits: dict[PermitKind, SubjectIndex[Permit]] = {
            kind: SubjectIndex(kind, ((one.subject, one) for one in bundle.permits if one.kind == kind))
            for kind in ANCHORS
        }
        owned = [(subject, True) for subject in bundle.devices]
        self.city = {kind: SubjectIndex(kind, owned) for kind in ANCHORS}
        self._software: SubjectIndex[SoftwareAllow] = SubjectIndex(
            "software",
            (
                (Subject(source=one.source, package=one.package, digest=one.digest), one)
                for one in bundle.software
            ),
        )
        self.barred = frozenset(bundle.not_permittable)
        self.read_only_zones = frozenset(bundle.media_read_only)
        self.places = {place.name: place for place in bundle.places}
        self.accounts = {account.user: account for account in bundle.accounts}
        self._named_agents = frozenset(agent for permit in bundle.permits for agent in permit.scope.agents)
        self._turns = sorted(
            {moment for permit in bundle.permits for moment in (permit.from_us, permit.until_us)}
            | {account.until_us for account in bundle.accounts if account.until_us}
        )
        self._memory: dict[Any, tuple[Enrichment, tuple[Entry, ...]]] = {}
        # Nearly every event falls between the same two changes as the one before. Whole tuples, so that no thread
        # ever sees half of one.
        self._span = (0, 0, 0)
        self._hours = (0, 0, False)

    def know(self, centre: Centre) -> None:
        """The centre knows otherwise now: what was looked up by the old one is forgotten."""
        self.centre = centre
        self._memory.clear()

    def place(self, agent_id: str) -> Place:
        """Where a PC belongs."""
        assigned = self.bundle.assignments.get(agent_id, self.bundle.unassigned)
        own = (agent_id,) if agent_id in self._named_agents else ()
        return Place(agent_id, assigned.zone, assigned.section, (assigned.zone, assigned.section, *own))

    def known(self, event: Event, place: Place, now_us: int) -> tuple[Enrichment, tuple[Entry, ...]]:
        """Look up everything about an event of a PC, and the rules that are left to check once that is known.

        Permits are judged as of ``now_us`` (UTC µs), office hours by the event's own time.
        """
        starts, ends, turn = self._span
        if not starts <= now_us < ends:
            turn = self._find_span(now_us)
        starts, ends, office = self._hours
        if not starts <= event.time_us < ends:
            self._hours = starts, ends, office = office_span(event.time_us)
        type_ = type(event)
        about = _KEYS.get(type_)
        key = (type_, about and about(event), place.memory, turn, office)
        found = self._memory.get(key)
        if found is None:
            if len(self._memory) >= CACHE_ENTRIES:
                self._memory.clear()
            facts = ABOUT.get(type_)
            own = facts.look_up(self, event, place, now_us) if facts else {}
            enrichment = Enrichment(zone=place.zone, section=place.section, office_hours=office, **own)
            found = self._memory[key] = enrichment, self.matcher.narrow(type_, enrichment)
        return found

    def _find_span(self, now_us: int) -> int:
        """Remember between which two changes of permits ``now_us`` lies; returns the number of the first."""
        turn = bisect_right(self._turns, now_us)
        starts = self._turns[turn - 1] if turn else _LONG_AGO
        ends = self._turns[turn] if turn < len(self._turns) else _NEVER
        self._span = starts, ends, turn
        return turn

    def next_change_us(self, now_us: int) -> int | None:
        """When a permit or a contract next begins or ends."""
        index = bisect_right(self._turns, now_us)
        return self._turns[index] if index < len(self._turns) else None

    def zone_of(self, address: str) -> str:
        """Zone of a destination: the smallest network that holds it, else ``outside``, ``local`` or ``unknown``."""
        parsed = parse_address(address)
        if parsed is None:
            return UNKNOWN
        for network, name in self._zone_networks:
            if network.holds(parsed):
                return name
        return LOCAL_ZONE if any(network.holds(parsed) for network in LOCAL) else OUTSIDE

    def software(
        self, seen: Subject, where: Where, now_us: int
    ) -> tuple[State, Permit | SoftwareAllow | None]:
        """Permit state of a program or package, and what covers (or covered) it."""
        if allowed := self._software.find(seen):
            return "granted", allowed[0]
        return pick(self.permits["software"].find(seen), where, now_us)

    def destinations(self, place: Place, now_us: int) -> list[tuple[Destination, tuple[str, ...]]]:
        """Where a PC may connect now, and for which users (empty = all): its zone, then permits in scope."""
        zone = self.zones.get(place.zone)
        found: list[tuple[Destination, tuple[str, ...]]] = [(to, ()) for to in (zone.allow if zone else ())]
        for permit in self.destination_permits:
            # Whom a user-scoped permit is for is the filter's to tell, packet by packet.
            subject = permit.subject
            if not subject.name and _is_for(permit, place, now_us):
                to = Destination(subject.network, subject.port, _protocol(subject.protocol))
                found.append((to, permit.scope.users))
        return found

    def named_destinations(self, place: Place, now_us: int) -> list[tuple[Subject, tuple[str, ...]]]:
        """What a PC may connect to by DNS name now, and for which users (empty = all)."""
        return [
            (permit.subject, permit.scope.users)
            for permit in self.destination_permits
            if permit.subject.name and _is_for(permit, place, now_us)
        ]


def _is_for(permit: Permit, place: Place, now_us: int) -> bool:
    """Whether a permit is in force on a PC, for whomever."""
    anyone = replace(permit.scope, users=())
    return permit.from_us <= now_us < permit.until_us and in_scope(anyone, place.where())


def _protocol(name: str) -> Literal["tcp", "udp", "icmp", "any"]:
    return name if name in {"tcp", "udp", "icmp"} else "any"  # type: ignore[return-value]
