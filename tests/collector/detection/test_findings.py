from collections.abc import Callable

import pytest

from collector.detection.runtime import Detector
from collector.registers.models import Finding
from collector.registers.store import now_us
from protocol.events import AgentDropped
from tests.collector.detection.city import T0, City

Found = Callable[..., City]
Detect = Callable[[City], Detector]


def test_findings_of_the_gateway_become_alerts_once(found: Found, detect: Detect) -> None:
    city = found()
    with city.store.write() as session:
        session.add(Finding(agent_id="pc1", name="clone", detail={"hosts": 2}, time_us=T0, alerted=False))
        session.add(Finding(agent_id="pc2", name="wrong_lane", detail={}, time_us=T0, alerted=False))
    detect(city)
    detect(city)
    clone, other = city.alerts()
    assert (clone.rule_id, clone.level, clone.action, clone.seq) == (
        "finding:clone",
        "critical",
        "failed",
        None,
    )
    assert clone.title_en == "Two machines use one PC's key"
    assert "wrong_lane" in other.title_ja


def gap(city: City, first: int, last: int, time_us: int = T0) -> None:
    with city.store.write() as session:
        detail = {"first": first, "last": last, "chained": True}
        session.add(Finding(agent_id="pc1", name="gap", detail=detail, time_us=time_us, alerted=False))


@pytest.mark.parametrize("gap_first", [True, False])
def test_a_gap_that_the_pc_explains_is_closed(found: Found, detect: Detect, gap_first: bool) -> None:
    city = found()
    if gap_first:
        gap(city, 10, 19)
        detect(city)
        assert city.alerts()[0].action == "failed"
    city.send("pc1", [AgentDropped(time_us=T0, reason="spool_full", ranges=((5, 12), (13, 19)), count=15)])
    detect(city)
    if not gap_first:
        gap(city, 10, 19)
    detect(city)
    alert = next(one for one in city.alerts() if one.rule_id == "finding:gap")
    assert alert.action == "observed"
    assert alert.event["note_ja"]


def test_a_gap_that_is_explained_in_part_stays_open(found: Found, detect: Detect) -> None:
    city = found()
    gap(city, 10, 19)
    city.send("pc1", [AgentDropped(time_us=T0, ranges=((10, 18),), count=9)])
    city.send("pc2", [AgentDropped(time_us=T0, ranges=((10, 19),), count=10)])
    detect(city)
    assert city.alerts()[0].action == "failed"


def test_a_summary_of_gaps_closes_with_its_last_one(found: Found, detect: Detect) -> None:
    city = found()
    for number in range(8):
        gap(city, number * 10, number * 10 + 1, now_us())
    detect(city)
    ranges = [(number * 10, number * 10 + 1) for number in range(8)]
    city.send("pc1", [AgentDropped(time_us=T0, ranges=tuple(ranges[:7]))])
    detect(city)
    assert [one.action for one in city.alerts()] == ["observed"] * 5 + ["failed"]
    city.send("pc1", [AgentDropped(time_us=T0, ranges=tuple(ranges[7:]))])
    detect(city)
    assert {one.action for one in city.alerts()} == {"observed"}
