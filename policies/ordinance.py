"""Ordinances as dated data: what each article asks, what the system does for it, who may permit.

Only structures and pure functions at module level: reading YAML is the centre's business, not the PC's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from policies.model import Citation, Control
from policies.model import Level as Severity
from policies.ordinance_parts import (
    Day,
    Function,
    HoldGround,
    Id,
    Line,
    NetworkModel,
    Office,
    Requirement,
    Retention,
    Role,
    Years,
    ZoneTitle,
)

Level = Literal["enforce", "observe", "record", "support", "organisation"]
"""Stopped on the PC or line; flagged; kept as evidence; helped with a register or report; no software."""


Acting = Mapping[Role, tuple[Role, ...]]


class Article(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One article, paragraph or item. ``ja`` and ``en`` are our own one-line paraphrase, never the text itself."""

    number: Line
    """Japanese form, e.g. ``第35条第4号``."""
    ja: Line
    en: Line
    levels: Annotated[tuple[Level, ...], Meta(min_length=1)]
    controls: tuple[Control, ...] = ()
    centre: tuple[Function, ...] = ()
    """What the collector does for it, whatever the PCs do."""
    permit_by: tuple[Role, ...] = ()
    """Who may permit; empty = the article knows no permit."""
    permittable: bool = True
    """False: forbidden, permit or not."""
    retention_years: Years = 1
    severity: Severity = "medium"
    report_to: tuple[Role, ...] = ()
    order_by: tuple[Role, ...] = ()
    """Who may order a restriction or a cut on this ground; empty = it is no ground for one."""
    ground: str = ""
    """Why the city asks less than the file does; never set in a file (``policies.ordinance_override``)."""


class Ordinance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One edition of one ordinance."""

    id: Id
    title_ja: Line
    title_en: Line
    edition: Day
    articles: tuple[Article, ...]
    acting: dict[Role, tuple[Role, ...]] = {}
    """Offices that act for another by the city's own delegation, e.g. section heads for the agency."""
    offices: dict[Role, Office] = {}
    """The city's own names of its offices, and its lines of report and instruction."""
    retention: Retention = Retention()
    holds: tuple[HoldGround, ...] = ()
    zones: tuple[ZoneTitle, ...] = ()
    models: tuple[NetworkModel, ...] = ()
    requirements: tuple[Requirement, ...] = ()

    def article(self, number: str) -> Article | None:
        """The article of that number, or None."""
        return next((one for one in self.articles if one.number == number), None)

    def approvers(self, article: Article) -> frozenset[Role]:
        """Every office that may permit under ``article``, those that act for another included."""
        return with_acting(article.permit_by, self.acting)


def with_acting(roles: Iterable[Role], acting: Acting) -> frozenset[Role]:
    """Offices, and those that act for them."""
    named = frozenset(roles)
    return named.union(*(acting.get(role, ()) for role in named))


def cite(ordinance: Ordinance, article: Article) -> Citation:
    """The citation that goes into rules, permits and alerts; a ground of the city's own is signed and shown with it."""
    ja, en = article.ja, article.en
    if article.ground:
        ja, en = f"{ja}(市の定め: {article.ground})", f"{en} (the city set otherwise: {article.ground})"
    return Citation(ordinance.id, article.number, ordinance.edition, ja, en)


def load_ordinance(path: Path) -> Ordinance:
    """Read one file, which is named for the id. Raises ``policies.source.SourceError`` with file, line and hint."""
    from policies.ordinance_read import read_ordinance

    return read_ordinance(path)


def load_ordinances(directory: Path) -> dict[str, Ordinance]:
    """Read every ``*.yaml`` of a directory, by id. Raises ``policies.source.SourceError``."""
    return {path.stem: load_ordinance(path) for path in sorted(directory.glob("*.yaml"))}


def find_article(ordinances: Mapping[str, Ordinance], ordinance: str, number: str) -> Article | None:
    """The article a citation names, or None."""
    found = ordinances.get(ordinance)
    return found.article(number) if found else None
