"""Which release a PC's events are judged by: the one its ring is meant to have, never the one it names."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from collector.detection.ringed import load_ringed, no_policy
from collector.detection.runtime import Detector
from collector.registers import releases
from collector.registers.models import Agent, Release
from protocol.events import DeviceAttached
from tests.collector.detection.city import ANY_DEVICE, T0, UNPERMITTED, City

Found = Callable[..., City]
Detect = Callable[[City], Detector]


def pc(city: City, agent_id: str, ring: str, generation: int = 0) -> None:
    with city.store.write() as session:
        session.add(
            Agent(
                id=agent_id,
                curve_key=secrets.token_bytes(32),
                sign_key=secrets.token_bytes(32),
                status="active",
                enrolled_us=T0,
                ring=ring,
                policy_generation=generation,
                health=[],
                controls={},
            )
        )


def to_ring(city: City, generation: int, ring: str) -> None:
    with city.store.write() as session:
        session.get_one(Release, generation).ring = ring


def rules(city: City) -> list[tuple[str, str]]:
    return sorted((alert.agent_id, alert.rule_id) for alert in city.alerts())


def test_each_pc_is_judged_by_the_release_of_its_ring(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    pc(city, "pilot", "pilot")
    pc(city, "liar", "", generation=2)
    city.release([UNPERMITTED])
    to_ring(city, 2, "pilot")
    for agent_id in ("pilot", "other", "liar"):
        city.send(agent_id, [DeviceAttached(time_us=T0, device_id="d", device_class="storage")])
    detect(city)
    assert rules(city) == [("liar", "any_device"), ("other", "any_device"), ("pilot", "unpermitted")]


def test_a_rule_that_only_the_ring_has_is_known_when_the_ring_reports_it(
    found: Found, detect: Detect
) -> None:
    city = found([ANY_DEVICE])
    pc(city, "pilot", "pilot")
    city.release([UNPERMITTED])
    to_ring(city, 2, "pilot")
    reported = DeviceAttached(time_us=T0, device_id="d", device_class="storage", rules=("unpermitted",))
    city.send("pilot", [reported])
    city.send("other", [reported])
    detect(city)
    assert rules(city) == [("other", "any_device"), ("other", "unknown_rule"), ("pilot", "unpermitted")]
    assert {alert.found_by for alert in city.alerts() if alert.agent_id == "pilot"} == {"both"}


def test_promoting_and_changing_rings_take_effect(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    pc(city, "pilot", "pilot")
    city.release([UNPERMITTED])
    to_ring(city, 2, "pilot")
    device = DeviceAttached(time_us=T0, device_id="d", device_class="storage")
    detect(city)
    with city.store.write() as session:
        releases.set_ring(session, "pilot", ["pilot"])
        releases.set_ring(session, "", ["pilot"])
    city.send("pilot", [device])
    detect(city)
    assert rules(city) == [("pilot", "any_device")]
    with city.store.write() as session:
        releases.promote(session, 2, T0)
    city.send("pilot", [device])
    detect(city)
    assert rules(city) == [("pilot", "any_device"), ("pilot", "unpermitted")]


def test_nothing_is_compiled_anew_while_nothing_changes(found: Found) -> None:
    city = found([ANY_DEVICE])
    pc(city, "pilot", "pilot")
    with city.store.read() as session:
        first = load_ringed(session, no_policy())
        assert first is not None
        assert load_ringed(session, first) is None
    city.release([UNPERMITTED])
    to_ring(city, 2, "pilot")
    with city.store.read() as session:
        second = load_ringed(session, first)
    assert second is not None
    assert second.policies[1] is first.policies[1]
    assert set(second.policies) == {1, 2}


def test_a_ring_without_a_release_for_all(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    to_ring(city, 1, "pilot")
    pc(city, "pilot", "pilot")
    for agent_id in ("pilot", "other"):
        city.send(agent_id, [DeviceAttached(time_us=T0, device_id="d", device_class="storage")])
    detect(city)
    assert rules(city) == [("pilot", "any_device")]
