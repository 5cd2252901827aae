"""Remembering what a release says about events that differ in nothing it looks at.

``CompiledBundle.known`` remembers too, per event and moment. The detector sees whole batches: where no permit begins or
ends and office hours do not turn between the first and the last event of a batch, time, PC and place are looked at
once per batch, and what is left per event is one look-up by what the event is about.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from policies.enrich import ABOUT, CompiledBundle, Place, office_span
from policies.facts.base import Facts
from policies.match import Entry
from policies.model import Enrichment
from protocol.events import KINDS, AnyEvent, Event

Known = tuple[Enrichment, tuple[Entry, ...]]
Shelf = tuple[Callable[[Event], object], dict[object, Known]]
"""For one kind of event: what it is about, and what is known by that."""
MOST = 200_000
"""Entries remembered: programs and destinations of a city, times the places that permits tell apart."""


class Recall:
    """One release's memory."""

    def __init__(self, compiled: CompiledBundle) -> None:
        self._compiled = compiled
        self._shelves: dict[tuple[tuple[str, ...], int | None, bool], dict[type[Event], Shelf]] = {}
        self._entries = 0
        # Who did it matters only where a permit names users; without one a city's users would each fill the memory.
        by_user = any(permit.scope.users for permit in compiled.bundle.permits)
        self._about = {
            type_: _getter(ABOUT.get(type_), by_user=by_user)
            for type_ in KINDS.values()
            if type_ in compiled.matcher.types_with_rules
        }

    def shelves(
        self, place: Place, earliest: int, latest: int, received: int
    ) -> dict[type[Event], Shelf] | None:
        """The memory for events of ``earliest`` … ``latest`` (µs), by type; None when something changes in between.

        Types that no rule looks at are not in it. Permits are judged as of the receipt where an event claims later.
        """
        first, last = min(earliest, received), min(latest, received)
        change = self._compiled.next_change_us(first)
        _, turn, office = office_span(earliest)
        if latest >= turn or (change is not None and last >= change):
            return None
        key = place.memory, change, office
        shelves = self._shelves.get(key)
        if shelves is None:
            shelves = self._shelves[key] = {type_: (about, {}) for type_, about in self._about.items()}
        return shelves

    def learn(self, shelf: Shelf, event: AnyEvent, place: Place, now_us: int) -> Known:
        """Look an event up that is not on its shelf, and put it there. Raises whatever the look-up raises."""
        if self._entries >= MOST:
            self._shelves.clear()
            self._entries = 0
        self._entries += 1
        about, known = shelf
        found = known[about(event)] = self._compiled.known(event, place, now_us)
        return found


def _getter(facts: Facts | None, *, by_user: bool) -> Callable[[Event], object]:
    """What an event is about; ``by_user``: some permit is for certain users only."""
    if facts is None:
        return lambda _event: None
    leave_out = facts.user_only_scopes and not by_user
    names = [name for name in facts.about if not (leave_out and name == "user")]
    return attrgetter(*names) if names else lambda _event: None
