"""The generated pages list every rule and every article, and say what the files say."""

from policies import docs
from policies.compile import compile_library, rule_files
from policies.shipped import shipped_directory, shipped_ordinances
from protocol.pages import FOLDER


def test_pages_have_not_drifted() -> None:
    for name, text in docs.pages().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "run: python -m policies.docs"


def test_every_article_and_every_rule_is_listed() -> None:
    ordinances = shipped_ordinances()
    library = compile_library(rule_files(shipped_directory("rules")), ordinances)
    pages = docs.pages()
    for ordinance in ordinances.values():
        section = pages["articles.md"].split(f"## {ordinance.title_ja} ", 1)[1].split("\n## ", 1)[0]
        rows = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines()]
        assert {article.number for article in ordinance.articles} <= set(rows)
    headings = {line.removeprefix("## ") for line in pages["rules.md"].splitlines() if line.startswith("## ")}
    assert {rule.id for rule in library.rules} | {one.id for one in library.correlations} == headings


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = docs.pages()
    linked = {part.split(")")[0] for part in pages["articles.md"].split("](rules.md#")[1:]}
    assert linked
    assert all(f"\n## {one}\n" in pages["rules.md"] for one in linked)
