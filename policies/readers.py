"""Reading a field that a rule names: from the event, from its enrichment, or all its text.

A field is *missing* when the kind has none of that name, or when it is empty text or an empty list: empty fields are not
on the wire either. A missing field matches ``exists: false`` and ``null`` only; an empty text also equals ``''``.
Names that event and enrichment share (``permit``, ``zone`` …) are read from the enrichment, and from the event where
the enrichment does not know.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any as Value

from policies.model import ANYWHERE, Enrichment
from protocol.events import KINDS, Event

Reader = Callable[[Event, Enrichment], Value]

ENRICHED: frozenset[str] = frozenset(Enrichment.__struct_fields__)
EVENT_FIELDS: dict[str, frozenset[str]] = {
    kind: frozenset(type_.__struct_fields__) for kind, type_ in KINDS.items()
}
TEXT_FIELDS: dict[str, tuple[str, ...]] = {
    kind: tuple(
        name
        for name, default in zip(
            reversed(type_.__struct_fields__), reversed(type_.__struct_defaults__), strict=False
        )
        if default.__class__ in {str, tuple} and name not in Event.__struct_fields__
    )
    for kind, type_ in KINDS.items()
}
"""Kind → its own fields that hold text, or lists that may."""


def is_missing(value: Value) -> bool:
    """Tell whether a field carries nothing."""
    return value is None or value in ("", ())


def items_of(value: Value) -> tuple[Value, ...]:
    """The values of a list, or the one value."""
    return value if value.__class__ is tuple else (value,)


def reader(name: str, kind: str) -> Reader:
    """How a field is read from events of a kind; one that neither has is None."""
    on_event, on_enrichment = name in EVENT_FIELDS[kind], name in ENRICHED
    get = operator.attrgetter(name)
    if name == "kind":
        return lambda _event, _enrichment: kind
    if name == ANYWHERE:
        return all_text(kind)
    if on_event and on_enrichment:
        return lambda event, enrichment: get(enrichment) or get(event)
    if on_enrichment:
        return lambda _event, enrichment: get(enrichment)
    if on_event:
        return lambda event, _enrichment: get(event)
    return lambda _event, _enrichment: None


def all_text(kind: str) -> Reader:
    """Every text of an event's own fields, as one flat list."""
    names = TEXT_FIELDS[kind]

    def read(event: Event, _enrichment: Enrichment) -> Value:
        values = (getattr(event, name) for name in names)
        return tuple(one for value in values for one in items_of(value) if one)

    return read
