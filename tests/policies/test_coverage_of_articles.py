"""What the ordinances say of themselves is so: an article that PCs serve has a rule, and a citation has its article."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from policies.model import Citation, Control
from policies.ordinance import Article, Ordinance, find_article
from policies.shipped import load_shipped, shipped_library

ORDINANCES, RULES = load_shipped()
CORRELATIONS = shipped_library().correlations
JUDGED = frozenset({"enforce", "observe"})
Key = tuple[str, str]


def articles() -> Iterable[tuple[Ordinance, Article]]:
    return ((ordinance, article) for ordinance in ORDINANCES.values() for article in ordinance.articles)


def citations() -> Iterable[tuple[str, Citation]]:
    """Rule or correlation, and what it cites."""
    for rule in RULES:
        yield from ((rule.id, citation) for citation in rule.citations)
    for correlation in CORRELATIONS:
        yield from ((correlation.id, citation) for citation in correlation.citations)


def serving() -> dict[Key, set[tuple[Control | None, str]]]:
    """Ordinance and article → control and effect of every rule that cites it."""
    found: defaultdict[Key, set[tuple[Control | None, str]]] = defaultdict(set)
    for rule in RULES:
        for citation in rule.citations:
            found[citation.ordinance, citation.article].add((rule.control, rule.effect))
    return found


def readable(offenders: Iterable[str]) -> str:
    """One offender a line; empty when there is none."""
    return "\n".join(sorted(offenders))


def test_an_article_that_pcs_judge_has_a_rule_of_one_of_its_controls() -> None:
    rules = serving()
    wrong = readable(
        f"{ordinance.id} {article.number} ({article.en}): no rule of {', '.join(article.controls)} cites it"
        for ordinance, article in articles()
        if article.controls and JUDGED & set(article.levels)
        if not {control for control, _ in rules[ordinance.id, article.number]} & set(article.controls)
    )
    assert not wrong, wrong


def test_an_article_that_is_only_enforced_has_a_rule_that_blocks() -> None:
    """An article of which something is merely flagged says ``observe`` as well, or instead."""
    rules = serving()
    wrong = readable(
        f"{ordinance.id} {article.number} ({article.en}): says enforce, and no rule of its controls blocks"
        for ordinance, article in articles()
        if article.controls and JUDGED & set(article.levels) == {"enforce"}
        if not {(control, "block") for control in article.controls} & rules[ordinance.id, article.number]
    )
    assert not wrong, wrong


def test_every_citation_names_an_article_that_software_serves() -> None:
    wrong = []
    for name, citation in citations():
        article = find_article(ORDINANCES, citation.ordinance, citation.article)
        if article is None:
            wrong.append(f"{name}: {citation.ordinance} {citation.article} does not exist")
        elif "organisation" in article.levels:
            wrong.append(f"{name}: {citation.ordinance} {citation.article} is a matter of organisation")
    assert not wrong, readable(wrong)


def test_no_rule_cites_an_article_twice() -> None:
    made = [(name, citation.ordinance, citation.article) for name, citation in citations()]
    wrong = readable(" ".join(one) for one in set(made) if made.count(one) > 1)
    assert not wrong, wrong


def test_what_is_no_matter_of_organisation_says_what_serves_it() -> None:
    wrong = readable(
        f"{ordinance.id} {article.number} ({article.en}): neither controls nor centre"
        for ordinance, article in articles()
        if "organisation" not in article.levels and not article.controls and not article.centre
    )
    assert not wrong, wrong


def test_what_no_pc_judges_says_what_the_collector_does() -> None:
    """Controls of a supported article only gather; without ``centre`` it would count as not supported."""
    wrong = readable(
        f"{ordinance.id} {article.number} ({article.en}): support without centre"
        for ordinance, article in articles()
        if set(article.levels) == {"support"} and not article.centre
    )
    assert not wrong, wrong
