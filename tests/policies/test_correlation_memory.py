"""What correlations keep: bounded, counted where it is lost, the same after a restart and with another release."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies.correlation_state as bounds
from policies.correlation import Correlator, Kept
from policies.correlation_state import LATE_US
from policies.model import All, Correlation, Not
from tests.policies.test_correlation import T0, S, Stream, correlation, rule


def lost(stream: Stream) -> int:
    (groups,) = stream.correlator.groups
    return groups.lost


def test_groups_are_bounded_and_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_GROUPS", 10)
    stream = Stream(correlation())
    for number in range(25):
        stream.fails(number, user=f"user{number}")
    assert lost(stream) == 15
    stream.fails(26, user="user24")
    assert stream.fails(27, user="user24"), "the newest groups are kept"
    assert len(next(iter(stream.correlator.groups))._states) == 10


def test_groups_whose_time_is_over_are_no_loss() -> None:
    stream = Stream(correlation())
    stream.fails(0)
    stream.fails(LATE_US / S + 700, user="ito")
    (groups,) = stream.correlator.groups
    assert len(groups._states) == 1
    assert groups.lost == 0


def test_entries_are_bounded_and_a_count_is_not_lost_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FEWEST_IN_GROUP", 8)
    stream = Stream(correlation(threshold=5))
    told = sum(len(stream.fails(at / 10)) for at in range(1000))
    (groups,) = stream.correlator.groups
    assert (told, groups.lost) == (1, 0)
    assert len(groups._states["sato",].entries) == 8


def test_what_is_older_than_a_day_before_its_group_is_counted_as_lost() -> None:
    stream = Stream(correlation())
    stream.fails(LATE_US / S + 2000)
    stream.fails(0)
    assert lost(stream) == 1


def kept(correlator: Correlator) -> list[Kept]:
    return [one for groups in correlator.groups for one in groups.changed() if one.state]


times = st.lists(
    st.tuples(st.integers(0, 2000), st.sampled_from("ab"), st.sampled_from(["sato", "ito"])), max_size=40
)
rules = st.sampled_from(
    [
        correlation(),
        correlation(op="lt"),
        correlation("temporal", ["a", "b"], threshold=2),
        correlation("temporal_ordered", ["a", "b"], threshold=2),
        correlation("value_count", fields=["agent_id"], threshold=2),
        correlation("temporal", ["a", "b"], condition=All((rule("a"), Not(rule("b"))))),
    ]
)


@given(rules, times, st.integers(0, 40))
def test_a_restart_changes_nothing(
    one: Correlation, events: Iterable[tuple[int, str, str]], cut: int
) -> None:
    """Stored and taken up again in the middle, it tells the same as without."""
    events = list(events)
    through, before = Stream(one), Stream(one)
    told = [hit for at, name, user in events for hit in through.fails(at, user, rule=name)] + through.close(
        9000
    )
    again = [hit for at, name, user in events[:cut] for hit in before.fails(at, user, rule=name)]
    after = Stream(one)
    after.correlator.restore(kept(before.correlator))
    after.seq, after.now_us = before.seq, before.now_us
    again += [hit for at, name, user in events[cut:] for hit in after.fails(at, user, rule=name)]
    assert again + after.close(9000) == told


@given(times)
def test_a_count_is_what_a_plain_look_says(events: list[tuple[int, str, str]]) -> None:
    """In order of time, the first that is told of a group is the first window that holds enough."""
    stream = Stream(correlation())
    events.sort()
    told: dict[str, int] = {}
    for at, _, user in events:
        for hit in stream.fails(at, user):
            told.setdefault(hit.group["user"], (hit.last.time_us - T0) // S)
    for user in ("sato", "ito"):
        own = [at for at, _, whose in events if whose == user]
        first = next((own[i] for i in range(2, len(own)) if own[i] - own[i - 2] <= 600), None)
        assert told.get(user) == first


def test_the_order_of_receipt_does_not_change_whether_a_group_is_told() -> None:
    dice = random.Random(3)
    moments = [dice.randrange(3000) for _ in range(40)]
    own = sorted(moments)
    wanted = any(own[i] - own[i - 2] <= 600 for i in range(2, len(own)))
    for _ in range(20):
        dice.shuffle(moments)
        stream = Stream(correlation())
        stream.now_us = T0 + 3000 * S
        assert any(stream.fails(at) for at in moments) == wanted


def test_a_new_release_goes_on_where_nothing_changed() -> None:
    old = Stream(correlation(), correlation(id="other"))
    old.fails(0)
    old.fails(1)
    new = Stream(correlation(), correlation(id="other", threshold=4))
    new.correlator.share(old.correlator)
    new.seq = 2
    assert [hit.correlation.id for hit in new.fails(2)] == ["c"]
