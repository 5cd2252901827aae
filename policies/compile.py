"""Sigma rules (YAML) to compiled rules.

pySigma reads the rule and its condition (https://sigmahq.io/sigma-specification); what it yields is checked against the
event catalogue and turned into the predicate tree of ``policies.model``. What we cannot evaluate is refused by name,
never ignored. Attributes of our own stand below ``sekisho:``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from msgspec import Meta, Struct
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from policies.fields import FAMILIES, family_fields
from policies.model import Citation, Control, Effect, Level, Rule
from policies.ordinance import Ordinance, cite
from policies.predicate import PredicateError, compile_pattern
from policies.sigma_tree import Refusal, SigmaTree
from policies.source import Place, Source, SourceError, did_you_mean

MODIFIERS = frozenset(
    (
        "all", "cased", "cidr", "contains", "dotall", "endswith", "exists", "fieldref", "gt", "gte", "i", "ignorecase",
        "lt", "lte", "m", "multiline", "neq", "re", "s", "startswith",
    )
)  # fmt: skip
RULE_FILES = "*.yml"
TESTS_SUFFIX = ".tests.yml"

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
}
"""Name of a pySigma exception without Sigma…Error → where it points."""


class RuleError(SourceError):
    """A rule that is refused: ``file``, ``line``, ``message``, ``hint``."""


class Cited(Struct, frozen=True, forbid_unknown_fields=True):
    """A citation as a rule writes it."""

    ordinance: str
    article: str


class Extra(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands below ``sekisho:`` in a rule."""

    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+)*$")]
    title_ja: Annotated[str, Meta(min_length=1, max_length=200)]
    effect: Effect
    citations: Annotated[tuple[Cited, ...], Meta(min_length=1)]
    control: Control | None = None


def compile_text(text: str, file: str, ordinances: Mapping[str, Ordinance]) -> Rule:
    """Compile one rule. Raises RuleError."""
    return _compile(Source(text, file, RuleError), ordinances)


def compile_file(path: Path, ordinances: Mapping[str, Ordinance]) -> Rule:
    """Compile one rule file. Raises RuleError and OSError."""
    return _compile(Source.read(path, RuleError), ordinances)


def rule_files(directory: Path) -> list[Path]:
    """The rule files of a directory, in order of name, without their test files."""
    return sorted(path for path in directory.glob(RULE_FILES) if not path.name.endswith(TESTS_SUFFIX))


def compile_directory(directory: Path, ordinances: Mapping[str, Ordinance]) -> tuple[Rule, ...]:
    """Compile every rule of a directory. Raises RuleError at the first that is wrong, and for two with one id."""
    rules: list[Rule] = []
    uuids: dict[str, Path] = {}
    for path in rule_files(directory):
        source = Source.read(path, RuleError)
        rule = _compile(source, ordinances)
        for key in (rule.id, str(source.data["id"]).lower()):
            if key in uuids:
                raise source.fail(
                    ("id",), f"two rules with one id: {key} is also in {uuids[key].name}", "make a new one"
                )
            uuids[key] = path
        rules.append(rule)
    return tuple(rules)


def _compile(source: Source, ordinances: Mapping[str, Ordinance]) -> Rule:
    data = source.data
    if not isinstance(data, dict):
        raise source.fail((), "a rule is a map", "see policies/rules/unknown_device.yml")
    if "correlation" in data:
        raise source.fail(("correlation",), "correlation rules are not supported in this version")
    family = _family(source)
    _check_items(source, family)
    extra = source.convert(_required(source, "sekisho"), Extra, ("sekisho",))
    sigma = _sigma(source)
    if sigma.id is None:
        raise source.fail((), "a rule needs an id", "a UUID that no other rule has: python -m uuid")
    if sigma.name is None:
        raise source.fail(
            (), "a rule needs a name", "lower case and _; it is how alerts and bundles call the rule"
        )
    if sigma.level is None:
        raise source.fail((), "a rule needs a level", "low | medium | high | critical")
    return Rule(
        id=sigma.name,
        version=extra.version,
        title_ja=extra.title_ja,
        title_en=sigma.title,
        family=family,
        control=extra.control,
        effect=extra.effect,
        level=cast("Level", sigma.level.name.lower()),
        citations=_citations(source, extra.citations, ordinances),
        predicate=_predicate(source, sigma, family),
    )


def _required(source: Source, key: str) -> Any:
    if not isinstance(source.data.get(key), dict):
        raise source.fail((key,), f"a rule needs a map {key}:", "see policies/rules/unknown_device.yml")
    return source.data[key]


def _family(source: Source) -> str:
    logsource = _required(source, "logsource")
    if logsource.get("product") != "sekisho":
        raise source.fail(
            ("logsource", "product"), f"product {logsource.get('product')}", "write product: sekisho"
        )
    family = logsource.get("category")
    if family not in FAMILIES:
        raise source.fail(
            ("logsource", "category"), f"unknown category {family}", did_you_mean(str(family), FAMILIES)
        )
    return str(family)


def _check_items(source: Source, family: str) -> None:
    """Check every ``field|modifier`` of the detection before pySigma turns it into values."""
    known = family_fields(family)
    for place in [place for place in source.lines if place[0:1] == ("detection",)]:
        if not isinstance(place[-1], str) or len(place) == 1 or place[1] == "condition":
            continue
        if len(place) == 2:  # noqa: PLR2004 - detection, name of a selection
            if place[1] == "timeframe":
                raise source.fail(place, "timeframe is not supported", "one rule looks at one event")
            continue
        name, *modifiers = place[-1].split("|")
        if name not in known:
            raise source.fail(place, f"unknown field {name} for {family}", did_you_mean(name, known))
        for modifier in modifiers:
            if modifier not in MODIFIERS:
                raise source.fail(place, f"unknown modifier {modifier}", did_you_mean(modifier, MODIFIERS))
        if "re" in modifiers:
            _check_patterns(source, place)


def _check_patterns(source: Source, place: Place) -> None:
    """Try every regex with the engine that will run it, so that the complaint is that engine's."""
    found: Any = source.data
    for step in place:
        found = found[step]
    for pattern in found if isinstance(found, list) else [found]:
        try:
            compile_pattern(str(pattern))
        except PredicateError as error:
            raise source.fail(place, str(error), "RE2 knows no back-references and no look-around") from error


def _sigma(source: Source) -> SigmaRule:
    _required(source, "detection")
    try:
        return SigmaRule.from_dict(source.data)
    except SigmaError as error:
        raise source.fail(_place(error), _said(error)) from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        # pySigma meets shapes it did not foresee with whatever Python raises.
        raise source.fail(("detection",), f"not a Sigma rule: {error}") from error


def _place(error: SigmaError) -> tuple[str, ...]:
    return _PLACES.get(type(error).__name__.removeprefix("Sigma").removesuffix("Error"), ("detection",))


def _said(error: SigmaError) -> str:
    return str(error.args[0] if error.args else error).splitlines()[0]


def _predicate(source: Source, sigma: SigmaRule, family: str) -> Any:
    if len(sigma.detection.condition) != 1:
        raise source.fail(("detection", "condition"), "one condition a rule", "write two rules, or use 'or'")
    condition = str(sigma.detection.condition[0])
    for name in sigma.detection.detections:
        if not _used(name, condition):
            raise source.fail(
                ("detection", name), f"the condition never uses {name}", "use it or take it out"
            )
    try:
        parsed = sigma.detection.parsed_condition[0].parsed
        return SigmaTree(family_fields(family)).node(parsed)
    except Refusal as refusal:
        place = next(
            (
                place
                for place in source.lines
                if len(place) > 1 and str(place[-1]).split("|")[0] == refusal.field
            ),
            ("detection", "condition"),
        )
        raise source.fail(place, refusal.message, refusal.hint) from refusal
    except SigmaError as error:
        raise source.fail(_place(error), _said(error)) from error


def _used(name: str, condition: str) -> bool:
    words = re.findall(r"[\w*]+", condition)
    if "them" in words and not name.startswith("_"):
        return True
    return any(fnmatch.fnmatchcase(name, word) for word in words)


def _citations(
    source: Source, cited: Iterable[Cited], ordinances: Mapping[str, Ordinance]
) -> tuple[Citation, ...]:
    found: list[Citation] = []
    for index, one in enumerate(cited):
        place = ("sekisho", "citations", index)
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
