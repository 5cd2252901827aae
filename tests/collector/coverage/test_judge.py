"""How an article is served on one PC: never better than what the PC reports and the release says."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import sensors
from collector.coverage.judge import BUILT, SENSORS_OF, STATES, Pc, Served, centre, on_pc
from collector.coverage.table import coverage
from policies.model import Any as AnyOf
from policies.model import Citation, Control, Rule
from policies.ordinance import Article, Ordinance
from policies.ordinance_parts import Function

NUMBER = "第35条第4号"


def article(**changes: Any) -> Article:
    values: dict[str, Any] = {
        "number": NUMBER, "ja": "私物", "en": "private", "levels": ("enforce",), "controls": ("devices",),
    }  # fmt: skip
    return Article(**{**values, **changes})


def rule(control: Control | None = "devices", effect: Any = "block") -> Rule:
    return Rule(
        id=f"{control}_{effect}",
        version="1",
        title_ja="規則",
        title_en="rule",
        family="device",
        control=control,
        effect=effect,
        level="high",
        citations=(Citation("nagoya", NUMBER, "2016-04-01"),),
        predicate=AnyOf(()),
    )


def pc(mode: str = "enforce", **changes: Any) -> Pc:
    values: dict[str, Any] = {"id": "a", "hostname": "pc-1", "generation": 3, "controls": {"devices": mode}}
    return Pc(**{**values, **changes})


def test_the_table_of_sensors_is_the_agents() -> None:
    own = {(kind.control, name) for name, kind in sensors.discover().items()}
    assert {(control, name) for control, names in SENSORS_OF.items() for name in names} == own
    assert set(SENSORS_OF) == set(get_args(Control))


def test_what_is_built_are_functions_the_ordinances_may_name() -> None:
    assert set(get_args(Function)) >= BUILT


@pytest.mark.parametrize(
    ("served", "wanted"),
    [
        (on_pc(article(), [rule()], pc()), Served("enforced", "", "devices")),
        (on_pc(article(), [rule()], pc("observe")), Served("observed", "", "devices")),
        (on_pc(article(), [rule(effect="flag")], pc()), Served("observed", "", "devices")),
        (on_pc(article(levels=("observe",)), [rule()], pc()), Served("observed", "", "devices")),
        (on_pc(article(levels=("record",)), [], pc("observe")), Served("recorded", "", "devices")),
        (on_pc(article(), [], pc()), Served("not_supported", "no_rule", "devices")),
        (on_pc(article(), [rule()], pc("off")), Served("not_supported", "switched_off", "devices")),
        (on_pc(article(), [rule()], pc("unsupported")), Served("not_supported", "not_running", "devices")),
        (on_pc(article(), [rule()], pc(generation=0, enrolled_us=7)), Served("not_supported", "no_policy", "", 7)),
        (
            on_pc(
                article(),
                [rule()],
                pc(sensors={"devices": "failed: gone"}, since={"sensors.devices": 5}),
            ),
            Served("not_supported", "not_running", "devices: failed: gone", 5),
        ),
        (on_pc(article(), [rule()], pc(sensors={"devices": "standby"})), Served("enforced", "", "devices")),
    ],
)  # fmt: skip
def test_one_control(served: Served, wanted: Served) -> None:
    assert served == wanted


def test_the_weakest_half_decides_and_a_half_without_a_rule_does_not() -> None:
    both = article(controls=("devices", "media"))
    modes = {"devices": "enforce", "media": "observe"}
    assert on_pc(both, [rule(), rule("media")], pc(controls=modes)).state == "observed"
    assert on_pc(both, [rule()], pc(controls=modes)).state == "enforced"


@pytest.mark.parametrize(
    ("one", "state", "why"),
    [
        (article(levels=("organisation",), controls=()), "organisation", ""),
        (article(levels=("support",), controls=(), centre=("permits",)), "support", ""),
        (article(levels=("support",), controls=(), centre=("incidents",)), "not_supported", "not_built"),
        (article(levels=("enforce",), controls=(), centre=("roles",)), "enforced", ""),
        (article(levels=("record",), controls=(), centre=("legal_hold",)), "not_supported", "not_built"),
        (article(levels=("record",), controls=()), "not_supported", "not_built"),
    ],
)
def test_articles_without_pcs(one: Article, state: str, why: str) -> None:
    served = centre(one)
    assert served is not None
    assert (served.state, served.why) == (state, why)


MODES = st.sampled_from(["enforce", "observe", "off", "unsupported"])


@given(
    st.lists(st.tuples(MODES, st.sampled_from(["running", "standby", "failed: x"])), min_size=1, max_size=9),
    st.booleans(),
)
def test_a_table_says_enforced_only_when_every_pc_enforces(
    states: list[tuple[str, str]], with_rule: bool
) -> None:
    pcs = [
        pc(mode, id=str(index), hostname=f"pc-{index}", sensors={"devices": sensor}, online=index % 2 == 0)
        for index, (mode, sensor) in enumerate(states)
    ]
    city = Ordinance(
        id="nagoya", title_ja="規則", title_en="rules", edition="2016-04-01", articles=(article(),)
    )
    found = coverage([city], [rule()] if with_rule else [], pcs, generation=3)
    (row,) = found.rows
    everywhere = with_rule and all(mode == "enforce" and sensor != "failed: x" for mode, sensor in states)
    assert (row.state == "enforced") == everywhere
    assert sum(row.pcs.values()) == len(pcs) == sum(len(group.hosts) for group in row.groups)
    assert all(group.why for group in row.groups if group.state == "not_supported")
    assert len(found.silent) == len(pcs) // 2
    assert set(row.pcs) <= set(STATES)
    assert found.totals == {"nagoya": {row.state: 1}}
