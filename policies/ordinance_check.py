"""What contradicts itself in an ordinance. Pure: places are those of the file it was read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date

from policies.ordinance import Article, Ordinance
from policies.ordinance_parts import Role
from policies.source import Place, did_you_mean

Wrong = tuple[Place, str, str]
"""Where, what, and a hint (may be empty)."""

_NUMBER = re.compile(r"(第\d+条(の\d+)*)?(第\d+項)?(第\d+号)?")


def contradictions(ordinance: Ordinance) -> Iterator[Wrong]:
    """Every contradiction, in the order of the file's parts."""
    yield from _date(("edition",), ordinance.edition)
    yield from _articles(ordinance)
    yield from _offices(ordinance)
    yield from _holds(ordinance)
    yield from _models(ordinance)
    yield from _requirements(ordinance)


def _date(place: Place, day: str) -> Iterator[Wrong]:
    try:
        date.fromisoformat(day)
    except ValueError:
        yield place, f"no such date: {day}", "a day as 2026-04-01"


def _twice(part: str, key: str, names: Iterable[str]) -> Iterator[Wrong]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield (part, index, key), f"{name} stands here twice", ""
        seen.add(name)


def _articles(ordinance: Ordinance) -> Iterator[Wrong]:
    years = {one.years for one in ordinance.retention.classes}
    yield from _twice("articles", "number", (one.number for one in ordinance.articles))
    for index, article in enumerate(ordinance.articles):
        place: Place = ("articles", index)
        yield from (
            (((*place, key)), f"{article.number}: {what}", hint) for key, what, hint in _article(article)
        )
        if years and article.retention_years not in years:
            known = ", ".join(map(str, sorted(years)))
            yield (
                (*place, "retention_years"),
                f"{article.number}: no retention class of {article.retention_years} years",
                f"classes: {known}",
            )


def _article(article: Article) -> Iterator[tuple[str, str, str]]:
    """Key, what and hint of each contradiction within an article."""
    if not _NUMBER.fullmatch(article.number):
        yield "number", "not an article number", "第35条第4号, 第54条第2項第1号, 第32条の2"
    if article.ground:
        yield "ground", "a ground belongs into the site file", "articles: in policy.yaml"
    if article.permit_by and not article.permittable:
        yield "permit_by", "permit_by, but not permittable", "leave one of them out"
    if "organisation" in article.levels and (len(article.levels) > 1 or article.controls or article.centre):
        yield "levels", "a matter of organisation has no control and no other level", "levels: [organisation]"
    for key in ("levels", "controls", "centre", "permit_by", "report_to", "order_by"):
        names = getattr(article, key)
        if len(names) > len(set(names)):
            yield key, f"{key} names something twice", ""


def _offices(ordinance: Ordinance) -> Iterator[Wrong]:
    """Where a city names its offices, it names every one that its articles speak of."""
    if ordinance.offices:
        for place, roles in _spoken_of(ordinance):
            for role in roles:
                if role not in ordinance.offices:
                    yield place, f"{role} is not among the offices", did_you_mean(role, ordinance.offices)
    for role, acting in ordinance.acting.items():
        if role in acting:
            yield ("acting", role), f"{role} cannot act for itself", ""


def _spoken_of(ordinance: Ordinance) -> Iterator[tuple[Place, tuple[Role, ...]]]:
    for index, article in enumerate(ordinance.articles):
        yield ("articles", index, "permit_by"), article.permit_by
        yield ("articles", index, "report_to"), article.report_to
        yield ("articles", index, "order_by"), article.order_by
    for role, acting in ordinance.acting.items():
        yield ("acting", role), (role, *acting)
    for role, office in ordinance.offices.items():
        yield ("offices", role, "reports_to"), office.reports_to
        yield ("offices", role, "instructs"), office.instructs


def _holds(ordinance: Ordinance) -> Iterator[Wrong]:
    yield from _twice("holds", "ground", (one.ground for one in ordinance.holds))
    for index, hold in enumerate(ordinance.holds):
        # 第21条第3号 stands on 第21条: an item needs no article of its own here.
        if not any(hold.article.startswith(one.number) for one in ordinance.articles):
            yield ("holds", index, "article"), f"{hold.article} is not among the articles", ""


def _models(ordinance: Ordinance) -> Iterator[Wrong]:
    zones = {zone.name for zone in ordinance.zones}
    yield from _twice("zones", "name", (one.name for one in ordinance.zones))
    yield from _twice("models", "id", (one.id for one in ordinance.models))
    for index, model in enumerate(ordinance.models):
        yield from _date(("models", index, "from"), model.since)
        if model.office_zone not in zones:
            hint = did_you_mean(model.office_zone, zones)
            yield ("models", index, "office_zone"), f"no zone {model.office_zone}", hint


def _requirements(ordinance: Ordinance) -> Iterator[Wrong]:
    zones = {zone.name for zone in ordinance.zones}
    models = {model.id for model in ordinance.models}
    yield from _twice("requirements", "id", (one.id for one in ordinance.requirements))
    for index, one in enumerate(ordinance.requirements):
        place: Place = ("requirements", index)
        yield from _date((*place, "from"), one.since)
        if one.until:
            yield from _date((*place, "until"), one.until)
            if one.until <= one.since:
                yield (*place, "until"), f"{one.id} ends before it begins", f"after {one.since}"
        for kind, names, known in (("zone", one.zones, zones), ("model", one.models, models)):
            for name in set(names) - known:
                yield (*place, f"{kind}s"), f"no {kind} {name}", did_you_mean(name, known)
