"""One PC of each segment watches: elected, kept, replaced; and told over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector.gateway.watchers import LAPSE_S, Watchers
from protocol.messages import Heartbeat, HeartbeatReply
from tests.collector.gateway.pc import PC, Running

LAN, OTHER = "10.1.0.0/24 00:00:5e:00:53:01", "10.1.0.0/24 00:00:5e:00:53:02"


def beat(*segments: str, state: str = "standby", **more: Any) -> Heartbeat:
    return Heartbeat(
        time_us=0, instance="i", machine_id="m", segments=segments, sensors={"neighbours": state}, **more
    )


def test_the_first_watches_and_stays() -> None:
    watchers = Watchers()
    assert watchers.beat("a", beat(LAN), 0) == (LAN,)
    assert watchers.beat("b", beat(LAN), 1) == ()
    assert watchers.beat("a", beat(LAN, state="running"), 10) == (LAN,)
    assert watchers.beat("b", beat(LAN), 11) == ()
    assert (watchers.duty("a"), watchers.duty("b")) == ((LAN,), ())


def test_a_silent_watcher_is_replaced_and_does_not_come_back_over_the_new_one() -> None:
    watchers = Watchers()
    watchers.beat("a", beat(LAN), 0)
    assert watchers.beat("b", beat(LAN), LAPSE_S - 1) == ()
    assert watchers.beat("b", beat(LAN), LAPSE_S) == (LAN,)
    assert watchers.duty("a") == ()
    assert watchers.beat("a", beat(LAN), LAPSE_S + 1) == ()


def test_one_that_cannot_any_more_gives_the_post_up_at_once() -> None:
    for worse in (
        beat(LAN, state="failed: OSError"),
        beat(LAN, state="off"),
        beat(),
        beat(LAN, isolation="isolated"),
    ):
        watchers = Watchers()
        watchers.beat("a", beat(LAN), 0)
        assert watchers.beat("a", worse, 10) == ()
        assert watchers.beat("b", beat(LAN), 11) == (LAN,)


def test_equal_networks_behind_different_gateways_are_two_segments() -> None:
    watchers = Watchers()
    assert watchers.beat("a", beat(LAN), 0) == (LAN,)
    assert watchers.beat("b", beat(OTHER), 0) == (OTHER,)
    assert (watchers.duty("a"), watchers.duty("b")) == ((LAN,), (OTHER,))


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sets(st.sampled_from((LAN, OTHER)), max_size=2),
            st.sampled_from(("running", "failed: x")),
            st.floats(0, 100),
        ),
        max_size=80,
    )
)
def test_a_segment_never_has_two_watchers_and_somebody_able_who_speaks_gets_a_vacant_post(
    steps: list[tuple[str, set[str], str, float]],
) -> None:
    watchers, now = Watchers(), 0.0
    heard: dict[str, float] = {}
    for agent, segments, state, passed in steps:
        now += passed
        taken = {one for other in "abcd" for one in watchers.duty(other) if now - heard[other] < LAPSE_S}
        vacant = segments - taken
        heard[agent] = now
        mine = set(watchers.beat(agent, beat(*sorted(segments), state=state), now))
        assert mine == (mine & segments)
        assert not mine or state == "running"
        if state == "running":
            assert vacant <= mine
        everybody = [one for other in "abcd" for one in watchers.duty(other)]
        assert len(everybody) == len(set(everybody))


def test_duty_is_told_with_every_answer(gateway: Running, new_pc: Callable[..., PC]) -> None:
    first, second = new_pc("pc1").connect(gateway, "control"), new_pc("pc2").connect(gateway, "control")
    able = {"sensors": {"neighbours": "standby"}, "segments": (LAN,)}
    assert first.ask("control", first.beat(**able)).watch == (LAN,)
    assert second.ask("control", second.beat(**able)).watch == ()
    again = first.ask("control", first.beat(**able))
    assert isinstance(again, HeartbeatReply)
    assert again.watch == (LAN,)
    first.ask("control", first.beat(sensors={"neighbours": "off"}))
    assert second.ask("control", second.beat(**able)).watch == (LAN,)
