"""Ordinances are typed data; what is wrong in one is said with file, line and a hint."""

import re
import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ordinance import cite, find_article, load_ordinance, load_ordinances
from policies.ordinance_parts import Retention
from policies.ordinance_read import OrdinanceError, read_ordinance
from policies.shipped import shipped_directory, shipped_ordinances
from policies.source import SourceError

ORDINANCES = shipped_ordinances()
PARTS = {"enforce", "observe", "record"}

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
    controls: [devices]
    permit_by: [agency]
  - number: 第2条第1項第3号
    ja: い
    en: b
    levels: [record]
    centre: [retention]
    retention_years: 3
offices:
  agency: {ja: 実施機関, en: agency}
  section_head: {ja: 課長, en: head, reports_to: [agency]}
retention:
  counting: next_april
  classes:
    - {years: 1, ja: 軽, en: light}
    - {years: 3, ja: 重, en: heavy}
holds:
  - {ground: audit, article: 第2条第1項第3号, ja: 監査, en: audit, ends: closed}
zones:
  - {name: inner, title_ja: 内, title_en: inner}
models:
  - {id: one, ja: 一, en: one, from: 2020-04-01, office_zone: inner}
requirements:
  - {id: apart, ja: 分ける, en: apart, from: 2020-04-01, models: [one], zones: [inner], wireless: permit}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "town.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# -- what is shipped ---------------------------------------------------------------------------------------------------


def test_shipped_ordinances_cite_the_edition() -> None:
    editions = {name: one.edition for name, one in ORDINANCES.items() if name != "baseline"}
    assert editions == {
        "nagoya": "2016-04-01",
        "meguro": "2020-04-01",
        "nerima": "2019-03-15",
        "kameoka": "2022-11-01",
    }
    article = find_article(ORDINANCES, "nagoya", "第35条第5号")
    assert article is not None
    assert not article.permittable
    assert cite(ORDINANCES["nagoya"], article).edition == "2016-04-01"
    assert find_article(ORDINANCES, "nagoya", "第99条") is None
    assert find_article(ORDINANCES, "nowhere", "第1条") is None


@pytest.mark.parametrize(
    ("city", "last", "extra"),
    [("nagoya", 68, {"第30条の2", "第30条の3", "第32条の2", "第32条の3", "第61条の2"}),
     ("meguro", 23, {"第13条第2号", "第17条第4号"}), ("nerima", 30, {"第18条第8項第1号"}),
     ("kameoka", 17, {"第14条第4項"})],
)  # fmt: skip
def test_no_article_of_a_text_is_left_out(city: str, last: int, extra: set[str]) -> None:
    numbers = [article.number for article in ORDINANCES[city].articles]
    assert extra <= set(numbers)
    for number in range(1, last + 1):
        assert any(one == f"第{number}条" or one.startswith(f"第{number}条第") for one in numbers), number


def test_what_is_no_matter_of_organisation_is_served_by_something() -> None:
    for ordinance in ORDINANCES.values():
        for article in ordinance.articles:
            assert not PARTS & set(article.levels) or article.controls or article.centre, article.number


def test_every_article_that_does_something_says_whom_to_tell() -> None:
    for ordinance in ORDINANCES.values():
        for article in ordinance.articles:
            assert not PARTS & set(article.levels) or article.report_to, article.number


@pytest.mark.parametrize("city", ["nagoya", "meguro", "nerima", "kameoka"])
def test_lines_of_report_end(city: str) -> None:
    """Nobody reports, through however many others, to himself."""
    offices = ORDINANCES[city].offices
    for role in offices:
        above, todo = set(), [role]
        while todo:
            todo = [boss for one in todo for boss in offices[one].reports_to if boss not in above]
            above.update(todo)
        assert role not in above


def test_no_sentence_is_longer_than_a_line_and_none_is_the_texts() -> None:
    for ordinance in load_ordinances(shipped_directory("ordinances")).values():
        for article in ordinance.articles:
            assert len(article.ja) <= 60
            assert len(article.en) <= 120
            # The texts write in the style of a law; a paraphrase does not.
            assert not re.search(r"ものとする|しなければならない|に関すること。|各号", article.ja), (
                article.number
            )


def test_the_agency_is_those_who_act_for_it(tmp_path: Path) -> None:
    ordinance = load_ordinance(write(tmp_path, TEXT))
    assert ordinance.edition == "2020-04-01"
    first, second = ordinance.articles
    assert ordinance.approvers(first) == {"agency", "section_head"}
    assert ordinance.approvers(second) == frozenset()


# -- periods and models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "years", "until"),
    [
        (date(2026, 4, 1), 1, date(2028, 4, 1)),
        (date(2027, 3, 31), 1, date(2028, 4, 1)),
        (date(2027, 4, 1), 1, date(2029, 4, 1)),
        (date(2026, 11, 22), 30, date(2057, 4, 1)),
    ],
)
def test_periods_count_from_the_april_after_the_year(closed: date, years: int, until: date) -> None:
    assert ORDINANCES["nagoya"].retention.kept_until(closed, years) == until


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 30))
def test_counting_from_april_is_never_shorter(closed: date, years: int) -> None:
    plain, april = Retention("event"), Retention("next_april")
    assert plain.kept_until(closed, years) <= april.kept_until(closed, years)
    assert april.kept_until(closed, years).timetuple()[1:3] == (4, 1)


def test_a_leap_day_is_kept_a_whole_year() -> None:
    assert Retention().kept_until(date(2028, 2, 29), 1) == date(2029, 3, 1)


def test_what_a_model_asks_depends_on_the_day() -> None:
    asked = {one.id: one for one in ORDINANCES["baseline"].requirements}
    assert asked["mynumber_apart"].holds("alpha", "2016-01-01")
    assert not asked["mynumber_apart"].holds("alpha", "2015-12-24")
    assert asked["alpha_prime_named_cloud"].holds("alpha_prime", "2024-10-02")
    assert not asked["alpha_prime_named_cloud"].holds("alpha", "2026-01-01")


# -- mistakes ----------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("levels: [record]", "levels: [recorded]", "levels.0", "one of: enforce, observe, record", 16),
    ("levels: [record]", "level: [record]", "unknown field `level`", "did you mean levels", 16),
    ("    levels: [record]\n", "", "levels", "", 13),
    ("第2条第1項第3号\n", "第1条\n", "第1条 stands here twice", "", 13),
    ("number: 第2条第1項第3号", "number: 2条", "not an article number", "第35条第4号", 13),
    ("permit_by: [agency]", "permit_by: [agencies]", "permit_by.0", "one of: mayor", 12),
    ("permit_by: [agency]", "permit_by: [agency]\n    permittable: false", "not permittable", "", 12),
    ("permit_by: [agency]", "permit_by: [agency, agency]", "names something twice", "", 12),
    ("permit_by: [agency]", "permit_by: [ciso]", "ciso is not among the offices", "agency", 12),
    ("levels: [enforce]", "levels: [organisation]", "a matter of organisation", "levels:", 10),
    ("controls: [devices]", "controls: [device]", "controls.0", "one of: devices", 11),
    ("controls: [devices]", "ground: why not", "belongs into the site file", "policy.yaml", 11),
    ("centre: [retention]", "centre: [retaining]", "centre.0", "retention", 17),
    ("retention_years: 3", "retention_years: 31", "retention_years", "", 18),
    ("retention_years: 3", "retention_years: 2", "no retention class of 2 years", "classes: 1, 3", 18),
    ("2020-04-01\nacting", "2020-04-31\nacting", "no such date", "2026-04-01", 4),
    ("2020-04-01\nacting", "April\nacting", "edition", "", 4),
    ("id: town", "id: city", "id city in town.yaml", "named for the id", 1),
    ("id: town", "id: Town", "id", "", 1),
    ("title_en: Town\n", "", "title_en", "", 1),
    ("articles:", "article:", "a list of articles", "baseline.yaml", 1),
    ("あ\n", "[あ: い\n", "not valid YAML", "", 9),
    ("agency: [section_head]", "agency: [agency]", "cannot act for itself", "", 5),
    ("  agency: {ja", "  agenci: {ja", "agenci is no office", "did you mean agency", 20),
    ("reports_to", "reports", "unknown field `reports`", "reports_to", 21),
    ("offices:\n", "offices: []\nx:\n", "offices is a map", "ja", 19),
    ("counting: next_april", "counting: april", "retention.counting", "one of: event, next_april", 23),
    ("{years: 3, ja: 重", "{year: 3, ja: 重", "unknown field `year`", "years", 26),
    ("ends: closed", "ends: never", "holds.0.ends", "one of: closed", 28),
    ("{ground: audit, article: 第2条", "{ground: audit, article: 第9条", "not among the articles", "", 28),
    ("office_zone: inner", "office_zone: iner", "no zone iner", "did you mean inner", 32),
    ("zones: [inner]", "zones: [outer]", "no zone outer", "inner", 34),
    ("models: [one]", "models: [two]", "no model two", "one", 34),
    ("zones: [inner]", "zones: [inner], until: 2020-04-01", "ends before it begins", "after", 34),
    ("zones: [inner]", "zones: [inner], until: 2020-02-30", "no such date", "", 34),
    ("wireless: permit", "wireless: maybe", "wireless", "one of: allowed", 34),
    ("zones:\n", "zones: &a []\nx: *a\ny:\n", "anchors", "", 30),
    ("title_ja: 町\n", "title_ja: 町\ntitle_ja: 市\n", "stands here twice", "", 3),
]


@pytest.mark.parametrize("case", MISTAKES, ids=[case[1] or case[0] for case in MISTAKES])
def test_mistakes_are_said_with_their_line(tmp_path: Path, case: tuple[str, str, str, str, int]) -> None:
    old, new, message, hint, line = case
    assert TEXT.count(old) == 1, old
    path = write(tmp_path, TEXT.replace(old, new))
    with pytest.raises(SourceError) as caught:
        load_ordinance(path)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_all_mistakes_come_at_once_in_order_of_line(tmp_path: Path) -> None:
    text = TEXT.replace("levels: [record]", "levels: [recorded]").replace(
        "counting: next_april", "counting: x"
    )
    text = text.replace("title_en: Town\n", "").replace("zones: [inner]", "zone: [inner]")
    with pytest.raises(OrdinanceError) as caught:
        load_ordinance(write(tmp_path, text))
    assert [one.line for one in caught.value.all()] == [1, 15, 22, 33]
    contradictory = TEXT.replace("retention_years: 3", "retention_years: 2").replace("[one]", "[two]")
    with pytest.raises(OrdinanceError) as caught:
        load_ordinance(write(tmp_path, contradictory.replace("edition: 2020-04-01", "edition: 2020-02-30")))
    assert [one.line for one in caught.value.all()] == [4, 18, 34]


def test_a_file_of_any_name_is_read_where_it_is_only_compared(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert read_ordinance(path, named=False).id == "town"
    with pytest.raises(SourceError, match="named for the id"):
        read_ordinance(path)


@given(st.text(max_size=60))
def test_any_text_is_an_ordinance_or_refused_by_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.raises(SourceError) as caught:
        load_ordinance(write(Path(directory), text))
    assert caught.value.line >= 1


LINES = TEXT.splitlines()


@given(st.integers(0, len(LINES) - 1), st.sampled_from(["", "  x: 1", "- 3", "?", "levels: 7", "a: {b: [c"]))
def test_any_line_spoilt_is_read_or_refused_within_the_file(at: int, by: str) -> None:
    text = "\n".join([*LINES[:at], by, *LINES[at + 1 :]])
    with tempfile.TemporaryDirectory() as directory:
        try:
            line = len(load_ordinance(write(Path(directory), text)).articles)
        except SourceError as error:
            line = error.line
    assert 1 <= line <= len(LINES) + 1
