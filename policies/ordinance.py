"""Ordinances as dated data: what each article asks, what the system does for it, who may permit.

Only structures and pure functions at module level: reading YAML is the centre's business, not the PC's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from policies.model import Citation, Control
from policies.model import Level as Severity

Level = Literal["enforce", "observe", "record", "support", "organisation"]
"""Stopped on the PC or line; flagged; kept as evidence; helped with a register or report; no software."""

Role = Literal[
    "ciso", "deputy", "chief_manager", "bureau_manager", "network_manager", "system_manager", "section_head",
    "agency", "committee", "csirt", "auditor",
]  # fmt: skip
"""Offices as ordinances name them; ``agency`` is 実施機関, for whom the offices in ``Ordinance.acting`` act."""

Line = Annotated[str, Meta(min_length=1, max_length=400)]
_NUMBER = re.compile(r"(第\d+条(の\d+)*)?(第\d+項)?(第\d+号)?")


class Article(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One article, paragraph or item. ``ja`` and ``en`` are our own one-line paraphrase, never the text itself."""

    number: Line
    """Japanese form, e.g. ``第35条第4号``."""
    ja: Line
    en: Line
    levels: Annotated[tuple[Level, ...], Meta(min_length=1)]
    controls: tuple[Control, ...] = ()
    permit_by: tuple[Role, ...] = ()
    """Who may permit; empty = the article knows no permit."""
    permittable: bool = True
    """False: forbidden, permit or not."""
    retention_years: Annotated[int, Meta(ge=1, le=30)] = 1
    severity: Severity = "medium"
    report_to: tuple[Role, ...] = ()


class ZoneTitle(Struct, frozen=True, forbid_unknown_fields=True):
    """The name of a network zone."""

    name: Line
    title_ja: Line
    title_en: Line


class Ordinance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One edition of one ordinance."""

    id: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,40}$")]
    title_ja: Line
    title_en: Line
    edition: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    articles: tuple[Article, ...]
    acting: dict[Role, tuple[Role, ...]] = {}
    """Offices that act for another by the city's own delegation, e.g. section heads for the agency."""
    zones: tuple[ZoneTitle, ...] = ()

    def article(self, number: str) -> Article | None:
        """The article of that number, or None."""
        return next((one for one in self.articles if one.number == number), None)

    def approvers(self, article: Article) -> frozenset[Role]:
        """Every office that may permit under ``article``, those that act for another included."""
        named = set(article.permit_by)
        for role in article.permit_by:
            named.update(self.acting.get(role, ()))
        return frozenset(named)


def cite(ordinance: Ordinance, article: Article) -> Citation:
    """The citation that goes into rules, permits and alerts."""
    return Citation(ordinance.id, article.number, ordinance.edition, article.ja, article.en)


def load_ordinance(path: Path) -> Ordinance:
    """Read one file. Raises ``policies.source.SourceError`` with file, line and hint."""
    from policies.source import Source

    source = Source.read(path)
    if not isinstance(source.data, dict) or not isinstance(source.data.get("articles"), list):
        raise source.fail((), "an ordinance is a map with a list of articles", "see baseline.yaml")
    articles: list[Article] = []
    for index, raw in enumerate(source.data["articles"]):
        # One by one: the decoder does not say which element of a list was wrong.
        article = source.convert(raw, Article, ("articles", index))
        if wrong := _check_article(article, articles):
            raise source.fail(("articles", index), wrong)
        articles.append(article)
    ordinance = source.convert({**source.data, "articles": ()}, Ordinance)
    try:
        date.fromisoformat(ordinance.edition)
    except ValueError as error:
        raise source.fail(("edition",), f"no such date: {ordinance.edition}") from error
    if ordinance.id != path.stem:
        raise source.fail(("id",), f"id {ordinance.id} in {path.name}", "the file is named for the id")
    return replace(ordinance, articles=tuple(articles))


def _check_article(article: Article, before: list[Article]) -> str:
    """What contradicts itself in an article; empty = nothing."""
    if not _NUMBER.fullmatch(article.number):
        return f"{article.number}: not an article number (第35条第4号, 第54条第2項第1号)"
    if any(article.number == one.number for one in before):
        return f"{article.number} stands here twice"
    if article.permit_by and not article.permittable:
        return f"{article.number}: permit_by, but not permittable"
    return ""


def load_ordinances(directory: Path) -> dict[str, Ordinance]:
    """Read every ``*.yaml`` of a directory, by id. Raises ``policies.source.SourceError``."""
    return {path.stem: load_ordinance(path) for path in sorted(directory.glob("*.yaml"))}


def find_article(ordinances: Mapping[str, Ordinance], ordinance: str, number: str) -> Article | None:
    """The article a citation names, or None."""
    found = ordinances.get(ordinance)
    return found.article(number) if found else None
