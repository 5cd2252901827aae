"""One Sigma correlation rule to a compiled one (https://sigmahq.io/sigma-specification, correlation rules)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, cast

from msgspec import Meta, Struct
from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationCondition,
    SigmaCorrelationRule,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaError

from policies.correlation_state import MOST_COUNTED
from policies.fields import FieldInfo, family_fields
from policies.mapping import Cited
from policies.model import All, Compare, Correlation, CorrelationKind, Node, Not, Rule, Threshold
from policies.model import Any as AnyOf
from policies.ordinance import Ordinance
from policies.sigma_rule import Made, RuleError, check_head, citations, level_of, place_of, required, said
from policies.source import Source, did_you_mean

Target = Rule | Made | Correlation
SENDER = ("agent_id",)
"""What a correlation may group by beside fields of event and enrichment."""
MOST_DAYS = 31
_NUMBERS = frozenset({"value_sum", "value_avg", "value_median", "value_percentile"})
MEDIAN, _MOST_PERCENT = 50, 100


class UnknownRuleError(RuleError):
    """A reference to a rule that is not there, or not yet."""


class CorrelationExtra(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands below ``sekisho:`` in a correlation rule."""

    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+)*$")]
    title_ja: Annotated[str, Meta(min_length=1, max_length=200)]
    citations: Annotated[tuple[Cited, ...], Meta(min_length=1)]


def is_correlation(source: Source) -> bool:
    """Tell whether a document is a correlation rule."""
    return isinstance(source.data, dict) and "correlation" in source.data


def compile_correlation(
    source: Source,
    ordinances: Mapping[str, Ordinance],
    targets: Mapping[str, Target],
    waiting: Collection[str] = (),
) -> tuple[Correlation, str, bool]:
    """Compile one against the rules it may refer to; returns it, its UUID, and whether those still make alerts.

    ``waiting``: correlations that cannot be compiled before this one. Raises RuleError; UnknownRuleError for a
    reference to what is not there.
    """
    required(source, "correlation")
    extra = source.convert(required(source, "sekisho"), CorrelationExtra, ("sekisho",))
    sigma = _sigma(source)
    check_head(source, sigma.id, sigma.name, sigma.level)
    plain = sigma.condition if isinstance(sigma.condition, SigmaCorrelationCondition) else None
    found = {name: _target(source, name, targets, waiting) for name in _references(sigma)}
    ids = {name: _id(target) for name, target in found.items()}
    op, threshold, percentile = _threshold(plain)
    correlation = Correlation(
        id=str(sigma.name),
        version=extra.version,
        title_ja=extra.title_ja,
        title_en=sigma.title,
        level=level_of(sigma.level),
        citations=citations(source, extra.citations, ordinances, ("sekisho", "citations")),
        kind=cast("CorrelationKind", sigma.type.name.lower()),
        rules=tuple(ids.values()),
        timespan_us=sigma.timespan.seconds * 1_000_000,
        group_by=tuple(sigma.group_by or ()),
        fields=_fields(plain),
        op=op,
        threshold=threshold,
        percentile=percentile,
        condition=_condition(sigma, ids),
        aliases=_aliases(source, sigma, found),
    )
    _check(source, correlation, found)
    return correlation, str(sigma.id), sigma.generate


def _references(sigma: SigmaCorrelationRule) -> list[str]:
    if sigma.rules is None and not isinstance(sigma.condition, SigmaCorrelationCondition):
        return sigma.condition.get_referenced_rules()
    return [one.reference for one in sigma.rules or ()]


def _condition(sigma: SigmaCorrelationRule, ids: Mapping[str, str]) -> Node | None:
    if isinstance(sigma.condition, SigmaCorrelationCondition):
        return None
    return _tree(sigma.condition.parsed, ids)


def _fields(condition: SigmaCorrelationCondition | None) -> tuple[str, ...]:
    fields = condition.fieldref if condition else None
    return (fields,) if isinstance(fields, str) else tuple(fields or ())


def _threshold(condition: SigmaCorrelationCondition | None) -> tuple[Threshold, float, int]:
    """Operator, number, percentile."""
    if condition is None:
        return "gte", 1.0, MEDIAN
    percentile = MEDIAN if condition.percentile is None else condition.percentile
    return cast("Threshold", condition.op.name.lower()), float(condition.count), percentile


def _sigma(source: Source) -> SigmaCorrelationRule:
    try:
        return SigmaCorrelationRule.from_dict(source.data)
    except SigmaError as error:
        place = place_of(error)
        raise source.fail(place if place != ("detection",) else ("correlation",), said(error)) from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise source.fail(("correlation",), f"not a correlation rule: {error}") from error


def _target(source: Source, name: str, targets: Mapping[str, Target], waiting: Collection[str]) -> Target:
    found = targets.get(name) or targets.get(name.lower())
    if found is not None:
        return found
    if name in waiting:
        raise source.fail(("correlation", "rules"), f"{name} refers back to it: a circle")
    known = [one for one in targets if "-" not in one]
    line = source.line("correlation", "rules")
    raise UnknownRuleError(source.file, line, f"no rule {name}", did_you_mean(name, known))


def _id(target: Target) -> str:
    return target.rule.id if isinstance(target, Made) else target.id


def _tree(parsed: Any, ids: Mapping[str, str]) -> Node:
    if isinstance(parsed, SigmaRuleReference):
        return Compare("rule", "eq", (ids[parsed.reference],))
    parts = tuple(_tree(part, ids) for part in parsed.args)
    if isinstance(parsed, CorrelationConditionNOT):
        return Not(parts[0])
    kinds: dict[type, type[All | AnyOf]] = {CorrelationConditionAND: All, CorrelationConditionOR: AnyOf}
    return kinds[type(parsed)](parts)


def _aliases(
    source: Source, sigma: SigmaCorrelationRule, found: Mapping[str, Target]
) -> dict[str, dict[str, str]]:
    """Name → rule → our field, for each name that means another field: by the rule's aliases, then by its mapping."""
    made: dict[str, dict[str, str]] = {}
    given = {
        alias.alias: {reference.reference: field for reference, field in alias.mapping.items()}
        for alias in sigma.aliases
    }
    for alias, mapping in given.items():
        if strangers := mapping.keys() - found.keys():
            place = ("correlation", "aliases", alias)
            raise source.fail(place, f"{', '.join(sorted(strangers))} is not among the rules", "")
    plain = sigma.condition if isinstance(sigma.condition, SigmaCorrelationCondition) else None
    wanted = [*(sigma.group_by or ()), *_fields(plain)]
    for name in wanted:
        for reference, target in found.items():
            field = given.get(name, {}).get(reference, name)
            mapping_of = target.mapping if isinstance(target, Made) else None
            ours = mapping_of.field(field) if mapping_of else None
            if ours is not None and not ours.values:
                field = ours.to
            if field != name:
                made.setdefault(name, {})[_id(target)] = field
    return made


def _check(source: Source, made: Correlation, found: Mapping[str, Target]) -> None:
    if made.timespan_us > MOST_DAYS * 86_400_000_000:
        raise source.fail(
            ("correlation", "timespan"), f"longer than {MOST_DAYS} days", "use a report instead"
        )
    if made.kind.endswith("_count") and made.threshold > MOST_COUNTED:
        raise source.fail(("correlation", "condition"), f"{made.kind} counts to {MOST_COUNTED} at most")
    if not 0 <= made.percentile <= _MOST_PERCENT:
        raise source.fail(("correlation", "condition", "percentile"), "a percentile is 0 to 100")
    if made.kind in _NUMBERS and len(made.fields) != 1:
        raise source.fail(("correlation", "condition", "field"), f"{made.kind} needs exactly one field")
    for target in found.values():
        rule = target.rule if isinstance(target, Made) else target
        if isinstance(rule, Rule):
            _check_fields(source, made, rule)
            if rule.effect == "block" and not source.data["correlation"].get("generate"):
                hint = "write generate: true, so that it goes on making alerts of its own"
                raise source.fail(("correlation", "rules"), f"{rule.id} stops something", hint)


def _check_fields(source: Source, made: Correlation, rule: Rule) -> None:
    known = family_fields(rule.family)
    for part, names in (("group-by", made.group_by), ("condition", made.fields)):
        for name in names:
            field = made.aliases.get(name, {}).get(rule.id, name)
            if field not in known and field not in SENDER:
                hint = did_you_mean(field, [*known, *SENDER])
                raise source.fail(("correlation", part), f"unknown field {field} for rule {rule.id}", hint)
            if part == "condition" and made.kind in _NUMBERS and not _is_number(known, field):
                raise source.fail(("correlation", part), f"{made.kind} of {field}, which is no number")


def _is_number(known: Mapping[str, FieldInfo], field: str) -> bool:
    return field in known and known[field].shape == "number"
