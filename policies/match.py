"""Rules against events: the same code on the PC (to stop) and in the centre (to flag)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from policies.model import Enrichment, Hit, Node, Rule
from policies.predicate import Check, PredicateError, closure, fold
from protocol.events import KINDS, Event, kind_of

Entry = tuple[Check | None, Hit]
"""What is left to check (None: nothing, it fires), and the hit."""

MEMORY_ENTRIES = 4096


def evaluate(node: Node, event: Event, enrichment: Enrichment) -> bool:
    """Evaluate one predicate once. Raises PredicateError when it cannot be compiled."""
    kind = kind_of(event)
    folded = fold(node, kind)
    return folded if isinstance(folded, bool) else closure(folded, kind)(event, enrichment)


def run(entries: Iterable[Entry], event: Event, enrichment: Enrichment) -> list[Hit]:
    """The hits of one event. A check that raises is a hit with ``error``."""
    hits: list[Hit] = []
    for check, hit in entries:
        try:
            if check is None or check(event, enrichment):
                hits.append(hit)
        except Exception as error:  # noqa: BLE001 - whatever a rule does must show up as a rule error
            hits.append(Hit(hit.rule, f"{type(error).__name__}: {error}"))
    return hits


class Matcher:
    """Compiled rules, indexed by the kinds of event that can fire them.

    A rule that cannot be compiled or that raises becomes a Hit with ``error`` for each event of its family.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Mapping[str, Rule] = {rule.id: rule for rule in rules}
        self._rules: dict[type[Event], tuple[Rule, ...]] = {}
        self._table: dict[type[Event], tuple[Entry, ...]] = {}
        self._narrowed: dict[tuple[type[Event], Enrichment], tuple[Entry, ...]] = {}
        for kind, type_ in KINDS.items():
            of_family = [rule for rule in self.rules.values() if rule.family == kind.partition(".")[0]]
            if entries := _entries(of_family, kind, None):
                self._table[type_] = entries
                self._rules[type_] = tuple(hit.rule for _, hit in entries)
        self.kinds_with_rules: frozenset[str] = frozenset(
            kind for kind, type_ in KINDS.items() if type_ in self._table
        )
        self.types_with_rules: frozenset[type[Event]] = frozenset(self._table)

    def relevant(self, kind: str) -> bool:
        """Tell whether any rule can fire on this kind; if not, enriching it is wasted."""
        return kind in self.kinds_with_rules

    def match(self, event: Event, enrichment: Enrichment) -> list[Hit]:
        """Every rule that fires, in bundle order."""
        return run(self._table.get(type(event), ()), event, enrichment)

    def narrow(self, type_: type[Event], enrichment: Enrichment) -> tuple[Entry, ...]:
        """What this enrichment leaves to check on events of a type, for :func:`run`; mostly nothing."""
        key = type_, enrichment
        entries = self._narrowed.get(key)
        if entries is None:
            if len(self._narrowed) >= MEMORY_ENTRIES:
                self._narrowed.clear()
            kind = str(type_.__struct_config__.tag)
            entries = self._narrowed[key] = _entries(self._rules.get(type_, ()), kind, enrichment)
        return entries


def _entries(rules: Iterable[Rule], kind: str, enrichment: Enrichment | None) -> tuple[Entry, ...]:
    """Compile rules for one kind; those that can never fire are left out."""
    entries: list[Entry] = []
    for rule in rules:
        try:
            folded = fold(rule.predicate, kind, enrichment)
            if not isinstance(folded, bool):
                entries.append((closure(folded, kind), Hit(rule)))
            elif folded:
                entries.append((None, Hit(rule)))
        except (PredicateError, ImportError, RecursionError) as error:
            entries.append((None, Hit(rule, f"{type(error).__name__}: {error}")))
    return tuple(entries)
