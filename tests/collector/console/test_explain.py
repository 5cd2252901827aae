"""Explaining an event over the API: rule, branch, fields; masked and limited by role."""

from collections.abc import Callable
from typing import Any

import pytest

from collector.registers.models import Alert
from protocol.events import DeviceAttached, DeviceBlocked, LogonFailed, ProcessDenied
from tests.collector.console.world import PC1, PC2, START, Caller, World, release

SignIn = Callable[[str | None], Caller]


@pytest.fixture
def day(sign_in: SignIn, world: World) -> World:
    assert release(sign_in("network_admin"), world).status_code == 201
    world.journal(
        PC1,
        DeviceAttached(
            time_us=START,
            device_class="storage",
            serial="S1",
            action="blocked",
            rules=("unknown_device",),
            policy="1:x",
        ),
        DeviceBlocked(time_us=START + 1, label="USB", action="blocked", rules=("made_up",)),
        LogonFailed(time_us=START + 2, user="tanaka"),
        ProcessDenied(
            time_us=START + 3, user="tanaka", target="/home/tanaka/game", reason="no_cover", action="blocked"
        ),
    )
    world.journal(PC2, DeviceBlocked(time_us=START, label="USB", action="blocked"))
    return world


def explained(caller: Caller, event_id: str, **query: Any) -> Any:
    return caller.get(f"/events/{event_id}/explain", **query)


def test_rule_branch_and_fields_are_told(sign_in: SignIn, day: World) -> None:
    found = explained(sign_in("network_admin"), "zeimu-01:1")
    assert (found["event_id"], found["hostname"], found["event"]["serial"]) == (f"{PC1}:1", "zeimu-01", "S1")
    assert found["policy"].startswith("1:")
    assert found["enrichment"]["permit"] == "none"
    rule = next(one for one in found["rules"] if one["id"] == "unknown_device")
    assert (rule["fires"], rule["found_by"], rule["level"]) == (True, "both", "high")
    assert {cited["article"] for cited in rule["citations"]} >= {"第35条第4号"}
    told = [
        (one["field"], one["op"], one["wanted"], one["found"], one["holds"], one["known_by"])
        for one in rule["reasons"]
    ]
    assert told == [
        ("kind", "eq", ["device.attached"], "device.attached", True, "event"),
        ("permit", "eq", ["none"], "none", True, "enrichment"),
        ("device_class", "eq", ["badusb"], "storage", False, "event"),
    ]


def test_a_rule_that_does_not_fire_says_why(sign_in: SignIn, day: World) -> None:
    network = sign_in("network_admin")
    (rule,) = explained(network, f"{PC1}:2", rule="unknown_device")["rules"]
    assert (rule["fires"], rule["found_by"]) == (False, "none")
    assert [(one["field"], one["found"], one["holds"]) for one in rule["reasons"]] == [
        ("kind", "device.blocked", False)
    ]
    (other,) = explained(network, f"{PC1}:3", rule="unknown_device")["rules"]
    assert (other["fires"], other["error"]) == (False, "it is about device events")


def test_what_only_the_pc_says_is_told_too(sign_in: SignIn, day: World) -> None:
    rules = explained(sign_in("network_admin"), "zeimu-01:2")["rules"]
    assert [(one["id"], one["found_by"], one["error"]) for one in rules if one["id"] == "made_up"] == [
        ("made_up", "pc", "not in this release")
    ]


def test_a_rule_that_only_feeds_correlations_is_marked(sign_in: SignIn, day: World) -> None:
    rules = explained(sign_in("network_admin"), "zeimu-01:3")["rules"]
    assert [one["id"] for one in rules if one["silent"]] == ["failed_logon"]


def test_the_correlation_an_event_counted_in_is_told(sign_in: SignIn, day: World) -> None:
    parts = [{"agent_id": PC1, "seq": 3, "time_us": START, "rule": "failed_logon"}]
    parts.append({"agent_id": PC2, "seq": 1, "time_us": START, "rule": "failed_logon"})
    number = day.alert()
    with day.console.store.write() as session:
        alert = session.get_one(Alert, number)
        alert.kind, alert.event = "correlation.event_count", {"user": "tanaka", "count": 2, "events": parts}
    (found,) = explained(sign_in("network_admin"), "zeimu-01:3")["correlations"]
    assert (found["event"]["user"], found["event"]["events"]) == ("tanaka", parts)
    assert explained(sign_in("it_staff"), "zeimu-01:3")["correlations"][0]["event"]["user"] == "***"
    (own,) = explained(sign_in("section_head"), "zeimu-01:3")["correlations"]
    assert own["event"]["events"] == parts[:1]
    assert explained(sign_in("network_admin"), "zeimu-01:1")["correlations"] == []


def test_people_are_masked_in_reasons_too(sign_in: SignIn, day: World) -> None:
    for role, shown in (("network_admin", "/home/tanaka/game"), ("it_staff", "/home/***/game")):
        found = explained(sign_in(role), "zeimu-01:4", rule="unapproved_program")
        assert found["event"]["target"] == shown
        assert "tanaka" not in str(found) or role == "network_admin"


@pytest.mark.parametrize(
    ("event_id", "query", "refusal"),
    [
        ("zeimu-01", {}, (422, "bad_value")),
        ("zeimu-01:x", {}, (422, "bad_value")),
        ("zeimu-01:١", {}, (422, "bad_value")),
        (":1", {}, (422, "bad_value")),
        ("zeimu-01:99999999999999999999", {}, (422, "bad_value")),
        ("zeimu-01:99", {}, (404, "not_found")),
        ("nowhere:1", {}, (404, "not_found")),
        ("zeimu-01:1", {"rule": "no_such"}, (404, "not_found")),
        ("zeimu-01:1", {"generation": 7}, (404, "not_found")),
        ("zeimu-01:1", {"generation": -1}, (400, "bad_request")),
    ],
)
def test_what_is_not_there_is_refused(
    sign_in: SignIn, day: World, event_id: str, query: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert sign_in("network_admin").refused("GET", f"/events/{event_id}/explain", **query) == refusal


def test_a_section_head_sees_the_own_section_only(sign_in: SignIn, day: World) -> None:
    head = sign_in("section_head")
    assert explained(head, "zeimu-01:1")["seq"] == 1
    assert head.refused("GET", f"/events/{PC2}:1/explain") == (404, "not_found")


def test_without_a_release_nothing_can_be_explained(sign_in: SignIn, world: World) -> None:
    world.journal(PC1, DeviceBlocked(time_us=START))
    assert sign_in("network_admin").refused("GET", "/events/zeimu-01:1/explain") == (404, "not_found")
