"""Correlations over hits, by the events' own time: the same code on the stream and over stored events.

For each correlation and each group of it the newest entries are kept. A condition that more events can only make truer is
judged at each entry, over the windows the entry lies in, so an event that comes late still counts where it belongs; any
other condition is judged when its window has closed. A group is reported at most once a time span, so an attack that goes
on is told again and again but not for each of its events. Memory has caps; what they cost is counted (``Groups.lost``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any as Value

import msgspec

from policies.correlation_state import Correlated, Groups, Kept
from policies.correlation_window import Entry
from policies.model import Correlation, Enrichment
from policies.readers import Reader, is_missing, reader
from protocol.events import Event, kind_of

__all__ = ["Correlated", "Correlator", "Entry", "Kept"]

AGENT = "agent_id"
Read = Callable[[str], Value]
NOTHING = Enrichment()


@lru_cache(maxsize=1024)
def _reader(name: str, kind: str) -> Reader:
    return reader(name, kind)


class Correlator:
    """Every correlation of a release. Feed it in the order of receipt; it does not raise for what an event holds."""

    def __init__(self, correlations: Iterable[Correlation]) -> None:
        self._groups = {one.id: Groups(one) for one in correlations}
        self._by_rule: dict[str, list[str]] = {}
        for name, groups in self._groups.items():
            for rule in groups.correlation.rules:
                self._by_rule.setdefault(rule, []).append(name)
        self.wanted: frozenset[str] = frozenset(self._by_rule)
        """Rules whose hits count."""

    def feed(
        self,
        event: Event,
        agent_id: str,
        seq: int,
        rules: Iterable[str],
        *,
        received_us: int,
        enrichment: Enrichment = NOTHING,
    ) -> list[Correlated]:
        """Take in the rules that fired on one event; returns what that makes true.

        The event counts by its own time, but not by one later than its receipt: a PC's clock may be set.
        """
        kind = kind_of(event)

        def read(name: str) -> Value:
            return agent_id if name == AGENT else _reader(name, kind)(event, enrichment)

        weight = max(1, getattr(event, "count", 1))
        found: list[Correlated] = []
        for rule in rules:
            entry = Entry(min(event.time_us, received_us), agent_id, seq, rule, (), weight)
            found += self._take(entry, read, received_us)
        return found

    def close(self, now_us: int) -> list[Correlated]:
        """Judge the windows that have closed by ``now_us`` (UTC µs), and what follows from that."""
        found: list[Correlated] = []
        for groups in self._groups.values():
            for one in groups.close(now_us):
                found += [one, *self._follow(one, now_us)]
        return found

    def _take(self, entry: Entry, read: Read, now_us: int) -> Iterator[Correlated]:
        for name in self._by_rule.get(entry.rule, ()):
            groups = self._groups[name]
            correlation = groups.correlation
            key = _values(correlation, correlation.group_by, entry.rule, read)
            values = _values(correlation, correlation.fields, entry.rule, read)
            if key is None or values is None:
                continue
            texts = tuple(map(_text, key))
            found = groups.add(texts, msgspec.structs.replace(entry, values=values), now_us)
            if found:
                yield found
                yield from self._follow(found, now_us)

    def _follow(self, found: Correlated, now_us: int) -> Iterator[Correlated]:
        """A correlation that held is a hit for those that refer to it."""
        last = found.last
        entry = Entry(last.time_us, last.agent_id, last.seq, found.correlation.id)
        facts = {AGENT: last.agent_id, **found.group}
        yield from self._take(entry, facts.get, now_us)

    # -- going on after a restart, and with another release ------------------------------------------------------------

    @property
    def groups(self) -> Iterable[Groups]:
        """What is kept, by correlation."""
        return self._groups.values()

    def share(self, other: Correlator) -> None:
        """Count together with ``other`` what is the same in both: releases of two rings, or one and the next."""
        for name, groups in other._groups.items():
            if name in self._groups and self._groups[name].digest == groups.digest:
                self._groups[name] = groups

    def restore(self, kept: Iterable[Kept]) -> None:
        """Take stored groups back, the longest untouched first."""
        for one in kept:
            if groups := self._groups.get(one.correlation):
                groups.restore(one)


def _values(
    correlation: Correlation, names: Iterable[str], rule: str, read: Read
) -> tuple[Value, ...] | None:
    """The values of some fields; None: one is missing, and so the entry counts nowhere."""
    values = tuple(read(correlation.aliases.get(name, {}).get(rule, name)) for name in names)
    return None if any(map(is_missing, values)) else tuple(map(_plain, values))


def _plain(value: Value) -> str | int:
    return int(value) if isinstance(value, int) else _text(value)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else str(value)
