"""Many rules against one event without trying each.

Whatever a rule asks, mostly one of a few texts must stand in one of its fields, or it cannot fire (its *anchors*). One
look at each field tells which anchors are there, so only rules with one of theirs are tried. Three ways to look, by
what the rules ask: the whole value or its last path component in a dictionary, and every other text by one RE2 set, an
automaton that finds all of them in one pass over the value. What a value holds is remembered: values repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any as Value
from typing import NamedTuple

from policies.match_literals import required_text
from policies.model import ANYWHERE, All, Any, Compare, Enrichment, Hit, Node
from policies.predicate import Check
from policies.readers import Reader, items_of, reader
from protocol.events import Event

REMEMBERED = 8192
"""Values of one field that are remembered."""
SHORTEST = 3
"""A text shorter than this stands nearly everywhere."""
SET_MEMORY = 64 << 20
"""Bytes an RE2 set may take; for plain texts it needs a few for each of their letters."""
_SEPARATORS = "/\\"

Anchor = tuple[str, str, str]
"""Field, how (``eq`` | ``last`` | ``part``), text in lower case; ``last``: the value's last path component."""


class _Need(NamedTuple):
    """One of these must be there; ``cost``: how often that is so, roughly."""

    anchors: frozenset[Anchor]
    cost: int


_COSTS = {"eq": 2, "last": 1, "part": 3}
_COMMON = 40
"""Cost of a whole value that has few others beside it (a truth, a number), and of a short text."""


def anchors_of(node: Node) -> frozenset[Anchor] | None:
    """What must be there for a predicate to hold: one of these; None: nothing in particular."""
    need = _need(node)
    return need.anchors if need else None


def _need(node: Node) -> _Need | None:
    if isinstance(node, Compare):
        return _need_of_compare(node)
    if isinstance(node, All):
        needs = [need for part in node.parts if (need := _need(part))]
        return min(needs, key=lambda need: need.cost, default=None)
    if isinstance(node, Any):
        found = [_need(part) for part in node.parts]
        if not found or None in found:
            return None
        parts = [need for need in found if need]
        return _Need(frozenset().union(*(need.anchors for need in parts)), sum(need.cost for need in parts))
    return None


def _need_of_compare(node: Compare) -> _Need | None:
    how = {"eq": "eq", "re": "re", "contains": "part", "startswith": "part", "endswith": "part"}.get(node.op)
    if how is None or (how == "eq" and node.field == ANYWHERE):
        return None
    needs = [_need_of_value(node, how, value) for value in node.values]
    if node.every:
        return min((need for need in needs if need), key=lambda need: need.cost, default=None)
    if not needs or None in needs:
        return None
    found = [need for need in needs if need]
    return _Need(frozenset().union(*(need.anchors for need in found)), sum(need.cost for need in found))


def _need_of_value(node: Compare, how: str, value: Value) -> _Need | None:
    if how == "re":
        how, value = "part", required_text(str(value))
    if not isinstance(value, str) or not value or (how == "part" and len(value) < SHORTEST):
        return None
    if node.cased and not value.isascii():
        return None  # what is lower case may depend on the letters beside it
    low = value.lower()
    if node.op == "endswith" and low[0] in _SEPARATORS and not any(one in low[1:] for one in _SEPARATORS):
        how, low = "last", low[1:]
    cost = _COSTS[how] if how == "last" or len(low) > SHORTEST else _COMMON
    return _Need(frozenset({(node.field, how, low)}), cost)


class _Field:
    """Which rules' anchors stand in a value of one field."""

    def __init__(self, read: Reader, anchors: Iterable[tuple[Anchor, int]]) -> None:
        self.read = read
        self._by_text: dict[str, dict[str, set[int]]] = {"eq": {}, "last": {}, "part": {}}
        for (_, how, text), position in anchors:
            self._by_text[how].setdefault(text, set()).add(position)
        self._parts = list(self._by_text["part"].values())
        self._search = _searcher(self._by_text["part"]) if self._parts else None
        self._known: dict[Value, tuple[int, ...]] = {}

    def look(self, value: Value) -> tuple[int, ...]:
        """Positions of rules that may fire on a value."""
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[value] = tuple(self._find(value))
        return known

    def _find(self, value: Value) -> set[int]:
        found: set[int] = set()
        for one in items_of(value):
            if one.__class__ is not str or not one:
                continue
            low = one.lower()
            found |= self._by_text["eq"].get(low, set())
            if lasts := self._by_text["last"]:
                for separator in _SEPARATORS:
                    _, at, last = low.rpartition(separator)
                    found |= lasts.get(last, set()) if at else set()
            for number in self._search(low) or () if self._search else ():
                found |= self._parts[number]
        return found


def _searcher(texts: Iterable[str]) -> Callable[[str], Sequence[int] | None]:
    """Finds which of the texts (by number) stand in a lower-case text."""
    import re2  # only where there are many rules: the resident agent stays small

    options = re2.Options()
    options.log_errors = False
    options.max_mem = SET_MEMORY
    options.literal = True
    found = re2.Set.SearchSet(options)
    for text in texts:
        found.Add(text)
    found.Compile()

    def search(text: str) -> Sequence[int] | None:
        numbers: Sequence[int] | None = found.Match(text.encode(errors="replace"))
        return numbers

    return search


class Index:
    """Rules of one kind of event behind their anchors; ``entries``: check (None: it fires), hit, predicate."""

    __slots__ = ("_always", "_entries", "_fields")

    def __init__(self, kind: str, entries: Sequence[tuple[Check | None, Hit, Node | None]]) -> None:
        self._entries = [(check, hit) for check, hit, _ in entries]
        by_field: dict[str, list[tuple[Anchor, int]]] = {}
        always = []
        for position, (_, _, node) in enumerate(entries):
            anchors = anchors_of(node) if node is not None else None
            if anchors is None:
                always.append(position)
            for anchor in anchors or ():
                by_field.setdefault(anchor[0], []).append((anchor, position))
        self._always = tuple(always)
        self._fields = [_Field(reader(name, kind), anchors) for name, anchors in by_field.items()]

    def candidates(self, event: Event, enrichment: Enrichment) -> Sequence[int]:
        """Positions of the rules that may fire, in order."""
        found: set[int] | None = None
        for field in self._fields:
            if positions := field.look(field.read(event, enrichment)):
                if found is None:
                    found = set(self._always)
                found.update(positions)
        return self._always if found is None else sorted(found)

    def holds(self, event: Event, enrichment: Enrichment) -> bool:
        """Whether any rule fires. Raises whatever a rule raises."""
        entries = self._entries
        for position in self.candidates(event, enrichment):
            check = entries[position][0]
            if check is None or check(event, enrichment):
                return True
        return False

    def entries(self, event: Event, enrichment: Enrichment) -> list[tuple[Check | None, Hit]]:
        """The rules to try on an event."""
        return [self._entries[position] for position in self.candidates(event, enrichment)]


__all__ = ["Index", "anchors_of"]
