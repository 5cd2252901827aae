"""A back-test says what a draft would have flagged and stopped, and where that differs from what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.desk.backtest import MOST_SAMPLES, Result, Side, compare
from collector.desk.backtest_events import Span, StoredEvents
from collector.detection.batch import Batch, Decoded
from collector.detection.rules import Policy, empty_policy
from collector.evidence.files import NewBatch
from collector.evidence.journal import Journal
from collector.search.index import BITS, IndexWriter
from policies.enrich import CompiledBundle
from policies.model import (
    Assignment,
    Bundle,
    Compare,
    Correlation,
    Permit,
    Rule,
    Scope,
    Setting,
    Subject,
    Zone,
)
from protocol.events import KINDS, AnyEvent, DeviceAttached, ProcessStarted, encode_event, join_encoded
from tests.collector.detection.city import ARTICLE, T0, rule

DAY = 86_400_000_000
UNKNOWN = replace(
    rule("unknown", "device", Compare("permit", "eq", ("none",))), effect="block", control="devices"
)
ANY = rule("any", "device", Compare("kind", "eq", ("device.attached",)))
BROKEN = rule("broken", "device", Compare("device_class", "re", ("(",)))
STOP = {"devices": {"*": Setting("enforce"), "lgwan": Setting("observe")}}


def bundle(*rules: Rule, **changes: Any) -> Bundle:
    values: dict[str, Any] = {
        "city": "naka",
        "generation": 1,
        "issued_us": T0,
        "expires_us": T0 + 1,
        "ordinances": ("nagoya",),
        "rules": rules,
        "permits": (),
        "zones": (
            Zone(name="lgwan", title_ja="L", title_en="L"),
            Zone(name="internet", title_ja="I", title_en="I"),
        ),
        "settings": {},
        "assignments": {"pc1": Assignment("lgwan"), "pc2": Assignment("internet")},
        **changes,
    }
    return Bundle(**values)


def side(*rules: Rule, **changes: Any) -> Side:
    return Side(Policy(CompiledBundle(bundle(*rules, **changes), "d")))


def batch(agent_id: str, *events: AnyEvent, first_seq: int = 1) -> tuple[Batch, Decoded]:
    return Batch(1, agent_id, first_seq, len(events), T0 * 2, b""), Decoded(list(events))


def device(number: int = 1, **changes: Any) -> DeviceAttached:
    return DeviceAttached(time_us=T0 + number, device_id=f"d{number}", device_class="storage", **changes)


def figures(result: Result) -> dict[str, tuple[int, int, int]]:
    return {one.id: (one.draft.events, one.newly.events, one.no_longer.events) for one in result.rules}


def test_what_is_new_what_stays_and_what_goes() -> None:
    batches = [batch("pc1", device(1), device(2)), batch("pc2", device(3))]
    result = compare(side(UNKNOWN), side(ANY), batches)
    assert figures(result) == {"unknown": (3, 3, 0), "any": (0, 0, 3)}
    assert (result.newly.pcs, result.no_longer.pcs, result.events, result.pcs) == (2, 2, 3, 2)
    assert (result.first_us, result.last_us) == (T0 + 1, T0 + 3)
    same = compare(side(ANY), side(ANY), batches)
    assert figures(same) == {"any": (3, 0, 0)}
    assert (same.newly.events, same.no_longer.events, same.newly_stopped.events) == (0, 0, 0)
    assert same.rules[0].in_force.events == 3


def test_only_where_the_control_enforces_and_no_permit_covers_it_is_it_stopped() -> None:
    permit = Permit(
        id="p", kind="device", subject=Subject(device_id="d4"), scope=Scope(agents=("pc2",)), from_us=0,
        until_us=T0 * 2, article=ARTICLE,
    )  # fmt: skip
    batches = [batch("pc1", device(1)), batch("pc2", device(2), device(4))]
    (one,) = compare(side(UNKNOWN, settings=STOP, permits=(permit,)), side(UNKNOWN), batches).rules
    assert (one.draft.events, one.newly.events) == (2, 0)
    assert (one.stopped.events, one.stopped.pcs, one.newly_stopped.pcs) == (1, 1, 1)
    (one,) = compare(side(UNKNOWN, settings=STOP), side(UNKNOWN, settings=STOP), batches).rules
    assert (one.stopped.events, one.newly_stopped.events) == (2, 0)


def test_permits_are_judged_as_of_the_event() -> None:
    permit = Permit(
        id="p",
        kind="device",
        subject=Subject(device_id="d1"),
        from_us=T0 + DAY,
        until_us=T0 * 2,
        article=ARTICLE,
    )
    (one,) = compare(side(UNKNOWN, permits=(permit,)), side(), [batch("pc1", device(1))]).rules
    assert one.newly.events == 1, "the permit of later does not cover it"


def test_what_the_pc_said_of_itself_does_not_count() -> None:
    told = device(1, rules=("unknown", "made_up"))
    assert compare(side(), Side(empty_policy()), [batch("pc1", told)]).rules == ()


def test_a_rule_that_cannot_be_evaluated_is_an_error_and_no_hit() -> None:
    (one,) = compare(side(BROKEN), side(), [batch("pc1", device(1), device(2))]).rules
    assert (one.errors, one.new_errors, one.draft.events) == (2, 2, 0)
    (one,) = compare(side(BROKEN), side(BROKEN), [batch("pc1", device(1))]).rules
    assert (one.errors, one.new_errors) == (1, 0)


def test_samples_are_few_and_prefer_what_is_new() -> None:
    in_force = side(replace(ANY, predicate=Compare("device_id", "eq", ("d1", "d2", "d3"))))
    (one,) = compare(side(ANY), in_force, [batch("pc1", *map(device, range(1, 8)))]).rules
    assert len(one.samples) == MOST_SAMPLES
    assert all(sample.newly for sample in one.samples)
    assert one.samples[0].seq == 4


def test_persons_are_counted_and_never_named() -> None:
    programs = [
        ProcessStarted(time_us=T0, user=f"user{number}", target=f"/home/user{number}/x")
        for number in range(4)
    ]
    run = rule("run", "process", Compare("kind", "eq", ("process.started",)))
    result = compare(side(run), side(), [batch("pc1", *programs)])
    assert result.rules[0].newly.persons == 4
    assert "user1" not in str(result)


def test_an_early_end() -> None:
    batches = [batch("pc1", device(number)) for number in range(1, 6)]
    assert compare(side(ANY), side(), batches, lambda _count: False).events == 1


def test_correlations_are_tried_too() -> None:
    many = Correlation(
        id="many", version="1", title_ja="多数", title_en="many", level="high", citations=(ARTICLE,),
        kind="event_count", rules=("any",), timespan_us=60_000_000, group_by=("agent_id",), threshold=3,
    )  # fmt: skip
    batches = [batch("pc1", device(1), device(2)), batch("pc2", device(3)), batch("pc1", device(4))]
    result = compare(side(ANY, correlations=(many,)), side(ANY), batches)
    assert figures(result) == {"many": (1, 1, 0), "any": (4, 0, 0)}
    (one,) = [one for one in result.rules if one.id == "many"]
    assert (one.title_en, one.newly.pcs, one.samples[0].agent_id) == ("many", 1, "pc1")


EVENTS = st.lists(st.tuples(st.sampled_from(["pc1", "pc2", "pc3"]), st.integers(1, 4)), max_size=20)
RULES = st.lists(st.sampled_from([UNKNOWN, ANY, BROKEN]), max_size=3, unique_by=lambda one: one.id)


@settings(deadline=None, max_examples=40)
@given(EVENTS, RULES, RULES)
def test_the_sums_agree(events: list[tuple[str, int]], draft: list[Rule], before: list[Rule]) -> None:
    batches = [batch(agent, device(number), first_seq=seq) for seq, (agent, number) in enumerate(events, 1)]
    result = compare(side(*draft, settings=STOP), side(*before), batches)
    turned = compare(side(*before), side(*draft), batches)
    for one in result.rules:
        assert one.draft.events - one.newly.events == one.in_force.events - one.no_longer.events
        assert one.newly_stopped.events <= one.stopped.events <= one.draft.events
        assert max(one.newly.pcs, one.stopped.pcs) <= one.draft.pcs <= len({agent for agent, _ in events})
    assert (result.newly, result.no_longer) == (turned.no_longer, turned.newly)


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten batches of two events, one an hour, by pc0 and pc1 in turn; the fourth cannot be read."""
    journal, index = Journal(tmp_path / "journal.db"), IndexWriter(tmp_path / "index.db")
    for number in range(10):
        time_us = T0 + number * 3_600_000_000
        events = [DeviceAttached(time_us=time_us + one) for one in (0, 1)]
        body = zstandard.compress(join_encoded([encode_event(event) for event in events]))
        one = NewBatch(
            agent_id=f"pc{number % 2}", first_seq=1 + number, count=2, prev_digest=bytes(32), digest=bytes(32),
            received_us=time_us, body=b"x" if number == 3 else body, signature=bytes(64),
        )  # fmt: skip
        rowid = journal.append_many([one])
        line = (rowid, one.agent_id, one.first_seq, 2, time_us, time_us + 1, BITS["device.attached"])
        index.add([line], rowid)
    journal.close()
    index.close()
    return tmp_path


def read(data: Path, **changes: Any) -> tuple[StoredEvents, list[int]]:
    """What is read of a span, as hours since T0."""
    values: dict[str, Any] = {
        "since_us": 0,
        "until_us": T0 * 2,
        "most": 1000,
        "kinds": frozenset(KINDS),
        **changes,
    }
    stored = StoredEvents(data, Span(**values))
    hours = [
        (event.time_us - T0) // 3_600_000_000
        for _, decoded in stored.batches()
        for event in decoded.events
        if event is not None
    ]
    return stored, hours


def test_a_span_is_read_oldest_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.desk.backtest_events.LINES_AT_ONCE", 3)
    stored, hours = read(data)
    assert (stored.total, stored.cut, stored.unreadable) == (20, False, 2)
    assert hours == [hour for hour in range(10) if hour != 3 for _ in (0, 1)]
    hour = 3_600_000_000
    stored, hours = read(data, since_us=T0 + 4 * hour + 1, until_us=T0 + 6 * hour)
    assert (stored.total, hours) == (4, [4, 5, 5])


def test_only_the_newest_of_too_many(data: Path) -> None:
    stored, hours = read(data, most=7)
    assert (stored.total, stored.cut) == (6, True)
    assert hours == [7, 7, 8, 8, 9, 9]


def test_only_some_pcs_and_kinds(data: Path) -> None:
    assert set(read(data, agents=frozenset({"pc1"}))[1]) == {1, 5, 7, 9}
    assert read(data, agents=frozenset())[1] == []
    assert read(data, kinds=frozenset({"media.mounted"}))[0].total == 0


def test_nothing_was_stored_yet(tmp_path: Path) -> None:
    stored, hours = read(tmp_path)
    assert (stored.total, hours) == (0, [])
