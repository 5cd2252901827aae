"""Writes ``docs/generated/articles.md`` and ``rules.md`` from ``policies/``; ``--check`` fails when they drifted.

``python -m policies.docs [--check]``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from policies.compile import compile_library, rule_files
from policies.model import Correlation, Rule
from policies.ordinance import Article, Ordinance
from policies.ordinance_combine import cited_articles, strictest
from policies.shipped import shipped_directory, shipped_ordinances
from protocol.pages import cell, keep, notice

NOTICE = notice("policies.docs", "`policies/ordinances` and `policies/rules`")
Made = Rule | Correlation


def articles_page(ordinances: Mapping[str, Ordinance], rules: Sequence[Made]) -> str:
    """Text of ``docs/generated/articles.md``: every article, what is done for it, and the rules that serve it."""
    lines = [
        NOTICE,
        "# 条項 / Articles",
        "",
        "条項の文は要約で、原文ではありません。/ What an article asks is our paraphrase, not its text.",
        "enforce 止める・observe 知らせる・record 証跡に残す・support 台帳や報告で助ける・organisation 組織で行う。",
        "Years: how long records about it are kept. 数え方は各条例の表による。",
    ]
    for ordinance in ordinances.values():
        lines += ["", *_ordinance(ordinance, rules)]
    return "\n".join([*lines, ""])


def _ordinance(ordinance: Ordinance, rules: Sequence[Made]) -> Iterator[str]:
    yield from (f"## {ordinance.title_ja} / {ordinance.title_en}", "")
    yield f"`{ordinance.id}`, edition {ordinance.edition}."
    yield from (
        "",
        "| 条項 article | 要約 asks | level | by | rules | permit by | order by | severity | report to | years |",
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for article in ordinance.articles:
        yield _row(article, _serving(rules, ordinance.id, article.number))
    yield from _table(
        "職 / Offices", "| office | 名称 | title | reports to | instructs |", _offices(ordinance)
    )
    counting = f"保存期間 / Retention (counted: {ordinance.retention.counting})"
    classes = (f"| {one.years} | {cell(one.ja)} | {cell(one.en)} |" for one in ordinance.retention.classes)
    yield from _table(counting, "| years | 記録 | records |", list(classes))
    holds = (
        f"| {one.ground} | {one.article} | {cell(one.ja)} | {cell(one.en)} | {one.ends} |"
        for one in ordinance.holds
    )
    yield from _table("延長 / Holds", "| ground | article | 事由 | because | ends |", list(holds))
    models = (
        f"| {one.id} | {one.since} | {one.office_zone} | {cell(one.ja)} | {cell(one.en)} |"
        for one in ordinance.models
    )
    yield from _table(
        "三層のモデル / Models", "| model | from | office PCs in | 置き方 | layout |", list(models)
    )
    yield from _table(
        "モデルの要件 / Requirements",
        "| requirement | from | until | models | zones | controls | 要件 | asks |",
        list(_requirements(ordinance)),
    )


def _table(title: str, head: str, rows: Sequence[str]) -> Iterator[str]:
    if rows:
        yield from ("", f"### {title}", "", head, "| --- " * (head.count("|") - 1) + "|", *rows)


def _row(article: Article, serving: Sequence[str]) -> str:
    permit = ", ".join(article.permit_by) if article.permittable else "**never**"
    cells = (
        article.number,
        f"{cell(article.ja)}<br>{cell(article.en)}",
        ", ".join(article.levels),
        ", ".join((*article.controls, *article.centre)),
        ", ".join(f"[{one}](rules.md#{one})" for one in serving),
        permit,
        ", ".join(article.order_by),
        article.severity,
        ", ".join(article.report_to),
        str(article.retention_years),
    )
    return f"| {' | '.join(cells)} |"


def _offices(ordinance: Ordinance) -> list[str]:
    return [
        f"| {role} | {cell(one.ja)} | {cell(one.en)} | {', '.join(one.reports_to)} | {', '.join(one.instructs)} |"
        for role, one in ordinance.offices.items()
    ]


def _requirements(ordinance: Ordinance) -> Iterator[str]:
    for one in ordinance.requirements:
        models = ", ".join(one.models) or "all"
        where = f"{models} | {', '.join(one.zones)} | {', '.join(one.controls)}"
        yield f"| {one.id} | {one.since} | {one.until} | {where} | {cell(one.ja)} | {cell(one.en)} |"


def _serving(rules: Sequence[Made], ordinance: str, number: str) -> list[str]:
    return [
        rule.id
        for rule in rules
        if any((one.ordinance, one.article) == (ordinance, number) for one in rule.citations)
    ]


def rules_page(ordinances: Mapping[str, Ordinance], rules: Sequence[Made]) -> str:
    """Text of ``docs/generated/rules.md``: every rule, what it looks at, and the articles it serves."""
    lines = [
        NOTICE,
        "# 規則 / Rules",
        "",
        "block: 統制が enforce の区域では止める / stops where its control is enforced. flag: 知らせる / raises an alert.",
        "silent: ほかの規則の材料にだけなる / only feeds other rules. 相関の規則は数と時間で見る / correlations count over time.",
        "",
        "| rule | 題 | title | looks at | control | does | level |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| [{rule.id}](#{rule.id}) | {cell(rule.title_ja)} | {cell(rule.title_en)} | {_about(rule)} | {rule.level} |"
        for rule in rules
    ]
    for rule in rules:
        lines += ["", *_rule(ordinances, rule)]
    return "\n".join([*lines, ""])


def _about(rule: Made) -> str:
    """What it looks at, its control, and what it does."""
    if isinstance(rule, Rule):
        return f"{rule.family}.* | {rule.control or ''} | {rule.effect}{' (silent)' if rule.silent else ''}"
    within = f"within {rule.timespan_us // 1_000_000} s"
    by = f" by {', '.join(rule.group_by)}" if rule.group_by else ""
    of = ", ".join(f"[{one}](#{one})" for one in rule.rules)
    return f"{of} | | {rule.kind} {rule.op} {rule.threshold:g} {within}{by}"


def _rule(ordinances: Mapping[str, Ordinance], rule: Made) -> Iterator[str]:
    yield from (f"## {rule.id}", "")
    yield from (f"{rule.title_ja} / {rule.title_en} (version {rule.version})", "")
    cited = cited_articles(ordinances, rule.citations)
    for ordinance, article in cited:
        yield f"- {ordinance.id} {article.number} ({ordinance.edition}): {article.ja} / {article.en}"
    if cited:
        terms = strictest(cited)
        permit = ", ".join(terms.permit_by) or "—"
        reported = ", ".join(terms.report_to) or "—"
        yield ""
        yield f"Kept {terms.retention_years} years; reported to {reported}; permit that all accept: {permit}."


def pages() -> dict[str, str]:
    """Name → text of each page. Raises ``policies.source.SourceError``."""
    ordinances = shipped_ordinances()
    library = compile_library(rule_files(shipped_directory("rules")), ordinances)
    made: list[Made] = sorted((*library.rules, *library.correlations), key=lambda rule: rule.id)
    return {"articles.md": articles_page(ordinances, made), "rules.md": rules_page(ordinances, made)}


if __name__ == "__main__":
    sys.exit(keep(pages(), "policies.docs"))
