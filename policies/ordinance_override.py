"""What a city sets otherwise than an article's file: tighter freely, looser only with a ground, which stays visible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

from msgspec import Struct
from msgspec.structs import replace

from policies.model import Correlation, Rule
from policies.model import Level as Severity
from policies.ordinance import Acting, Article, Level, Ordinance, find_article, with_acting

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the mildest to the gravest."""
_DONE: tuple[Level, ...] = ("enforce", "observe", "record")
"""Levels at which something is done, the strongest first."""


JUDGED = frozenset(
    {"severity", "levels", "permit_by", "permittable", "retention_years", "report_to", "order_by"}
)
"""Fields of an article of which it can be said that one value asks more than another."""


class Override(Struct, frozen=True):
    """One article, set otherwise: ``changes`` by field of ``Article``, and why, where that loosens it."""

    ordinance: str
    article: str
    changes: Mapping[str, Any]
    ground: str = ""


def rank(severity: Severity) -> int:
    """0 = informational."""
    return SEVERITIES.index(severity)


def loosened(article: Article, changes: Mapping[str, Any], acting: Acting | None = None) -> list[str]:
    """The fields by which ``changes`` would ask less than ``article`` does; ``acting`` as in ``Ordinance``."""
    permitting = with_acting(article.permit_by, acting or {})
    looser: dict[str, Callable[[Any], bool]] = {  # one for each of JUDGED
        "severity": lambda new: rank(new) < rank(article.severity),
        "levels": lambda new: _does_less(article.levels, new),
        "permit_by": lambda new: bool(with_acting(new, acting or {}) - permitting),
        "permittable": lambda new: bool(new) and not article.permittable,
        "retention_years": lambda new: new < article.retention_years,
        "report_to": lambda new: bool(set(article.report_to) - set(new)),
        "order_by": lambda new: bool(set(new) - set(article.order_by)),
    }
    return [field for field, new in changes.items() if looser[field](new)]


def _does_less(was: Iterable[Level], new: Iterable[Level]) -> bool:
    """A weaker strongest level, or evidence no longer kept, or one of several things no longer done."""
    done = [[level for level in _DONE if level in levels] for levels in (set(was), set(new))]
    before, after = (len(_DONE) - _DONE.index(one[0]) if one else 0 for one in done)
    lost = set(done[0]) - set(done[1])
    return after < before or "record" in lost or (after == before and bool(lost))


def applied(ordinances: Mapping[str, Ordinance], overrides: Iterable[Override]) -> dict[str, Ordinance]:
    """The ordinances as the city set them. An article that does not exist is left out of account."""
    found = dict(ordinances)
    for override in overrides:
        ordinance = found.get(override.ordinance)
        if ordinance is not None:
            articles = tuple(
                _set(article, override) if article.number == override.article else article
                for article in ordinance.articles
            )
            found[override.ordinance] = replace(ordinance, articles=articles)
    return found


def _set(article: Article, override: Override) -> Article:
    changed = replace(article, **override.changes, ground=override.ground)
    return changed if changed.permittable else replace(changed, permit_by=())


R = TypeVar("R", Rule, Correlation)


def rule_as_set(
    rule: R, overrides: Mapping[tuple[str, str], Override], ordinances: Mapping[str, Ordinance]
) -> R:
    """A rule or correlation under overrides (by ordinance and article) of what it cites.

    Its level rises with any article that was made graver, and falls to that of the gravest article as they stand where
    one was made milder. It stops blocking where the city no longer enforces an article and no other it serves says
    ``enforce``: an article that was only ever flagged or recorded holds no block up.
    """
    served = [
        (find_article(ordinances, one.ordinance, one.article), overrides.get((one.ordinance, one.article)))
        for one in rule.citations
    ]
    changes = [override.changes for _article, override in served if override]
    changed = rule
    if any("severity" in one for one in changes):
        changed = replace(rule, level=max((_gravity(rule.level, *one) for one in served), key=rank))
    eased = any("enforce" not in one.get("levels", ("enforce",)) for one in changes)
    if isinstance(changed, Correlation) or not eased or any(_enforced(*one) for one in served):
        return changed
    return replace(changed, effect="flag")


def _gravity(level: Severity, article: Article | None, override: Override | None) -> Severity:
    """How grave an article makes a rule of ``level``; only one made milder, which takes a ground, can weaken it."""
    if override is None or "severity" not in override.changes:
        return min(level, article.severity, key=rank) if article else level
    new: Severity = override.changes["severity"]
    return new if override.ground else max(level, new, key=rank)


def _enforced(article: Article | None, override: Override | None) -> bool:
    standing: tuple[Level, ...] = article.levels if article else ("enforce",)
    return "enforce" in (override.changes.get("levels", standing) if override else standing)
