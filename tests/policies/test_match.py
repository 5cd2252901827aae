"""The compiled predicate means what the plain evaluator says, and a broken rule is never silent."""

import time

import msgspec
import pytest
from hypothesis import given

from policies.match import Matcher, evaluate, run
from policies.model import All, Any, Compare, Enrichment, Node, Not, Rule
from policies.predicate import PredicateError, compile_pattern
from protocol.events import (
    AgentStarted,
    ConnectionOpened,
    DeviceAttached,
    DeviceDetached,
    Event,
    ProcessStarted,
    decode_event,
    encode_event,
    kind_of,
)
from tests.policies import strategies as make


def rule(predicate: Node, family: str = "device", id: str = "r") -> Rule:
    return Rule(
        id=id, version="1", title_ja="", title_en="", family=family, control=None, effect="flag",
        level="low", citations=(), predicate=predicate,
    )  # fmt: skip


@given(make.nodes, make.events, make.enrichments)
def test_compiled_encoded_and_narrowed_all_mean_the_same(
    node: Node, event: Event, enrichment: Enrichment
) -> None:
    wanted = make.holds(node, event, enrichment)
    assert evaluate(node, event, enrichment) == wanted
    family = kind_of(event).partition(".")[0]
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(rule(node, family)), type=Rule)
    received = decode_event(encode_event(event))
    matcher = Matcher([sent])
    hits = matcher.match(received, enrichment)
    assert [hit.error for hit in hits] == [""] * wanted
    assert run(matcher.narrow(type(received), enrichment), received, enrichment) == hits
    assert not wanted or matcher.relevant(kind_of(event))


def test_a_missing_field_matches_only_absence() -> None:
    event, none = DeviceDetached(time_us=1), Enrichment()
    for op in ("contains", "startswith", "endswith", "re", "fieldref"):
        assert not evaluate(Compare("reason", op, ("x",)), event, none)
        assert not evaluate(Compare("serial", op, ("x",)), event, none)
    assert evaluate(Compare("reason", "eq", (None,)), event, none)
    assert evaluate(Compare("serial", "eq", (None,)), event, none)
    assert evaluate(Compare("serial", "exists", (False,)), event, none)
    assert evaluate(Compare("serial", "eq", ("",)), event, none)
    assert not evaluate(Compare("reason", "eq", ("",)), event, none)


def test_text_compares_without_case_unless_cased() -> None:
    event = DeviceAttached(time_us=1, label="SanDisk Ultra")
    assert evaluate(Compare("label", "contains", ("sandisk",)), event, Enrichment())
    assert not evaluate(Compare("label", "contains", ("sandisk",), cased=True), event, Enrichment())


def test_what_the_pc_found_counts_where_the_centre_does_not_know() -> None:
    predicate = Compare("permit", "eq", ("none",))
    event = ConnectionOpened(time_us=1, permit="none")
    assert evaluate(predicate, event, Enrichment())
    assert not evaluate(predicate, event, Enrichment(permit="granted"))


def test_only_kinds_that_can_fire_are_indexed() -> None:
    kind = Compare("kind", "eq", ("device.attached",))
    matcher = Matcher([rule(All((kind, Compare("permit", "eq", ("none",)))))])
    assert matcher.kinds_with_rules == {"device.attached"}
    assert not matcher.relevant("device.detached")
    assert matcher.match(DeviceDetached(time_us=1), Enrichment(permit="none")) == []
    # A field that a kind lacks decides too.
    refused = Matcher([rule(Compare("reason", "eq", ("no_cover",)), "process")])
    assert refused.kinds_with_rules == {"process.denied"}


def test_a_rule_of_another_family_never_fires() -> None:
    assert (
        Matcher([rule(Compare("permit", "eq", ("none",)))]).match(
            ProcessStarted(time_us=1), Enrichment(permit="none")
        )
        == []
    )


@pytest.mark.parametrize(
    "broken",
    [
        Compare("label", "re", (r"(a)\1",)),
        Compare("label", "re", ("x" * 1001,)),
        Compare("label", "cidr", ("10.0.0.0/99",)),
        Compare("label", "contains", (5,)),
        Compare("label", "gt", ("5",)),
        Not(Compare("label", "re", ("(",))),
    ],
)
def test_a_rule_that_cannot_be_compiled_is_a_hit_with_an_error(broken: Node) -> None:
    good = rule(Compare("permit", "eq", ("none",)), id="good")
    matcher = Matcher([rule(broken, id="broken"), good])
    hits = matcher.match(DeviceAttached(time_us=1), Enrichment(permit="none"))
    assert [(hit.rule.id, bool(hit.error)) for hit in hits] == [("broken", True), ("good", False)]
    narrowed = run(matcher.narrow(DeviceAttached, Enrichment()), DeviceAttached(time_us=1), Enrichment())
    assert [hit.rule.id for hit in narrowed] == ["broken"]


def test_a_rule_that_raises_is_a_hit_with_an_error() -> None:
    deep: Node = Compare("label", "eq", ("x",))
    for _ in range(3000):
        deep = Not(deep)
    hits = Matcher([rule(deep)]).match(DeviceAttached(time_us=1), Enrichment())
    assert [hit.error.partition(":")[0] for hit in hits] == ["RecursionError"]


@pytest.mark.parametrize("size", [3, 300, 3000])
def test_wide_predicates_need_no_deep_stack(size: int) -> None:
    parts = tuple(Compare("serial", "startswith", (str(number),)) for number in range(10, 10 + size))
    event = DeviceAttached(time_us=1, serial=str(9 + size))
    assert evaluate(Any(parts), event, Enrichment())
    assert not evaluate(All(parts), event, Enrichment())


def test_an_exploding_regex_stays_linear() -> None:
    search = compile_pattern("(a+)+$")
    times: list[float] = []
    for size in (100_000, 1_000_000):
        text = "a" * size + "b"
        best = float("inf")
        for _ in range(3):
            before = time.perf_counter()
            assert search(text) is None
            best = min(best, time.perf_counter() - before)
        times.append(best)
    # Ten times the text: a backtracking engine would not finish at all.
    assert times[1] < max(100 * times[0], 0.5)


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", "(?=x)", "(", "a{1001}", "((a{100}){100}){100}", "x" * 1001, r"\pL{900}"]
)
def test_regexes_are_refused_by_name(pattern: str) -> None:
    with pytest.raises(PredicateError, match="regex"):
        compile_pattern(pattern)


def test_every_kind_can_be_matched_without_rules() -> None:
    matcher = Matcher([])
    assert matcher.match(AgentStarted(time_us=1), Enrichment()) == []
    assert matcher.kinds_with_rules == frozenset()
