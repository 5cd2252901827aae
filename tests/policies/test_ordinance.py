"""Ordinances are typed data; what is wrong in one is said with file and line."""

from pathlib import Path

import pytest

from policies.ordinance import cite, find_article, load_ordinance, load_ordinances
from policies.shipped import load_shipped, shipped_directory
from policies.source import SourceError

ORDINANCES, _ = load_shipped()

TEXT = """\
id: town
title_ja: 町
title_en: Town
edition: 2020-04-01
acting: {agency: [section_head]}
articles:
  - number: 第1条
    ja: あ
    en: a
    levels: [enforce]
    permit_by: [agency]
  - number: 第2条第1項第3号
    ja: い
    en: b
    levels: [record]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "town.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_ordinances_cite_the_edition() -> None:
    article = find_article(ORDINANCES, "nagoya", "第35条第5号")
    assert article is not None
    assert not article.permittable
    citation = cite(ORDINANCES["nagoya"], article)
    assert (citation.ordinance, citation.edition) == ("nagoya", "2016-04-01")
    assert {zone.name for zone in ORDINANCES["baseline"].zones} == {"mynumber", "lgwan", "internet"}
    assert find_article(ORDINANCES, "nagoya", "第1条") is None
    assert find_article(ORDINANCES, "nowhere", "第1条") is None


def test_the_articles_this_release_serves_are_there() -> None:
    wanted = {
        *(f"第35条第{item}号" for item in (3, 4, 5, 6)),
        "第54条第1項",
        "第54条第2項",
        "第56条",
        "第58条",
    }
    assert wanted <= {article.number for article in ORDINANCES["nagoya"].articles}


def test_the_agency_is_those_who_act_for_it(tmp_path: Path) -> None:
    ordinance = load_ordinance(write(tmp_path, TEXT))
    assert ordinance.edition == "2020-04-01"
    first, second = ordinance.articles
    assert ordinance.approvers(first) == {"agency", "section_head"}
    assert ordinance.approvers(second) == frozenset()


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("levels: [record]", "levels: [recorded]", "articles.1", 12),
        ("levels: [record]", "level: [record]", "unknown field `level`", 15),
        ("    levels: [record]\n", "", "levels", 12),
        ("第2条第1項第3号", "第1条", "第1条 stands here twice", 12),
        ("第2条第1項第3号", "2条", "not an article number", 12),
        ("    permit_by: [agency]", "    permit_by: [agency]\n    permittable: false", "not permittable", 7),
        ("2020-04-01", "2020-04-31", "no such date", 4),
        ("2020-04-01", "April", "edition", 4),
        ("id: town", "id: city", "id city in town.yaml", 1),
        ("title_en: Town\n", "", "title_en", 1),
        ("articles:", "article:", "a list of articles", 1),
        ("あ", "[あ: い", "not valid YAML", 9),
    ],
)
def test_mistakes_are_said_with_their_line(
    tmp_path: Path, old: str, new: str, message: str, line: int
) -> None:
    with pytest.raises(SourceError) as caught:
        load_ordinance(write(tmp_path, TEXT.replace(old, new)))
    assert message in str(caught.value)
    assert caught.value.line == line


def test_no_sentence_is_longer_than_a_line() -> None:
    for ordinance in load_ordinances(shipped_directory("ordinances")).values():
        assert all(len(article.ja) <= 60 and len(article.en) <= 120 for article in ordinance.articles)
