"""Where several ordinances speak of one matter, the strictest wins. Pure; why so: docs/decisions/2026-11-22-the-strictest-wins.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from policies.model import Citation
from policies.model import Level as Severity
from policies.ordinance import Article, Ordinance
from policies.ordinance_override import rank
from policies.ordinance_parts import Role


class Terms(Struct, frozen=True, kw_only=True):
    """What several articles ask together of one matter."""

    severity: Severity = "informational"
    """The gravest."""
    retention_years: int = 1
    """The longest."""
    permittable: bool = True
    """Only if every article allows it."""
    permit_by: tuple[Role, ...] = ()
    """Offices that every article which knows a permit accepts, those that act for another included."""
    report_to: tuple[Role, ...] = ()
    """Everybody whom any article names, each once, in the order of the articles."""


def cited_articles(
    ordinances: Mapping[str, Ordinance], citations: Iterable[Citation]
) -> list[tuple[Ordinance, Article]]:
    """The articles that citations name; what no ordinance has is left out."""
    found = []
    for citation in citations:
        ordinance = ordinances.get(citation.ordinance)
        article = ordinance.article(citation.article) if ordinance else None
        if ordinance and article:
            found.append((ordinance, article))
    return found


def strictest(articles: Iterable[tuple[Ordinance, Article]]) -> Terms:
    """What these articles ask together."""
    given = list(articles)
    if not given:
        return Terms()
    permitting = [ordinance.approvers(article) for ordinance, article in given if article.permit_by]
    permittable = all(article.permittable for _ordinance, article in given)
    both = frozenset.intersection(*permitting) if permitting and permittable else frozenset()
    return Terms(
        severity=max((article.severity for _ordinance, article in given), key=rank),
        retention_years=max(article.retention_years for _ordinance, article in given),
        permittable=permittable,
        permit_by=tuple(sorted(both)),
        report_to=tuple(dict.fromkeys(role for _ordinance, article in given for role in article.report_to)),
    )
