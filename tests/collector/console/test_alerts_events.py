import threading
import time
from collections.abc import Callable

import pytest

from collector.console.masking import MASK
from protocol.events import ConnectionBlocked, DeviceBlocked, ProcessStarted
from tests.collector.console.world import PC1, PC2, START, Caller, World

SignIn = Callable[[str | None], Caller]


def test_alerts_come_in_order_and_by_level(sign_in: SignIn, world: World) -> None:
    ids = [
        world.alert(level=level, seq=n)
        for n, level in enumerate(["low", "high", "critical", "informational"])
    ]
    network = sign_in("network_admin")
    assert [alert["id"] for alert in network.get("/alerts")] == ids
    assert [alert["id"] for alert in network.get("/alerts", level="high")] == ids[1:3]
    assert [alert["id"] for alert in network.get("/alerts", limit=1)] == ids[-1:]
    assert [alert["id"] for alert in network.get("/alerts", after_id=ids[0], limit=2)] == ids[1:3]
    assert network.get("/alerts", after_id=ids[-1]) == []
    assert network.refused("GET", "/alerts", level="worst") == (400, "bad_request")
    assert network.refused("GET", "/alerts", wait_s=26) == (400, "bad_request")
    assert network.refused("GET", "/alerts", after_id=1 << 70) == (400, "bad_request")


def test_a_long_poll_answers_when_an_alert_comes(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    first = world.alert(seq=1)
    answers: list[object] = []
    waiter = threading.Thread(
        target=lambda: answers.extend(network.get("/alerts", after_id=first, wait_s=20))
    )
    began = time.monotonic()
    waiter.start()
    new = world.alert(seq=2)
    waiter.join(10)
    assert not waiter.is_alive()
    assert [alert["id"] for alert in answers] == [new]  # type: ignore[index]
    assert time.monotonic() - began < 10


def test_a_long_poll_ends_empty(sign_in: SignIn) -> None:
    assert sign_in("network_admin").get("/alerts", after_id=0, wait_s=0.3) == []


def test_an_alert_is_acknowledged_once(sign_in: SignIn, world: World) -> None:
    network, number = sign_in("network_admin"), world.alert()
    assert (
        network.post(f"/alerts/{number}/acknowledge", {"reason": "確認した"})["acknowledged_by"]
        == "network_admin"
    )
    assert network.refused("POST", f"/alerts/{number}/acknowledge", {}) == (409, "already_there")
    assert network.refused("POST", f"/alerts/{1 << 63}/acknowledge", {})[0] in {400, 404}


@pytest.fixture
def day(world: World) -> World:
    world.journal(
        PC1,
        ProcessStarted(time_us=START, user="tanaka", exe="/usr/bin/bash", target="/home/tanaka/game"),
        ConnectionBlocked(
            time_us=START + 1, user="mori", dest_ip="203.0.113.9", dest_port=443, action="blocked"
        ),
    )
    world.journal(PC2, DeviceBlocked(time_us=START + 2, label="USB tanaka", action="blocked"))
    return world


def kinds(answer: list[dict[str, dict[str, str]]]) -> list[str]:
    return [found["event"]["kind"] for found in answer]


def test_events_by_pc_kind_and_time(sign_in: SignIn, day: World) -> None:
    network = sign_in("network_admin")
    assert kinds(network.get("/events")) == ["device.blocked", "connection.blocked", "process.started"]
    assert kinds(network.get("/events", oldest_first=True, limit=1)) == ["process.started"]
    assert kinds(network.get("/events", host="fukushi-01")) == ["device.blocked"]
    assert kinds(network.get("/events", kind="device.blocked,process.started", until_us=START + 1)) == [
        "process.started"
    ]
    assert network.get("/events", host="zeimu-01", text="203.0.113")[0]["hostname"] == "zeimu-01"
    assert network.refused("GET", "/events", kind="no.such") == (422, "bad_value")


def test_looking_a_person_up_needs_a_reason_that_is_kept(sign_in: SignIn, day: World) -> None:
    network = sign_in("network_admin")
    assert network.refused("GET", "/events", user="tanaka") == (422, "reason_missing")
    assert network.refused("GET", "/events", user="tanaka", reason="  ") == (422, "reason_missing")
    assert network.refused("GET", "/events", text="tanaka") == (422, "reason_missing")
    assert kinds(network.get("/events", user="tanaka", reason="事案 7 の調査")) == ["process.started"]
    (line,) = [
        entry
        for entry in sign_in("auditor").get("/audit")
        if entry["status"] == 200 and "user=" in str(entry)
    ]
    assert (line["operator"], line["reason"]) == ("network_admin", "事案 7 の調査")
    assert "user=tanaka" in line["detail"]["query"]


def test_who_may_not_see_people_cannot_find_them_either(sign_in: SignIn, day: World) -> None:
    it, head = sign_in("it_staff"), sign_in("section_head")
    assert it.refused("GET", "/events", user="tanaka", reason="x") == (403, "forbidden")
    assert it.get("/events", text="tanaka", reason="x", kind="process.started") == []
    assert it.get("/events", text="game")[0]["event"]["target"] == f"/home/{MASK}/game"
    assert kinds(head.get("/events")) == ["connection.blocked", "process.started"]
    assert {found["event"]["user"] for found in head.get("/events")} == {MASK}
    assert head.refused("GET", "/events", host="fukushi-01") == (404, "not_found")


def test_without_an_index_nothing_is_found(sign_in: SignIn) -> None:
    assert sign_in("auditor").get("/events") == []
