"""Is one MAC two machines? Over all segments and watchers; each watcher alone sees only its own. Pure and bounded.

A PC with an agent says itself where it is, so a stranger with its MAC elsewhere, or with another name, shows. Of other
machines the centre knows where they were seen: one that is here, there and here again is in two places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from msgspec import Struct

from policies.addresses import parse_address, parse_network
from policies.machines import fingerprints_differ, names_differ, plain_name
from protocol.events import NeighbourSeen

MOST = 100_000
MOST_WAITING = 1024
MOVE_US = 30_000_000
"""A PC that was carried to another segment, or that took another address, says so within this time."""
MOST_INTERFACES = 8
_HELD = frozenset(("arp", "ndp", "mdns"))
"""What is sent from an address one holds; a lease is also asked for one that is not to be had."""
TOGETHER_US = 9 * 3600 * 1_000_000
"""Machines still there are told every four hours: here, there and here again within this is two."""


class Sighting(Struct):
    """Where and how a MAC was last seen, and where before that."""

    segment: str
    last_us: int
    hostname: str = ""
    fingerprint: str = ""
    before: str = ""
    before_us: int = 0


class Owner(Struct):
    """The enrolled PC whose own MAC it is: interface → segment, and its addresses there."""

    agent_id: str
    hostname: str
    segments: dict[str, tuple[str, frozenset[str]]]

    def is_on(self, segment: str) -> bool:
        """Whether it said that it is there."""
        return any(one == segment for one, _ in self.segments.values())

    def where(self) -> str:
        """Its segments, for people."""
        return ", ".join(sorted({segment for segment, _ in self.segments.values()}))

    def strange(self, event: NeighbourSeen) -> str:
        """What speaks against this sighting being that PC, unless it moved: two_places | other_address, or nothing."""
        if not self.is_on(event.segment):
            return "two_places"
        held = any(event.ip in addresses for _, addresses in self.segments.values())
        return (
            "" if held or event.via not in _HELD or not _lies_in(event.ip, event.segment) else "other_address"
        )


class Copy(Struct, frozen=True):
    """A MAC that two machines use, and where the other one is.

    ``why``: other_name | other_fingerprint | other_address | two_places.
    """

    agent_id: str
    seq: int
    event: NeighbourSeen
    why: str
    elsewhere: str


class _Waiting(Struct, frozen=True):
    copy: Copy
    due_us: int


class Places:
    """The memory of all this."""

    def __init__(self) -> None:
        self._seen: dict[str, Sighting] = {}
        self._owners: dict[str, Owner] = {}
        self._waiting: deque[_Waiting] = deque()

    def restore(self, seen: Iterable[tuple[str, Sighting]], owners: Iterable[tuple[str, Owner]]) -> None:
        """Take in what the register holds: what was seen last comes last."""
        for mac, one in seen:
            self._keep(mac, one)
        for mac, owner in owners:
            self._owners[mac] = owner

    def own(self, agent_id: str, event: NeighbourSeen) -> None:
        """A PC says which MAC it has where."""
        owner = self._owners.get(event.mac)
        if owner is None or owner.agent_id != agent_id:
            if len(self._owners) >= MOST:
                del self._owners[next(iter(self._owners))]
            owner = self._owners[event.mac] = Owner(agent_id, "", {})
        owner.hostname = plain_name(event.hostname)
        owner.segments[event.interface] = event.segment, frozenset(event.addresses)
        while len(owner.segments) > MOST_INTERFACES:  # it may make up names
            del owner.segments[next(iter(owner.segments))]

    def seen(self, agent_id: str, seq: int, event: NeighbourSeen, now_us: int) -> Copy | None:
        """A watcher saw a machine; a copy, where that is plain at once."""
        owner = self._owners.get(event.mac)
        if owner is not None and owner.agent_id == agent_id:
            return None  # its own MAC from outside: the PC itself has said so
        known = self._seen.get(event.mac)
        why, elsewhere = self._contradiction(owner, known, event, now_us)
        self._note(known, event, now_us)
        if why:
            return Copy(agent_id, seq, event, why, elsewhere)
        if owner is not None and (strange := owner.strange(event)) and len(self._waiting) < MOST_WAITING:
            waits = Copy(agent_id, seq, event, strange, owner.where())
            self._waiting.append(_Waiting(waits, now_us + MOVE_US))
        return None

    def due(self, now_us: int) -> Iterator[Copy]:
        """Copies that could have been a PC on the move, and are not."""
        while self._waiting and self._waiting[0].due_us <= now_us:
            copy = self._waiting.popleft().copy
            owner = self._owners.get(copy.event.mac)
            if owner is not None and owner.strange(copy.event):
                yield copy

    def _contradiction(
        self, owner: Owner | None, known: Sighting | None, event: NeighbourSeen, now_us: int
    ) -> tuple[str, str]:
        name = plain_name(event.hostname)
        if owner is not None and names_differ(name, owner.hostname):
            return "other_name", owner.where()
        if known is None:
            return "", ""
        if owner is None and names_differ(name, known.hostname):
            return "other_name", known.segment
        if fingerprints_differ(event.fingerprint, known.fingerprint):
            return "other_fingerprint", known.segment
        back = event.segment == known.before != known.segment and now_us - known.before_us < TOGETHER_US
        return ("two_places", known.segment) if owner is None and back else ("", "")

    def _note(self, known: Sighting | None, event: NeighbourSeen, now_us: int) -> None:
        if known is None:
            known = Sighting(event.segment, now_us)
        elif known.segment != event.segment:
            known.before, known.before_us = known.segment, known.last_us
        known.segment, known.last_us = event.segment, now_us
        known.hostname = plain_name(event.hostname) or known.hostname
        known.fingerprint = event.fingerprint or known.fingerprint
        self._keep(event.mac, known)

    def _keep(self, mac: str, sighting: Sighting) -> None:
        self._seen.pop(mac, None)
        if len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[mac] = sighting


def _lies_in(ip: str, segment: str) -> bool:
    """Whether an address is one of the segment's network; what cannot be read is not."""
    address = parse_address(ip)
    try:
        return address is not None and parse_network(segment.partition(" ")[0]).holds(address)
    except ValueError:
        return False
