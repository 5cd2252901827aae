"""A city may ask more freely, less only with a ground; and where several articles speak, the strictest wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.model import Citation, Compare, Correlation, Rule
from policies.ordinance import Article, cite
from policies.ordinance_combine import cited_articles, strictest
from policies.ordinance_override import JUDGED, SEVERITIES, Override, applied, loosened, rank, rule_as_set
from policies.shipped import shipped_library, shipped_ordinances

ORDINANCES = shipped_ordinances()
NUMBER = "第35条第4号"
MILD = "第34条"
"""Only observed, severity low."""


def article(number: str = NUMBER) -> Article:
    found = ORDINANCES["nagoya"].article(number)
    assert found is not None
    return found


def rule(*numbers: str, **changes: Any) -> Rule:
    values: dict[str, Any] = {
        "id": "r", "version": "1", "title_ja": "規則", "title_en": "rule", "family": "device", "control": "devices",
        "effect": "block", "level": "medium", "predicate": Compare("permit", "eq", ("none",)),
        "citations": tuple(Citation("nagoya", number) for number in numbers),
    }  # fmt: skip
    return Rule(**{**values, **changes})


def override(number: str = NUMBER, ground: str = "", **changes: Any) -> Override:
    return Override("nagoya", number, changes, ground)


CHANGES = [
    ("severity", "critical", "low"),
    ("levels", ("enforce", "observe", "record"), ("observe",)),
    ("permit_by", ("section_head",), ("section_head", "network_manager", "csirt")),
    ("retention_years", 10, 1),
    ("report_to", ("section_head", "ciso"), ()),
    ("order_by", (), ("csirt",)),
]


@pytest.mark.parametrize(("field", "more", "less"), CHANGES)
def test_asking_less_is_seen(field: str, more: Any, less: Any) -> None:
    base = replace(article(), permit_by=("section_head", "agency"))
    assert loosened(base, {field: more}) == []
    assert loosened(base, {field: less}) == [field]


@pytest.mark.parametrize(
    ("was", "new", "less"),
    [
        (("observe",), ("enforce",), False),
        (("enforce",), ("observe",), True),
        (("enforce", "record"), ("enforce",), True),
        (("observe", "record"), ("enforce",), True),
        (("enforce", "observe"), ("enforce",), True),
        (("support",), ("record",), False),
        (("record",), ("support",), True),
        (("support",), ("organisation",), False),
    ],
)
def test_levels_are_weighed_by_what_is_done(was: Any, new: Any, less: bool) -> None:
    assert bool(loosened(replace(article(), levels=was), {"levels": new})) is less


def test_one_of_those_who_act_for_the_agency_is_not_another_office() -> None:
    acting = ORDINANCES["nagoya"].acting
    assert article().permit_by == ("agency",)
    assert loosened(article(), {"permit_by": ("section_head",)}, acting) == []
    assert loosened(article(), {"permit_by": ("section_head",)}) == ["permit_by"]
    assert loosened(article(), {"permit_by": ("ciso",)}, acting) == ["permit_by"]


def test_a_permit_where_none_was_known_is_looser() -> None:
    barred = article("第35条第5号")
    assert loosened(barred, {"permittable": True, "permit_by": ("ciso",)}) == ["permittable", "permit_by"]
    assert loosened(article(), {"permittable": False}) == []


def test_every_judged_field_is_one_of_an_article() -> None:
    assert set(Article.__struct_fields__) > JUDGED
    assert {field for field, _more, _less in CHANGES} | {"permittable"} == JUDGED


@given(st.sampled_from(SEVERITIES), st.sampled_from(SEVERITIES))
def test_more_and_less_are_opposites(one: Any, other: Any) -> None:
    looser = bool(loosened(replace(article(), severity=one), {"severity": other}))
    assert looser == (rank(other) < rank(one))


def test_an_override_holds_for_permits_and_is_cited_with_its_ground() -> None:
    law = applied(ORDINANCES, [override(permit_by=("ciso",), ground="委員会の決定"), override("第99条")])
    changed = law["nagoya"].article(NUMBER)
    assert changed is not None
    assert law["nagoya"].approvers(changed) == {"ciso"}
    assert "委員会の決定" in cite(law["nagoya"], changed).summary_ja
    assert "委員会の決定" in cite(law["nagoya"], changed).summary_en
    assert ORDINANCES["nagoya"].article(NUMBER) == article()


def test_what_is_not_permittable_has_nobody_to_permit_it() -> None:
    changed = applied(ORDINANCES, [override(permittable=False)])["nagoya"].article(NUMBER)
    assert changed is not None
    assert (changed.permittable, changed.permit_by) == (False, ())


@pytest.mark.parametrize(
    ("numbers", "changes", "ground", "level"),
    [
        ((NUMBER,), {"severity": "critical"}, "", "critical"),
        ((NUMBER,), {"severity": "low"}, "試行", "low"),
        ((NUMBER,), {"severity": "low"}, "", "medium"),
        ((NUMBER, "第35条第5号"), {"severity": "low"}, "試行", "medium"),
        ((NUMBER, MILD), {"severity": "informational"}, "試行", "low"),
        ((NUMBER, MILD), {"severity": "high"}, "", "high"),
        ((NUMBER, MILD), {"levels": ("observe",)}, "試行", "medium"),
        (("第35条第5号",), {"severity": "high"}, "", "medium"),
        ((), {"severity": "high"}, "", "medium"),
    ],
)
def test_a_rule_is_as_grave_as_the_gravest_article_as_they_stand(
    numbers: tuple[str, ...], changes: dict[str, Any], ground: str, level: str
) -> None:
    found = {("nagoya", NUMBER): override(ground=ground, **changes)}
    assert rule_as_set(rule(*numbers), found, ORDINANCES).level == level


def test_a_rule_blocks_while_any_article_it_serves_is_enforced() -> None:
    observed = {("nagoya", NUMBER): override(levels=("observe",), ground="試行")}
    assert article(MILD).levels == ("observe",)
    for numbers, effect in (
        ((NUMBER,), "flag"),
        ((NUMBER, MILD), "flag"),
        ((NUMBER, "第35条第5号"), "block"),
        ((MILD,), "block"),
    ):
        assert rule_as_set(rule(*numbers), observed, ORDINANCES).effect == effect
    milder = {("nagoya", NUMBER): override(severity="low", ground="試行")}
    assert rule_as_set(rule(NUMBER), milder, ORDINANCES).effect == "block"


def test_a_trial_of_the_shipped_device_rule_only_flags() -> None:
    """What is observed by 第34条 and 練馬 holds up neither the block nor the severity."""
    shipped = next(one for one in shipped_library().rules if one.id == "unknown_device")
    trial = {
        (one.ordinance, one.article): Override(
            one.ordinance, one.article, {"levels": ("observe",), "severity": "low"}, "試行"
        )
        for one in shipped.citations
        if "enforce" in ORDINANCES[one.ordinance].article(one.article).levels  # type: ignore[union-attr]
    }
    assert set(trial) == {("nagoya", NUMBER), ("baseline", "第1号")}
    found = rule_as_set(shipped, trial, ORDINANCES)
    assert (found.effect, found.level) == ("flag", "medium")


def test_a_correlation_is_set_likewise() -> None:
    often = Correlation(
        id="often", version="1", title_ja="度々", title_en="often", level="low", kind="event_count", rules=("r",),
        timespan_us=1, citations=(Citation("nagoya", NUMBER),),
    )  # fmt: skip
    found = rule_as_set(
        often, {("nagoya", NUMBER): override(severity="high", levels=("observe",))}, ORDINANCES
    )
    assert found == replace(often, level="high")


# -- several articles --------------------------------------------------------------------------------------------------


def test_the_strictest_of_several_articles_wins() -> None:
    citations = [Citation("nagoya", NUMBER), Citation("baseline", "第1号"), Citation("nowhere", "第1条")]
    both = cited_articles(ORDINANCES, citations)
    assert [one.id for one, _article in both] == ["nagoya", "baseline"]
    terms = strictest(both)
    assert (terms.severity, terms.retention_years, terms.permittable) == ("high", 3, True)
    assert set(terms.permit_by) == {"section_head", "network_manager", "system_manager"}
    assert terms.report_to == ("section_head", "network_manager")


def test_one_article_that_knows_no_permit_forbids_it_for_all() -> None:
    citations = [Citation("nagoya", NUMBER), Citation("nagoya", "第35条第5号")]
    terms = strictest(cited_articles(ORDINANCES, citations))
    assert (terms.permittable, terms.permit_by, terms.severity) == (False, (), "critical")


def test_nothing_cited_asks_nothing() -> None:
    assert strictest([]).permit_by == ()
