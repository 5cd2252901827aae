"""Two machines with one key: the decision alone."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from collector.gateway.clones import GRACE_S, KEPT, Seat, judge


def test_a_restart_takes_the_seat_over() -> None:
    seat = Seat("m1")
    assert judge(seat, "a", "m1", 0.0) == "first"
    assert judge(seat, "a", "m1", 10.0) == "same"
    assert judge(seat, "b", "m1", 20.0) == "restarted"
    assert judge(seat, "b", "m1", 30.0) == "same"


def test_a_beat_of_the_process_before_that_was_still_under_way_is_no_clone() -> None:
    seat = Seat("m1")
    judge(seat, "a", "m1", 0.0)
    judge(seat, "b", "m1", 10.0)
    assert judge(seat, "a", "m1", 10.0 + GRACE_S / 2) == "late"
    assert judge(seat, "b", "m1", 20.0) == "same"


def test_of_two_that_live_at_once_the_first_stays() -> None:
    seat = Seat("m1")
    judge(seat, "a", "m1", 0.0)
    assert judge(seat, "b", "m1", 3.0) == "restarted"
    assert judge(seat, "a", "m1", 10.0) == "same"
    for at in range(20, 60, 10):
        assert judge(seat, "b", "m1", at) == "two_alive"
        assert judge(seat, "a", "m1", at + 1) == "same"


def test_another_machine_is_a_clone_even_while_the_first_is_off() -> None:
    seat = Seat("m1")
    assert judge(seat, "x", "m2", 0.0) == "other_machine"
    assert judge(seat, "a", "m1", 1.0) == "first"
    assert judge(seat, "x", "m2", 2.0) == "other_machine"
    assert judge(seat, "a", "m1", 3.0) == "same"


def test_a_key_without_a_machine_yet_belongs_to_the_first_that_speaks() -> None:
    seat = Seat()
    assert judge(seat, "a", "m1", 0.0) == "first"
    assert judge(seat, "x", "m2", 1.0) == "other_machine"


@given(st.lists(st.integers(0, 5), max_size=60))
def test_however_often_it_restarts_a_single_pc_is_never_a_clone_and_memory_stays_small(
    beats: list[int],
) -> None:
    seat = Seat("m1")
    instances = (f"run-{number}" for number in itertools.count())
    now, instance = 0.0, next(instances)
    for beat in beats:
        now += 10
        if not beat:
            instance = next(instances)
        assert judge(seat, instance, "m1", now) in ("first", "same", "restarted")
    assert len(seat.gone) <= KEPT
