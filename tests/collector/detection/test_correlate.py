"""Correlations in the detector: one alert that lists its events, silent rules, restarts, kills, other releases."""

import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select

import policies.correlation_state as bounds
from collector.detection.runtime import Detector
from collector.registers.models import Finding, Release
from collector.registers.models_correlations import CorrelationGroup
from collector.registers.store import now_us
from policies.model import Compare, Correlation, Not
from protocol.events import LogonFailed
from tests.collector.detection.city import ARTICLE, T0, City, rule
from tests.collector.detection.test_crash import child, runs, wait_until

Found = Callable[..., City]
Detect = Callable[[City], Detector]
S = 1_000_000
FAILED = replace(rule("failed", "logon", Compare("kind", "eq", ("logon.failed",))), silent=True)
MANY = Correlation(
    id="many", version="2", title_ja="相関", title_en="many", level="high", citations=(ARTICLE,),
    kind="event_count", rules=("failed",), timespan_us=600 * S, group_by=("user",), threshold=3,
)  # fmt: skip


@pytest.fixture
def city(found: Found) -> City:
    made = found()
    made.release([FAILED], correlations=[MANY])
    return made


def failed(at: int, user: str = "sato") -> LogonFailed:
    return LogonFailed(time_us=T0 + at * S, user=user)


def restart(city: City) -> None:
    detector = Detector(city.data)
    detector.settle()
    detector.close()


def groups(city: City) -> Sequence[CorrelationGroup]:
    with city.store.read() as session:
        return list(session.scalars(select(CorrelationGroup)))


def test_a_correlation_is_one_alert_that_lists_its_events(city: City, detect: Detect) -> None:
    city.send("pc1", [failed(0), failed(1)])
    city.send("pc2", [failed(2, "ito"), failed(3)])
    detect(city)
    (alert,) = city.alerts()
    assert (alert.rule_id, alert.rule_version, alert.level, alert.kind) == (
        "many",
        "2",
        "high",
        "correlation.event_count",
    )
    assert (alert.agent_id, alert.seq, alert.person, alert.found_by) == ("pc2", 2, "sato", "collector")
    assert alert.citations == [{"ordinance": "nagoya", "article": "第35条第4号", "edition": "2016-04-01"}]
    assert alert.event["user"] == "sato"
    assert [(one["agent_id"], one["seq"]) for one in alert.event["events"]] == [
        ("pc1", 1),
        ("pc1", 2),
        ("pc2", 2),
    ]


def test_a_rule_that_is_not_silent_makes_its_own_alerts_too(found: Found, detect: Detect) -> None:
    city = found()
    city.release([replace(FAILED, silent=False)], correlations=[MANY])
    city.send("pc1", [failed(at) for at in range(3)])
    detect(city)
    assert [alert.rule_id for alert in city.alerts()] == ["failed", "failed", "failed", "many"]


def test_a_pc_that_claims_a_silent_rule_makes_no_alert(city: City, detect: Detect) -> None:
    city.send("pc1", [LogonFailed(time_us=T0, user="sato", rules=("failed",))])
    detect(city)
    assert city.alerts() == []


def test_it_goes_on_after_a_restart(city: City) -> None:
    for at in range(3):
        city.send("pc1", [failed(at)])
        restart(city)
    assert [alert.seq for alert in city.alerts()] == [3]
    city.send("pc1", [failed(4)])
    restart(city)
    assert len(city.alerts()) == 1, "once a time span, also across restarts"


def test_a_rule_that_raises_does_not_make_events_count_twice(found: Found, detect: Detect) -> None:
    city = found()
    broken = rule("broken", "logon", Not(Compare("remote_ip", "cidr", ("junk",))))
    city.release([FAILED, broken], correlations=[MANY])
    city.send("pc1", [failed(0), failed(1)])
    detect(city)
    assert {alert.rule_id for alert in city.alerts()} == {"rule_error:broken"}


def test_another_definition_begins_anew_and_the_old_one_is_forgotten(city: City, detect: Detect) -> None:
    city.send("pc1", [failed(0), failed(1)])
    detect(city)
    city.release([FAILED], correlations=[replace(MANY, threshold=4)])
    city.send("pc1", [failed(2), failed(3)])
    detect(city)
    assert city.alerts() == []
    (group,) = groups(city)
    city.release([FAILED], correlations=[replace(MANY, threshold=4, title_en="x"), replace(MANY, id="more")])
    city.send("pc1", [failed(4), failed(5)])
    detect(city)
    assert group.digest not in {one.digest for one in groups(city)}


def test_the_same_definition_goes_on_in_the_next_release(city: City, detect: Detect) -> None:
    city.send("pc1", [failed(0), failed(1)])
    detect(city)
    city.release([replace(FAILED, version="9")], correlations=[MANY])
    city.send("pc1", [failed(2)])
    detect(city)
    assert [alert.rule_id for alert in city.alerts()] == ["many"]


def test_rings_with_different_releases_count_together(city: City, detect: Detect) -> None:
    city.release([replace(FAILED, version="9")], correlations=[MANY])
    with city.store.write() as session:
        newest = session.scalars(select(Release).order_by(Release.generation.desc())).first()
        assert newest is not None
        newest.ring = "early"
    city.send("pc1", [failed(0), failed(1)])
    city.send("pc2", [failed(2)])
    detect(city)
    assert [alert.rule_id for alert in city.alerts()] == ["many"]


def test_windows_close_though_nothing_comes(found: Found, detect: Detect) -> None:
    city = found()
    city.release([FAILED], correlations=[replace(MANY, op="lt")])
    then = now_us() - 3600 * S
    city.send("pc1", [replace(failed(0), time_us=then)], received_us=then)
    detector = detect(city)
    assert [alert.event["figure"] for alert in city.alerts()] == [1.0]
    detector.settle()
    assert len(city.alerts()) == 1


def test_too_many_groups_are_told_once(city: City, detect: Detect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_GROUPS", 20)
    for first in (0, 100):
        city.send("pc1", [failed(at, f"user{at}") for at in range(first, first + 100)])
        detect(city)
    with city.store.read() as session:
        (finding,) = session.scalars(select(Finding).where(Finding.name == "correlation_full"))
    assert finding.detail == {"rule": "many", "count": 80}
    assert len(groups(city)) == 20


@pytest.mark.slow
def test_killed_at_random_every_event_counts_once(city: City) -> None:
    """Each user fails three times, in batches between which the detector is killed: each is told exactly once."""
    dice = random.Random(1)
    users = [f"user{number}" for number in range(60)]
    for turn in range(3):
        dice.shuffle(users)
        for part in range(0, len(users), 20):
            sent = [(f"pc-{user}", [failed(turn * 10, user)]) for user in users[part : part + 20]]
            with child(city.data) as process:
                wait_until(lambda process=process: runs(city, process))  # type: ignore[misc]
                city.send_all(sent)
                wait_until(lambda: dice.random() < 0.2)  # the moment of the kill is the dice
                os.kill(process.pid, signal.SIGKILL)
    with child(city.data) as process:
        wait_until(lambda: len(city.alerts()) >= len(users))
    assert sorted(alert.person for alert in city.alerts()) == sorted(users)


def test_stored_groups_are_those_of_the_cursor(city: City, tmp_path: Path) -> None:
    city.send("pc1", [failed(0)])
    restart(city)
    (group,) = groups(city)
    assert (group.correlation, group.key) == ("many", '["sato"]')
