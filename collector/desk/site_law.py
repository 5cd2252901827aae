"""The site file against the ordinances: articles that exist, looser only with a ground, and what the model asks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from collector.desk.site import Law, Site
from collector.desk.site_parts import EVERY_ZONE, SiteArticle, SiteZone
from collector.desk.site_read import near
from collector.fiscal import TOKYO
from policies.ordinance import Acting, Article, Ordinance
from policies.ordinance_override import loosened
from policies.ordinance_parts import ADMISSIONS, Requirement

Wrong = tuple[str, str, str]


def against_ordinances(site: Site, ordinances: Law, today: str = "") -> Iterator[Wrong]:
    """What goes against the ordinances on ``today`` (ISO; empty = now)."""
    if site.articles or site.model:
        known = ordinances()
        yield from _overrides(site, known)
        yield from _model(site, known, today or f"{datetime.now(TOKYO):%Y-%m-%d}")


def _overrides(site: Site, known: Mapping[str, Ordinance]) -> Iterator[Wrong]:
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(site.articles):
        path, key = f"$.articles[{index}]", (one.ordinance, one.article)
        if key in seen:
            yield path, f"{one.ordinance} {one.article} is set twice", "one entry for an article"
        seen.add(key)
        if one.ordinance not in known:
            hint = near(one.ordinance, known, "ordinances: " + ", ".join(sorted(known)))
            yield f"{path}.ordinance", f"no ordinance `{one.ordinance}`", hint
            continue
        ordinance = known[one.ordinance]
        article = ordinance.article(one.article)
        if article is None:
            hint = near(one.article, [each.number for each in ordinance.articles])
            yield f"{path}.article", f"{one.ordinance} has no {one.article}", hint
            continue
        yield from _override(path, one, article, ordinance.acting)


def _override(path: str, one: SiteArticle, article: Article, acting: Acting) -> Iterator[Wrong]:
    changes = one.changes()
    if not changes:
        yield path, f"{one.article}: nothing is set", "severity, levels, permit_by, retention_years …"
    looser = loosened(article, changes, acting)
    for field in looser if not one.ground.strip() else ():
        hint = "ground: why, and who decided it"
        yield f"{path}.{field}", f"{one.article}: {field} asks less than the ordinance", hint
    if changes.get("permit_by") and not changes.get("permittable", article.permittable):
        yield f"{path}.permit_by", f"{one.article} is not permittable", "leave permit_by out"


def _model(site: Site, known: Mapping[str, Ordinance], today: str) -> Iterator[Wrong]:
    if not site.model:
        return
    models = {model.id: model for ordinance in known.values() for model in ordinance.models}
    if site.model not in models:
        hint = near(site.model, models, "models: " + ", ".join(sorted(models)))
        yield "$.model", f"no model `{site.model}`", hint
        return
    zones = {zone.name: (index, zone) for index, zone in enumerate(site.zones)}
    for ordinance in known.values():
        for one in ordinance.requirements:
            for name in one.zones if one.holds(site.model, today) else ():
                if name in zones:
                    yield from _asked(site, one, *zones[name])


def _asked(site: Site, one: Requirement, index: int, zone: SiteZone) -> Iterator[Wrong]:
    """What a requirement in force finds wanting in a zone."""
    why = f"{site.model} asks: {one.ja} / {one.en}"
    for key in ("wireless", "joint"):
        most, has = getattr(one, key), getattr(zone, key)
        if most and ADMISSIONS.index(has) < ADMISSIONS.index(most):
            path = f"$.zones[{index}].{key}"
            yield path, f"zone `{zone.name}`: {key} `{has}` is looser than `{most}`", why
    if one.media_read_only and not {zone.name, EVERY_ZONE} & set(site.media_read_only):
        yield "$.media_read_only", f"zone `{zone.name}`: permitted media must be read-only", why
    for at, setting in enumerate(site.settings):
        own = any(each.control == setting.control and each.zone == zone.name for each in site.settings)
        here = setting.zone == zone.name or (setting.zone == EVERY_ZONE and not own)
        if here and setting.mode == "off" and setting.control in one.controls:
            path = f"$.settings[{at}]"
            yield path, f"{setting.control} must not be off in zone `{zone.name}`", why
