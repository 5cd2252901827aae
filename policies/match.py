"""Rules against events: the same code on the PC (to stop) and in the centre (to flag)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from policies.match_index import Index
from policies.model import Compare, Enrichment, Hit, Node, Not, Rule
from policies.predicate import FIELDREFS, Check, PredicateError, closure, fold
from policies.readers import ENRICHED
from protocol.events import KINDS, Event, kind_of

Entry = tuple[Check | None, Hit | Index]
"""What is left to check (None: nothing, it fires), and the hit; or many rules behind one check."""

MEMORY_ENTRIES = 4096
FEW = 16
"""So many rules of one kind are tried one after the other; more are put behind an index."""
NARROWED = 64
"""So many rules that ask the enrichment are folded with it; more are tried as they are."""


def evaluate(node: Node, event: Event, enrichment: Enrichment) -> bool:
    """Evaluate one predicate once. Raises PredicateError when it cannot be compiled."""
    kind = kind_of(event)
    folded = fold(node, kind)
    return folded if isinstance(folded, bool) else closure(folded, kind)(event, enrichment)


def run(entries: Iterable[Entry], event: Event, enrichment: Enrichment) -> list[Hit]:
    """The hits of one event. A check that raises is a hit with ``error``."""
    hits: list[Hit] = []
    for check, hit in entries:
        if isinstance(hit, Index):
            hits += run(hit.entries(event, enrichment), event, enrichment)
            continue
        try:
            if check is None or check(event, enrichment):
                hits.append(hit)
        except Exception as error:  # noqa: BLE001 - whatever a rule does must show up as a rule error
            hits.append(Hit(hit.rule, f"{type(error).__name__}: {error}"))
    return hits


class _Made(NamedTuple):
    """A rule compiled for one kind; ``node``: what is left of its predicate, None where nothing is."""

    check: Check | None
    hit: Hit
    node: Node | None
    asks: bool = False
    """Whether it asks for anything that the enrichment knows."""


class Matcher:
    """Compiled rules, indexed by the kinds of event that can fire them, and beyond a few by what they look for.

    A rule that cannot be compiled or that raises becomes a Hit with ``error`` for each event of its family.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Mapping[str, Rule] = {rule.id: rule for rule in rules}
        self._places = {name: place for place, name in enumerate(self.rules)}
        self._table: dict[type[Event], tuple[Entry, ...]] = {}
        self._asking: dict[type[Event], tuple[Rule, ...]] = {}
        """Rules that are folded with each enrichment."""
        self._rest: dict[type[Event], tuple[Entry, ...]] = {}
        """The others: the same whatever the enrichment."""
        self._narrowed: dict[tuple[type[Event], Enrichment], tuple[Entry, ...]] = {}
        families: dict[str, list[Rule]] = {}
        for rule in self.rules.values():
            families.setdefault(rule.family, []).append(rule)
        for kind, type_ in KINDS.items():
            self._add(kind, type_, families.get(kind.partition(".")[0], []))
        self.kinds_with_rules: frozenset[str] = frozenset(
            kind for kind, type_ in KINDS.items() if type_ in self._table
        )
        self.types_with_rules: frozenset[type[Event]] = frozenset(self._table)

    def _add(self, kind: str, type_: type[Event], rules: list[Rule]) -> None:
        made = [one for rule in rules if (one := _made(rule, kind, None))]
        if not made:
            return
        self._table[type_] = _indexed(kind, made)
        asking = [one for one in made if one.asks]
        if len(asking) > NARROWED:
            asking = []
        self._asking[type_] = tuple(one.hit.rule for one in asking)
        self._rest[type_] = _indexed(kind, [one for one in made if not (one.asks and asking)])

    def relevant(self, kind: str) -> bool:
        """Tell whether any rule can fire on this kind; if not, enriching it is wasted."""
        return kind in self.kinds_with_rules

    def match(self, event: Event, enrichment: Enrichment) -> list[Hit]:
        """Every rule that fires, in bundle order."""
        return run(self._table.get(type(event), ()), event, enrichment)

    def narrow(self, type_: type[Event], enrichment: Enrichment) -> tuple[Entry, ...]:
        """What this enrichment leaves to check on events of a type, for :func:`run`; mostly nothing.

        In bundle order, but that an index with its many rules comes last.
        """
        key = type_, enrichment
        entries = self._narrowed.get(key)
        if entries is None:
            if len(self._narrowed) >= MEMORY_ENTRIES:
                self._narrowed.clear()
            kind = str(type_.__struct_config__.tag)
            asking = (_made(rule, kind, enrichment) for rule in self._asking.get(type_, ()))
            left = [(one.check, one.hit) for one in asking if one]
            entries = self._narrowed[key] = tuple(
                sorted((*left, *self._rest.get(type_, ())), key=self._place)
            )
        return entries

    def _place(self, entry: Entry) -> int:
        hit = entry[1]
        return len(self._places) if isinstance(hit, Index) else self._places[hit.rule.id]


def _made(rule: Rule, kind: str, enrichment: Enrichment | None) -> _Made | None:
    """Compile a rule for one kind; None: it can never fire."""
    try:
        folded = fold(rule.predicate, kind, enrichment)
        if not isinstance(folded, bool):
            return _Made(closure(folded, kind), Hit(rule), folded, not ENRICHED.isdisjoint(_names(folded)))
    except (PredicateError, ImportError, RecursionError) as error:
        return _Made(None, Hit(rule, f"{type(error).__name__}: {error}"), None)
    return _Made(None, Hit(rule), None) if folded else None


def _indexed(kind: str, made: list[_Made]) -> tuple[Entry, ...]:
    """A few entries as they are; many behind one check."""
    if len(made) <= FEW:
        return tuple((one.check, one.hit) for one in made)
    index = Index(kind, [(one.check, one.hit, one.node) for one in made])
    return ((index.holds, index),)


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Compare):
        yield node.field
        if node.op in FIELDREFS:
            yield from map(str, node.values)
        return
    for part in (node.part,) if isinstance(node, Not) else node.parts:
        yield from _names(part)
