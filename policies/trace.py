"""Why a rule fires on an event, or does not: the comparisons that made it so, with what was wanted and what was found.

Evaluated with the same tests as the matcher, one comparison at a time; so what is explained is what was decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any as Value

from msgspec import Struct
from msgspec.structs import replace

from policies.match import evaluate
from policies.model import Any, Compare, Enrichment, Node, Not
from policies.readers import ENRICHED, EVENT_FIELDS, reader
from protocol.events import Event, kind_of


class Reason(Struct, frozen=True):
    """One comparison that counted. ``holds``: whether it is true (an exception that is not made is not).

    ``wanted`` are the values that matched (or, where it does not hold, all that did not); ``found`` is the field's
    value; ``known_by``: ``event`` | ``enrichment``.
    """

    field: str
    op: str
    wanted: tuple[Value, ...]
    found: Value
    holds: bool
    known_by: str
    every: bool = False


def reasons(node: Node, event: Event, enrichment: Enrichment) -> tuple[bool, tuple[Reason, ...]]:
    """Whether a predicate is true of an event, and the comparisons that made it so, in its order.

    Raises PredicateError.
    """
    fires = evaluate(node, event, enrichment)
    return fires, tuple(_because(node, event, enrichment, wanted=fires))


def _because(node: Node, event: Event, enrichment: Enrichment, *, wanted: bool) -> Iterator[Reason]:
    """The comparisons by which ``node`` is as ``wanted``."""
    if isinstance(node, Compare):
        yield _reason(node, event, enrichment, holds=wanted)
    elif isinstance(node, Not):
        yield from _because(node.part, event, enrichment, wanted=not wanted)
    else:
        decisive = isinstance(node, Any) is wanted
        for part in node.parts:
            if evaluate(part, event, enrichment) is wanted:
                yield from _because(part, event, enrichment, wanted=wanted)
                if decisive:
                    return  # one is enough


def _reason(node: Compare, event: Event, enrichment: Enrichment, *, holds: bool) -> Reason:
    kind = kind_of(event)
    on_enrichment = node.field in ENRICHED and (
        node.field not in EVENT_FIELDS[kind] or bool(getattr(enrichment, node.field))
    )
    matched = tuple(
        value for value in node.values if evaluate(replace(node, values=(value,)), event, enrichment) is holds
    )
    return Reason(
        field=node.field,
        op=node.op,
        wanted=matched or node.values,
        found=reader(node.field, kind)(event, enrichment),
        holds=holds,
        known_by="enrichment" if on_enrichment else "event",
        every=node.every,
    )
