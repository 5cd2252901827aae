"""The coverage of whole ordinances over many PCs: the same answers gathered, so that 3,000 PCs stay readable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from collector.coverage.judge import Pc, Served, State, Why, centre, on_pc
from policies.model import Rule
from policies.ordinance import Article, Ordinance


class Group(Struct, frozen=True, kw_only=True):
    """PCs for which an article is served in the same way. ``since_us``: the earliest of them, 0 = not known."""

    state: State
    why: Why
    detail: str
    since_us: int
    hosts: tuple[str, ...]
    """Host names; empty for what the collector or people do."""


class Silent(Struct, frozen=True):
    """A PC that does not report; what it is said to enforce is what it last reported."""

    host: str
    since_us: int


class Row(Struct, frozen=True, kw_only=True):
    """One article. ``state`` is the weakest over all PCs; ``pcs`` counts PCs by state."""

    ordinance: str
    edition: str
    article: str
    ja: str
    en: str
    levels: tuple[str, ...]
    state: State
    pcs: dict[str, int]
    groups: tuple[Group, ...]
    rules: tuple[str, ...]
    """Rules of the release that cite it."""


class Coverage(Struct, frozen=True, kw_only=True):
    """Articles by PCs. Times are UTC µs."""

    generation: int
    """Release the rules are of; 0 = none in force."""
    hosts: int
    silent: tuple[Silent, ...]
    totals: dict[str, dict[str, int]]
    """ordinance → state → articles."""
    rows: tuple[Row, ...]


def coverage(
    ordinances: Iterable[Ordinance], rules: Sequence[Rule], pcs: Sequence[Pc], *, generation: int
) -> Coverage:
    """Judge every article of ``ordinances`` on every PC."""
    citing = _citing(rules)
    rows = tuple(
        _row(ordinance, article, citing.get((ordinance.id, article.number), ()), pcs)
        for ordinance in ordinances
        for article in ordinance.articles
    )
    totals: dict[str, Counter[str]] = {}
    for row in rows:
        totals.setdefault(row.ordinance, Counter())[row.state] += 1
    return Coverage(
        generation=generation,
        hosts=len(pcs),
        silent=tuple(
            Silent(pc.hostname or pc.id, pc.last_seen_us or pc.enrolled_us) for pc in pcs if not pc.online
        ),
        totals={name: dict(counts) for name, counts in totals.items()},
        rows=rows,
    )


def _citing(rules: Iterable[Rule]) -> Mapping[tuple[str, str], list[Rule]]:
    found: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for citation in rule.citations:
            found.setdefault((citation.ordinance, citation.article), []).append(rule)
    return found


def _row(ordinance: Ordinance, article: Article, citing: Sequence[Rule], pcs: Sequence[Pc]) -> Row:
    alone = centre(article)
    served = [("", alone)] if alone else [(pc.hostname or pc.id, on_pc(article, citing, pc)) for pc in pcs]
    groups = _grouped(served)
    states = [group.state for group in groups]
    weakest: State = max(states, key=_RANK.__getitem__) if states else "not_supported"
    return Row(
        ordinance=ordinance.id,
        edition=ordinance.edition,
        article=article.number,
        ja=article.ja,
        en=article.en,
        levels=article.levels,
        state=weakest,
        pcs={} if alone else dict(Counter(one.state for _host, one in served)),
        groups=groups,
        rules=tuple(rule.id for rule in citing),
    )


_RANK: Mapping[State, int] = {
    "enforced": 0, "observed": 1, "recorded": 2, "support": 3, "organisation": 4, "not_supported": 5,
}  # fmt: skip


def _grouped(served: Iterable[tuple[str, Served]]) -> tuple[Group, ...]:
    together: dict[tuple[State, Why, str], list[tuple[str, int]]] = {}
    for host, one in served:
        together.setdefault((one.state, one.why, one.detail), []).append((host, one.since_us))
    return tuple(
        Group(
            state=state,
            why=why,
            detail=detail,
            since_us=min((since for _host, since in found if since), default=0),
            hosts=tuple(sorted(host for host, _since in found if host)),
        )
        for (state, why, detail), found in sorted(together.items(), key=lambda one: _RANK[one[0][0]])
    )
