"""Correlations by the events' own time: what counts, in which window, told how often, and with what memory."""

from collections.abc import Sequence

import pytest

from policies.correlation import Correlated, Correlator
from policies.correlation_state import GRACE_US
from policies.model import All, Any, Compare, Correlation, CorrelationKind, Node, Not, Threshold
from protocol.events import ConnectionOpened, LogonFailed, LogonSucceeded

S = 1_000_000
MINUTE = 60 * S
T0 = 1_800_000_000 * S


def correlation(
    kind: CorrelationKind = "event_count",
    rules: Sequence[str] = ("a",),
    *,
    id: str = "c",
    by: Sequence[str] = ("user",),
    fields: Sequence[str] = (),
    op: Threshold = "gte",
    threshold: float = 3,
    condition: Node | None = None,
    aliases: dict[str, dict[str, str]] | None = None,
    percentile: int = 50,
    span_us: int = 10 * MINUTE,
) -> Correlation:
    return Correlation(
        id=id, version="1", title_ja="相関", title_en="c", level="high", citations=(), kind=kind, rules=tuple(rules),
        timespan_us=span_us, group_by=tuple(by), fields=tuple(fields), op=op, threshold=threshold,
        condition=condition, aliases=aliases or {}, percentile=percentile,
    )  # fmt: skip


class Stream:
    """A correlator with a counter for sequence numbers and a clock for receipts."""

    def __init__(self, *correlations: Correlation) -> None:
        self.correlator = Correlator(correlations)
        self.seq = 0
        self.now_us = T0

    def fails(
        self, at_s: float, user: str = "sato", agent: str = "pc1", rule: str = "a", count: int = 1
    ) -> list[Correlated]:
        event = LogonFailed(time_us=T0 + int(at_s * S), user=user, count=count)
        self.seq += 1
        self.now_us = max(self.now_us, event.time_us)
        return self.correlator.feed(event, agent, self.seq, [rule], received_us=self.now_us)

    def sends(self, at_s: float, port: int, user: str = "sato") -> list[Correlated]:
        event = ConnectionOpened(time_us=T0 + int(at_s * S), dest_port=port, user=user)
        self.seq += 1
        self.now_us = max(self.now_us, event.time_us)
        return self.correlator.feed(event, "pc1", self.seq, ["a"], received_us=self.now_us)

    def close(self, at_s: float) -> list[Correlated]:
        self.now_us = max(self.now_us, T0 + int(at_s * S))
        return self.correlator.close(self.now_us)


def test_a_count_is_told_with_the_events_that_made_it() -> None:
    stream = Stream(correlation())
    assert stream.fails(0) == []
    assert stream.fails(60, agent="pc2") == []
    (hit,) = stream.fails(120)
    assert hit.group == {"user": "sato"}
    assert [(one.agent_id, one.seq) for one in hit.events] == [("pc1", 1), ("pc2", 2), ("pc1", 3)]
    assert (hit.count, hit.value, hit.last.seq) == (3, 3.0, 3)


def test_groups_do_not_count_together() -> None:
    stream = Stream(correlation())
    assert not any(stream.fails(at, user=f"user{at % 2}") for at in range(4))
    assert stream.fails(4, user="user0")


def test_what_is_outside_the_window_does_not_count() -> None:
    stream = Stream(correlation())
    assert not any(stream.fails(at) for at in (0, 1, 601.5, 602))
    assert stream.fails(603)


def test_folded_events_count_as_many() -> None:
    assert Stream(correlation()).fails(0, count=3)


def test_an_attack_that_goes_on_is_told_once_a_time_span() -> None:
    stream = Stream(correlation())
    told = [at for at in range(0, 3600, 10) if stream.fails(at)]
    assert told == [20, 620, 1220, 1820, 2420, 3020]


def test_a_missing_group_or_value_counts_nowhere() -> None:
    stream = Stream(correlation(), correlation("value_count", id="v", fields=["user"], by=()))
    assert not any(stream.fails(at, user="") for at in range(9))


def test_late_events_count_where_they_belong() -> None:
    stream = Stream(correlation())
    stream.fails(0)
    stream.fails(7200)
    stream.fails(60)
    (hit,) = stream.fails(30)
    assert [one.time_us - T0 for one in hit.events] == [0, 30 * S, 60 * S]
    assert stream.fails(7201) == []
    assert stream.fails(7202)


def test_an_event_from_the_future_counts_at_its_receipt() -> None:
    stream = Stream(correlation())
    stream.fails(0)
    future = LogonFailed(time_us=T0 * 2, user="sato")
    for seq in (2, 3):
        found = stream.correlator.feed(future, "pc1", seq, ["a"], received_us=T0 + 5 * S)
    assert found[0].last.time_us == T0 + 5 * S


def test_value_count_counts_distinct_values() -> None:
    stream = Stream(correlation("value_count", fields=["agent_id"], threshold=2))
    assert not any(stream.fails(at) for at in range(5))
    (hit,) = stream.fails(6, agent="pc2")
    assert hit.value == 2


@pytest.mark.parametrize(
    ("kind", "threshold", "fires_at"),
    [("value_sum", 100, 3), ("value_sum", 61, 2), ("value_sum", 1000, None)],
)
def test_a_sum_is_told_when_it_is_reached(
    kind: CorrelationKind, threshold: float, fires_at: int | None
) -> None:
    stream = Stream(correlation(kind, fields=["dest_port"], threshold=threshold))
    fired = [number for number, port in enumerate((10, 20, 40, 80)) if stream.sends(number, port)]
    assert fired[:1] == ([] if fires_at is None else [fires_at])


@pytest.mark.parametrize(
    ("kind", "percentile", "value"),
    [
        ("value_avg", 50, 37.5),
        ("value_median", 50, 30),
        ("value_percentile", 75, 50),
        ("value_percentile", 100, 80),
    ],
)
def test_other_figures_are_judged_when_the_window_has_closed(
    kind: CorrelationKind, percentile: int, value: float
) -> None:
    stream = Stream(correlation(kind, fields=["dest_port"], threshold=value, op="eq", percentile=percentile))
    for number, port in enumerate((10, 20, 40, 80)):
        assert stream.sends(number, port) == []
    assert stream.close(600) == []
    (hit,) = stream.close(600 + GRACE_US / S)
    assert (hit.value, hit.count) == (value, 4)
    assert stream.close(10_000) == []


def test_too_few_is_told_when_the_window_has_closed() -> None:
    stream = Stream(correlation(op="lt"))
    stream.fails(0)
    stream.fails(700)
    assert [hit.count for hit in stream.close(661)] == [1]
    assert [hit.count for hit in stream.close(1361)] == [1]
    for at in (2000, 2001, 2002):
        stream.fails(at)
    assert stream.close(9999) == []


def test_temporal_needs_each_rule_in_any_order() -> None:
    stream = Stream(correlation("temporal", ["a", "b", "x"]))
    assert not stream.fails(0, rule="x")
    assert not stream.fails(1, rule="a")
    assert not stream.fails(2, rule="a")
    assert stream.fails(3, rule="b")


def test_temporal_ordered_needs_the_order() -> None:
    stream = Stream(correlation("temporal_ordered", ["a", "b"], threshold=2))
    assert not stream.fails(10, rule="b")
    assert not stream.fails(20, rule="a")
    (hit,) = stream.fails(30, rule="b")
    assert hit.value == 2
    late = Stream(correlation("temporal_ordered", ["a", "b"], threshold=2))
    late.fails(30, rule="b")
    assert late.fails(20, rule="a"), "it came later, but was earlier"


def rule(name: str) -> Compare:
    return Compare("rule", "eq", (name,))


def test_a_condition_over_rules() -> None:
    stream = Stream(
        correlation("temporal", ["a", "b", "x"], condition=All((rule("a"), Any((rule("b"), rule("x"))))))
    )
    assert not stream.fails(0, rule="b")
    assert stream.fails(1, rule="a")


def test_a_rule_that_must_not_fire_is_waited_for() -> None:
    condition = All((rule("a"), Not(rule("b"))))
    alone, both = (Stream(correlation("temporal", ["a", "b"], condition=condition)) for _ in range(2))
    assert alone.fails(0) == []
    assert both.fails(0) == []
    both.fails(300, rule="b")
    assert alone.close(661)
    assert both.close(661) == []


def test_a_correlation_of_correlations() -> None:
    failed = correlation(id="failed")
    then = correlation("temporal_ordered", ["failed", "in"], id="broken_in", threshold=2)
    stream = Stream(failed, then)
    for at in range(3):
        stream.fails(at)
    event = LogonSucceeded(time_us=T0 + 60 * S, user="sato")
    (hit,) = stream.correlator.feed(event, "pc2", 9, ["in"], received_us=T0 + 60 * S)
    assert (hit.correlation.id, [one.rule for one in hit.events]) == ("broken_in", ["failed", "in"])


def test_aliases_name_the_field_of_each_rule() -> None:
    aliases = {"who": {"a": "user", "b": "target_user"}}
    stream = Stream(correlation("temporal", ["a", "b"], by=["who"], threshold=2, aliases=aliases))
    stream.fails(0, user="ito")
    event = LogonSucceeded(time_us=T0 + S, user="sato", target_user="ito")
    (hit,) = stream.correlator.feed(event, "pc1", 9, ["b"], received_us=T0 + S)
    assert hit.group == {"who": "ito"}
