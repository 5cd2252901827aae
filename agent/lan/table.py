"""The neighbours of one segment: what is new about each frame's sender. Pure and bounded."""

from __future__ import annotations

from msgspec import Struct

from agent.lan.flood import Flood
from agent.lan.frames import Sighting
from policies.machines import fingerprints_differ, names_differ, plain_name

MOST = 4096
"""Machines remembered of a segment; the one silent longest is given up for a new one."""
ADDRESSES, VARIANTS = 16, 4
AGAIN_S = 4 * 3600.0
"""A machine that is still there is told again this often, so that the register knows who is still there."""


class Neighbour(Struct):
    """One machine, by its MAC. ``variants``: (name, fingerprint) it showed, the newest last."""

    addresses: tuple[str, ...] = ()
    hostname: str = ""
    fingerprint: str = ""
    variants: tuple[tuple[str, str], ...] = ()
    told_s: float = 0.0


class Change(Struct, frozen=True):
    """Something to report: ``why`` as in ``neighbour.seen``, and what the machine showed so far."""

    why: str
    sighting: Sighting
    neighbour: Neighbour


class NeighbourTable:
    """Takes sightings, says what changed. ``own`` is the MAC of the watching interface, which only a copy can send with."""

    def __init__(self, own: str, *, most: int = MOST) -> None:
        self._own, self._most = own, most
        self._machines: dict[str, Neighbour] = {}
        self.flood = Flood()

    def __len__(self) -> int:
        return len(self._machines)

    def take(self, seen: Sighting, now_s: float) -> Change | None:
        """What this sighting changes; None for nothing, or where a flood lets nothing in."""
        known = self._machines.pop(seen.mac, None)
        if known is None:
            return self._new(seen, now_s)
        self._machines[seen.mac] = known  # the one seen last stands last
        why = self._news(known, seen, now_s)
        if not why or not self.flood.admits(seen.via, seen.mac, now_s, machine=False):
            return None
        _learn(known, seen)
        known.told_s = now_s
        return Change(why, seen, known)

    def _new(self, seen: Sighting, now_s: float) -> Change | None:
        if not self.flood.admits(seen.via, seen.mac, now_s, machine=True):
            return None
        if len(self._machines) >= self._most:
            del self._machines[next(iter(self._machines))]
        fresh = self._machines[seen.mac] = Neighbour(told_s=now_s)
        _learn(fresh, seen)
        return Change("copied" if seen.mac == self._own else "new", seen, fresh)

    def _news(self, known: Neighbour, seen: Sighting, now_s: float) -> str:
        again = now_s - known.told_s >= AGAIN_S
        shown = _shown(seen)
        if any(shown) and shown not in known.variants:
            if any(_differ(shown, before) for before in known.variants):
                return "copied"
            if (seen.hostname and not known.hostname) or (seen.fingerprint and not known.fingerprint):
                return "fingerprint"
        if seen.ip and seen.ip not in known.addresses:
            return "address"
        if again:
            return "copied" if seen.mac == self._own or _contradicted(known) else "again"
        return ""


def _shown(seen: Sighting) -> tuple[str, str]:
    return plain_name(seen.hostname), seen.fingerprint


def _differ(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two machines show themselves: other name, or other fingerprint of the same protocol."""
    return names_differ(one[0], other[0]) or fingerprints_differ(one[1], other[1])


def _contradicted(known: Neighbour) -> bool:
    """Whether the machine has shown itself as two."""
    newest = known.variants[-1] if known.variants else ("", "")
    return any(_differ(newest, before) for before in known.variants[:-1])


def _learn(known: Neighbour, seen: Sighting) -> None:
    if seen.ip and seen.ip not in known.addresses:
        known.addresses = (*known.addresses, seen.ip)[-ADDRESSES:]
    known.hostname = seen.hostname or known.hostname
    known.fingerprint = seen.fingerprint or known.fingerprint
    shown = _shown(seen)
    if any(shown) and shown not in known.variants:
        known.variants = (*known.variants, shown)[-VARIANTS:]
