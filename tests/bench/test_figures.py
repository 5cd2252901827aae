import pytest

from tests.bench.budgets import FIGURES, Figure, by_place
from tests.bench.figures import added, last_before, percentile


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([7.0], 99) == 7.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_what_is_added_ignores_a_machine_that_slows_down() -> None:
    off = [[10.0, 10.0, 11.0], [20.0, 20.0, 21.0], [30.0, 30.0, 31.0]]
    on = [[14.0, 14.0, 90.0], [24.0, 24.0, 25.0], [34.0, 34.0, 35.0]]
    assert added(off, on) == 4.0


def test_last_packet_of_a_round() -> None:
    arrivals = [10, 20, 30, 90, 100]
    assert last_before(arrivals, 15, 80) == 30
    assert last_before(arrivals, 35, 80) is None
    assert last_before([], 0, 80) is None
    assert last_before(arrivals, 0, 1000) == 100


def test_a_missed_budget_is_marked() -> None:
    most, least = Figure("a.b", "", "", at_most=5), Figure("a.c", "", "", at_least=5)
    assert [most.judge(5.0), most.judge(5.1), most.judge(None)] == ["ok", "missed", "not measured"]
    assert [least.judge(5.0), least.judge(4.9)] == ["ok", "missed"]
    assert Figure("a.d", "", "").judge(1.0) == ""


def test_every_figure_has_its_place() -> None:
    keys = [figure.key for figure in FIGURES]
    assert len(set(keys)) == len(keys)
    assert by_place({"a.b": 1.0, "a.c": 2.0, "d.e": 3.0}) == {"a": {"b": 1.0, "c": 2.0}, "d": {"e": 3.0}}
