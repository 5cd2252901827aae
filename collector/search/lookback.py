"""Indicators against what is stored: what was seen before anybody warned of it (Nerima 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from collector.registers.indicators import IndicatorTable
from collector.search.events import EventQuery, EventSearch, Found
from protocol.events import kind_of

NAMED: dict[str, tuple[str, ...]] = {
    "connection.opened": ("dest_ip", "dest_name"),
    "connection.blocked": ("dest_ip", "dest_name"),
    "dns.resolved": ("query", "answers"),
    "process.started": ("digest",),
    "process.denied": ("digest",),
    "software.installed": ("digest",),
    "software.changed": ("digest",),
    "media.file_written": ("digest",),
}
"""Event kind → fields that a list may name."""
MOST_EVENTS = 100_000
"""Events of one kind looked at in one go; the oldest first."""


class Match(Struct):
    """One value on one PC: the first event that named it, and how many did."""

    found: Found
    value: str
    count: int = 1
    last_us: int = 0


def values_of(event: Any) -> list[str]:
    """What a list could name in an event."""
    values: list[str] = []
    for name in NAMED.get(kind_of(event), ()):
        value = getattr(event, name)
        values += value if isinstance(value, tuple) else (value,)
    return [value for value in values if value]


def look_back(search: EventSearch, table: IndicatorTable, *, since_us: int, until_us: int) -> list[Match]:
    """Every value of ``table`` that stored events name, once for each PC, oldest first. Raises as ``EventSearch.run``."""
    matches: dict[tuple[str, str], Match] = {}
    for kind in NAMED:
        query = EventQuery(
            kinds=frozenset({kind}), since_us=since_us, until_us=until_us, limit=MOST_EVENTS, order="oldest"
        )
        for found, value in _hits(search.run(query), table):
            match = matches.get((found.agent_id, value))
            if match is None:
                matches[found.agent_id, value] = Match(found, value, last_us=found.event.time_us)
            else:
                match.count += 1
                match.last_us = found.event.time_us
    return sorted(matches.values(), key=lambda one: one.found.event.time_us)


def _hits(events: Iterable[Found], table: IndicatorTable) -> Iterator[tuple[Found, str]]:
    for found in events:
        for value in values_of(found.event):
            if table.find((value,)):
                yield found, value
                break
