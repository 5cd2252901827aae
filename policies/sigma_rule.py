"""One Sigma rule (YAML) to one compiled rule.

pySigma reads the rule and its condition (https://sigmahq.io/sigma-specification); what it yields is checked against the
event catalogue and turned into the predicate tree of ``policies.model``. What we cannot evaluate is refused by name,
never ignored. Attributes of our own stand below ``sekisho:``; a rule of another product needs none, its mapping
(``policies.mapping``) says what it means here.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, cast

from msgspec import Meta, Struct
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from policies.fields import FAMILIES, family_fields
from policies.mapping import Cited, FieldMapping, describe, load_mappings, log_source
from policies.model import All, Citation, Control, Effect, Level, Node, Rule
from policies.model import Any as AnyOf
from policies.ordinance import Ordinance, cite
from policies.sigma_items import check_items, prepared
from policies.sigma_tree import NotCollected, Refusal, SigmaTree
from policies.source import Place, Source, SourceError, did_you_mean

Lists = Mapping[str, tuple[str, ...]]

_PLACES = {
    "Level": ("level",),
    "Title": ("title",),
    "Identifier": ("id",),
    "Logsource": ("logsource",),
    "Condition": ("detection", "condition"),
    "Detection": ("detection",),
    "Status": ("status",),
    "Date": ("date",),
    "Name": ("name",),
    "Timespan": ("correlation", "timespan"),
    "CorrelationType": ("correlation", "type"),
    "CorrelationCondition": ("correlation", "condition"),
    "CorrelationRule": ("correlation",),
}
"""Name of a pySigma exception without Sigma…Error → where it points."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9_.-]{2,120}")


class RuleError(SourceError):
    """A rule that is refused: ``file``, ``line``, ``message``, ``hint``."""


class NotLoadedError(RuleError):
    """A rule that is right, but about something that is not collected here."""


class Extra(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands below ``sekisho:`` in a rule; ``lists``: what ``%name%`` is where the site file does not say."""

    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+)*$")]
    title_ja: Annotated[str, Meta(min_length=1, max_length=200)]
    effect: Effect
    citations: Annotated[tuple[Cited, ...], Meta(min_length=1)]
    control: Control | None = None
    lists: dict[str, tuple[str, ...]] = {}


class Made(Struct, frozen=True):
    """A compiled rule with what others need to refer to it; ``limits``: fields it has to do without, and why."""

    rule: Rule
    uuid: str
    source: Source
    mapping: FieldMapping | None = None
    limits: dict[str, str] = {}


def compile_rule(source: Source, ordinances: Mapping[str, Ordinance], lists: Lists) -> Made:
    """Compile one rule. Raises RuleError; NotLoadedError for one about what is not collected."""
    if not isinstance(source.data, dict):
        raise source.fail((), "a rule is a map", "see policies/rules/unknown_device.yml")
    logsource = required(source, "logsource")
    if logsource.get("product") == "sekisho" or "sekisho" in source.data:
        return _own(source, ordinances, lists)
    return _foreign(source, ordinances, lists)


def _own(source: Source, ordinances: Mapping[str, Ordinance], lists: Lists) -> Made:
    family, mapping = _family(source)
    fields = family_fields(family)
    check_items(source, family, fields if mapping is None else None)
    extra = source.convert(required(source, "sekisho"), Extra, ("sekisho",))
    sigma = _sigma(source, {**extra.lists, **lists})
    check_head(source, sigma.id, sigma.name, sigma.level)
    tree = SigmaTree(fields, mapping)
    rule = Rule(
        id=str(sigma.name),
        version=extra.version,
        title_ja=extra.title_ja,
        title_en=sigma.title,
        family=family,
        control=extra.control,
        effect=extra.effect,
        level=level_of(sigma.level),
        citations=citations(source, extra.citations, ordinances, ("sekisho", "citations")),
        predicate=_predicate(source, sigma, tree, mapping),
    )
    return Made(rule, str(sigma.id), source, mapping, tree.left_out)


def _foreign(source: Source, ordinances: Mapping[str, Ordinance], lists: Lists) -> Made:
    """A rule that was not written for us: the mapping of its log source says what is missing."""
    family, mapping = _family(source)
    assert mapping is not None  # noqa: S101 - only product sekisho has none, and that needs a map sekisho:
    check_items(source, family, None)
    sigma = _sigma(source, lists)
    if sigma.id is None:
        raise source.fail((), "a rule needs an id", "a UUID that no other rule has: python -m uuid")
    tree = SigmaTree(family_fields(family), mapping)
    slug = PurePath(source.file).stem.lower()
    rule = Rule(
        id=str(sigma.name or (slug if _SLUG.fullmatch(slug) else sigma.id)),
        version=str(sigma.modified or sigma.date or 1),
        title_ja=sigma.title,
        title_en=sigma.title,
        family=family,
        control=mapping.control,
        effect="flag",
        level=level_of(sigma.level) if sigma.level else "medium",
        citations=citations(source, mapping.citations, ordinances, ("logsource",)),
        predicate=_predicate(source, sigma, tree, mapping),
    )
    return Made(rule, str(sigma.id), source, mapping, tree.left_out)


def _family(source: Source) -> tuple[str, FieldMapping | None]:
    """The family of events a rule is about, and how its fields are called there (None: as ours)."""
    logsource = required(source, "logsource")
    if logsource.get("product") == "sekisho":
        family = str(logsource.get("category"))
        if family not in FAMILIES:
            hint = did_you_mean(family, FAMILIES)
            raise source.fail(("logsource", "category"), f"unknown category {family}", hint)
        return family, None
    wanted = log_source(logsource)
    mapping = load_mappings().get(wanted)
    if mapping is None:
        hint = "write product: sekisho, or see policies/mappings"
        at = source.line("logsource")
        raise NotLoadedError(source.file, at, f"log source {describe(wanted)} is not collected", hint)
    return mapping.family, mapping


def required(source: Source, key: str) -> Any:
    """The map ``key:`` of a rule. Raises RuleError."""
    if not isinstance(source.data.get(key), dict):
        raise source.fail((key,), f"a rule needs a map {key}:", "see policies/rules/unknown_device.yml")
    return source.data[key]


def check_head(source: Source, id: object, name: object, level: object) -> None:
    """What each rule of ours needs. Raises RuleError."""
    if id is None:
        raise source.fail((), "a rule needs an id", "a UUID that no other rule has: python -m uuid")
    if name is None:
        raise source.fail(
            (), "a rule needs a name", "lower case and _; it is how alerts and bundles call the rule"
        )
    if level is None:
        raise source.fail((), "a rule needs a level", "low | medium | high | critical")


def level_of(level: Any) -> Level:
    """Our word for pySigma's level."""
    return cast("Level", level.name.lower())


def _sigma(source: Source, lists: Lists) -> SigmaRule:
    required(source, "detection")
    data = prepared(source, lists)
    try:
        return SigmaRule.from_dict(data)
    except SigmaError as error:
        raise source.fail(place_of(error), said(error)) from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        # pySigma meets shapes it did not foresee with whatever Python raises.
        raise source.fail(("detection",), f"not a Sigma rule: {error}") from error


def place_of(error: SigmaError) -> tuple[str, ...]:
    """Where pySigma's complaint points."""
    return _PLACES.get(type(error).__name__.removeprefix("Sigma").removesuffix("Error"), ("detection",))


def said(error: SigmaError) -> str:
    """What pySigma complains about."""
    return str(error.args[0] if error.args else error).splitlines()[0]


def _predicate(source: Source, sigma: SigmaRule, tree: SigmaTree, mapping: FieldMapping | None) -> Node:
    conditions = [str(condition) for condition in sigma.detection.condition]
    for name in sigma.detection.detections if mapping is None else ():
        if not any(_used(name, condition) for condition in conditions):
            raise source.fail(
                ("detection", name), f"the condition never uses {name}", "use it or take it out"
            )
    try:
        nodes = [tree.node(one.parsed) for one in sigma.detection.parsed_condition]
    except Refusal as refusal:
        place = next(
            (
                place
                for place in source.lines
                if len(place) > 1 and str(place[-1]).split("|")[0] == refusal.field and refusal.field
            ),
            ("detection", "condition"),
        )
        if isinstance(refusal, NotCollected):
            at = source.line(*place)
            raise NotLoadedError(source.file, at, refusal.message, refusal.hint) from refusal
        raise source.fail(place, refusal.message, refusal.hint) from refusal
    except SigmaError as error:
        raise source.fail(place_of(error), said(error)) from error
    except (RecursionError, AttributeError) as error:
        raise source.fail(("detection", "condition"), f"not a condition: {error}") from error
    node = nodes[0] if len(nodes) == 1 else AnyOf(tuple(nodes))
    where = mapping.conditions(str(source.data["logsource"].get("product", ""))) if mapping else ()
    return All((*where, node)) if where else node


def _used(name: str, condition: str) -> bool:
    words = re.findall(r"[\w*]+", condition)
    if "them" in words and not name.startswith("_"):
        return True
    return any(fnmatch.fnmatchcase(name, word) for word in words)


def citations(
    source: Source,
    cited: Iterable[Cited],
    ordinances: Mapping[str, Ordinance],
    at: tuple[str, ...],
) -> tuple[Citation, ...]:
    """The articles that stand at ``at`` in a rule. Raises RuleError for one that does not exist."""
    found: list[Citation] = []
    for index, one in enumerate(cited):
        place: Place = (*at, index)
        ordinance = ordinances.get(one.ordinance)
        if ordinance is None:
            raise source.fail(
                place, f"unknown ordinance {one.ordinance}", did_you_mean(one.ordinance, ordinances)
            )
        article = ordinance.article(one.article)
        if article is None:
            known = [known.number for known in ordinance.articles]
            raise source.fail(
                place, f"{one.ordinance} has no {one.article}", did_you_mean(one.article, known)
            )
        found.append(cite(ordinance, article))
    return tuple(found)
