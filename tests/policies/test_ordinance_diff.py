"""Two editions compared: what was added, removed and changed, and whether the new one asks more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.ordinance import Article, Ordinance
from policies.ordinance_diff import differences, removed_articles
from policies.ordinance_parts import Office, RetentionClass
from policies.shipped import shipped_ordinances

ORDINANCES = shipped_ordinances()
NAGOYA = ORDINANCES["nagoya"]


def with_article(ordinance: Ordinance, number: str, **changes: Any) -> Ordinance:
    articles = tuple(replace(one, **changes) if one.number == number else one for one in ordinance.articles)
    return replace(ordinance, articles=articles)


@pytest.mark.parametrize("name", sorted(ORDINANCES))
def test_an_edition_does_not_differ_from_itself(name: str) -> None:
    assert differences(ORDINANCES[name], ORDINANCES[name]) == []


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"severity": "critical"}, "tighter"),
        ({"severity": "low"}, "looser"),
        ({"levels": ("observe",)}, "looser"),
        ({"levels": ("enforce", "record")}, "tighter"),
        ({"permit_by": ("ciso",)}, "other"),
        ({"permittable": False}, "tighter"),
        ({"retention_years": 5}, "tighter"),
        ({"report_to": ()}, "looser"),
        ({"ja": "ほかの言い方"}, ""),
        ({"controls": ("devices",)}, ""),
    ],
)
def test_a_changed_field_says_what_it_means(changes: dict[str, Any], effect: str) -> None:
    (found,) = differences(NAGOYA, with_article(NAGOYA, "第35条第4号", **changes))
    assert (found.part, found.name, found.sign) == ("article", "第35条第4号", "~")
    assert {found.field: found.after} == msgspec.to_builtins(changes)
    assert found.effect == effect
    assert str(found).startswith(f"~ article 第35条第4号 {found.field}: ")


def test_added_and_removed_articles_are_told_apart() -> None:
    added = Article(number="第69条", ja="新しい条", en="new", levels=("support",))
    new = replace(NAGOYA, edition="2027-04-01", articles=(*NAGOYA.articles[1:], added))
    edition, plus, minus = differences(NAGOYA, new)
    assert (edition.field, edition.before, edition.after) == ("edition", "2016-04-01", "2027-04-01")
    assert (plus.sign, plus.name, str(plus)) == ("+", "第69条", "+ article 第69条: 新しい条 / new [support]")
    assert (minus.sign, minus.name) == ("-", "第1条")
    assert removed_articles([edition, plus, minus]) == ["第1条"]


def test_every_part_of_an_ordinance_shows() -> None:
    new = replace(
        NAGOYA,
        offices={
            **NAGOYA.offices,
            "csirt": Office(ja="新", en="new"),
            "auditor": Office(ja="監査", en="audit"),
        },
        retention=replace(NAGOYA.retention, counting="event", classes=(RetentionClass(1, "軽", "light"),)),
        holds=NAGOYA.holds[:-1],
        acting={},
        zones=ORDINANCES["baseline"].zones,
        models=ORDINANCES["baseline"].models,
        requirements=ORDINANCES["baseline"].requirements,
    )
    parts = {one.part for one in differences(NAGOYA, new)}
    assert parts == {"ordinance", "office", "retention", "hold", "zone", "model", "requirement"}


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(["low", "high"]),
        "retention_years": st.integers(1, 30),
        "permittable": st.booleans(),
        "report_to": st.lists(st.sampled_from(["ciso", "csirt"]), unique=True).map(tuple),
    },
)


@given(FIELDS, FIELDS)
def test_going_back_undoes_every_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    first = with_article(NAGOYA, "第58条", **one)
    second = with_article(NAGOYA, "第58条", **other)
    there = {(found.field, str(found.before), str(found.after)) for found in differences(first, second)}
    back = {(found.field, str(found.after), str(found.before)) for found in differences(second, first)}
    assert there == back
