"""Rules as data: predicates, citations, rules, correlations, hits. Plain msgspec Structs, part of ``policies.model``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(max_length=256)]
Control = Literal[
    "devices", "media", "software", "execution", "connections",
    "neighbours", "links", "files", "logons", "posture",
]  # fmt: skip
Mode = Literal["off", "observe", "enforce"]
FailMode = Literal["open", "closed"]
Effect = Literal["block", "flag"]
Level = Literal["informational", "low", "medium", "high", "critical"]

# -- predicates ------------------------------------------------------------------------------------------------------

Scalar = str | int | bool | None
Op = Literal[
    "eq", "contains", "startswith", "endswith", "re", "cidr", "lt", "lte", "gt", "gte", "exists", "fieldref",
    "fieldref_contains", "fieldref_startswith", "fieldref_endswith",
]  # fmt: skip
ANYWHERE = "*"
"""Name of a field that stands for all text of an event (Sigma's keyword search)."""


class Compare(Struct, frozen=True, tag="cmp", tag_field="node"):
    """``field`` ``op`` any (or, with ``every``, all) of ``values``. Text compares without case, as Sigma asks.

    A ``pattern`` with Sigma wildcards is compiled to ``re`` by ``compile``. A missing field matches only ``exists:
    False`` and the value ``None``.
    """

    field: str
    op: Op
    values: tuple[Scalar, ...]
    every: bool = False
    cased: bool = False


class All(Struct, frozen=True, tag="all", tag_field="node"):
    """Every part holds."""

    parts: tuple[Node, ...]


class Any(Struct, frozen=True, tag="any", tag_field="node"):
    """At least one part holds."""

    parts: tuple[Node, ...]


class Not(Struct, frozen=True, tag="not", tag_field="node"):
    """The part does not hold."""

    part: Node


Node = Compare | All | Any | Not


class Citation(Struct, frozen=True):
    """The article a rule serves, e.g. ``nagoya`` ``第35条第4号`` of edition ``2016-04-01``."""

    ordinance: Name
    article: Name
    edition: Name = ""
    summary_ja: str = ""
    summary_en: str = ""


class Rule(Struct, frozen=True, kw_only=True):
    """One compiled rule. ``family`` is the part of the event kind before the dot.

    A ``silent`` rule only feeds correlations (Sigma's ``generate: false``): it makes no alert, and PCs leave it alone.
    """

    id: Name
    version: Name
    title_ja: str
    title_en: str
    family: Name
    control: Control | None
    effect: Effect
    level: Level
    citations: tuple[Citation, ...]
    predicate: Node
    silent: bool = False


CorrelationKind = Literal[
    "event_count", "value_count", "temporal", "temporal_ordered",
    "value_sum", "value_avg", "value_median", "value_percentile",
]  # fmt: skip
Threshold = Literal["lt", "lte", "gt", "gte", "eq", "neq"]


class Correlation(Struct, frozen=True, kw_only=True):
    """A compiled Sigma correlation rule; only the collector evaluates it.

    Hits of ``rules`` (ids of rules or of other correlations) are grouped by ``group_by`` and looked at over
    ``timespan_us``: their number, the number of distinct values of ``fields``, a figure made of the values, or how many
    of the rules fired, is compared with ``threshold``. ``condition`` (over field ``rule``) replaces that comparison.
    ``aliases``: name → rule id → field, where a rule calls the field otherwise.
    """

    id: Name
    version: Name
    title_ja: str
    title_en: str
    level: Level
    citations: tuple[Citation, ...]
    kind: CorrelationKind
    rules: tuple[Name, ...]
    timespan_us: int
    group_by: tuple[Name, ...] = ()
    fields: tuple[Name, ...] = ()
    op: Threshold = "gte"
    threshold: float = 1
    percentile: int = 50
    condition: Node | None = None
    aliases: dict[str, dict[str, str]] = {}
    silent: bool = False


class Hit(Struct, frozen=True):
    """A rule that fired (``error`` empty) or could not be evaluated (``error`` says why): never silence."""

    rule: Rule
    error: str = ""
