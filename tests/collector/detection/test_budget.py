from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from collector.detection.budget import (
    FIRST,
    FIRST_CRITICAL,
    OTHERS,
    PERSONS,
    WINDOW_US,
    Budget,
    Key,
    Summary,
    window_of,
)

KEYS = [Key("r1", "pc1", "sato"), Key("r1", "pc1", ""), Key("r1", "pc2", "sato"), Key("r2", "pc1", "sato")]
T0 = 1_800_000_000_000_000


def verdicts(
    budget: Budget, key: Key, count: int, *, critical: bool = False, now_us: int = T0
) -> Counter[str]:
    return Counter(budget.offer(key, critical=critical, now_us=now_us)[0] for _ in range(count))


@given(st.integers(0, 500))
def test_the_first_ones_each_then_one_summary_that_counts_the_rest(count: int) -> None:
    budget = Budget()
    seen = verdicts(budget, KEYS[0], count)
    assert seen["raise"] == min(count, FIRST)
    assert seen["summarise"] == (count > FIRST)
    assert seen["counted"] == max(0, count - FIRST - 1)
    for summary in budget.grown.values():
        assert summary.count == count - FIRST


def test_critical_ones_have_a_larger_budget_that_also_ends() -> None:
    seen = verdicts(Budget(), KEYS[0], 200, critical=True)
    assert seen == {"raise": FIRST_CRITICAL, "summarise": 1, "counted": 149}


def test_the_window_after_it_begins_anew() -> None:
    budget = Budget()
    verdicts(budget, KEYS[0], 20)
    assert verdicts(budget, KEYS[0], 20, now_us=T0 + WINDOW_US)["raise"] == FIRST


def test_a_clock_set_back_opens_no_new_window() -> None:
    budget = Budget()
    verdicts(budget, KEYS[0], 20)
    assert verdicts(budget, KEYS[0], 20, now_us=T0 - 3 * WINDOW_US) == {"counted": 20}


def test_growth_of_an_old_window_survives_the_new_one() -> None:
    budget = Budget()
    verdicts(budget, KEYS[0], FIRST + 3)
    later = T0 + WINDOW_US
    verdicts(budget, KEYS[0], FIRST + 5, now_us=later)
    assert {started: one.count for (_, started), one in budget.grown.items()} == {T0: 3, later: 5}


def test_made_up_persons_do_not_evade_the_budget() -> None:
    budget = Budget()
    seen: Counter[str] = Counter()
    keys = set()
    for number in range(10_000):
        verdict, key = budget.offer(Key("r1", "pc1", f"made-up-{number}"), critical=False, now_us=T0)
        seen[verdict] += 1
        keys.add(key)
    assert seen["raise"] == PERSONS + FIRST
    assert seen["summarise"] == 1
    assert len(keys) == PERSONS + 1
    assert Key("r1", "pc1", OTHERS) in keys
    assert verdicts(budget, Key("r1", "pc2", "sato"), 1) == {"raise": 1}


@given(st.lists(st.integers(0, 1000), max_size=300))
def test_memory_is_bounded_and_giving_up_a_key_only_adds_alerts(numbers: list[int]) -> None:
    tight, wide = Budget(keys=10), Budget()
    for number in numbers:
        key = Key("r", f"pc{number}", "")
        verdict, _ = wide.offer(key, critical=False, now_us=T0)
        tight_verdict, _ = tight.offer(key, critical=False, now_us=T0)
        assert verdict != "raise" or tight_verdict == "raise"
    assert len(tight) <= 10


@given(st.sampled_from(KEYS), st.integers(0, 1 << 62))
def test_windows_are_ten_minutes_long(key: Key, now_us: int) -> None:
    assert window_of(key, now_us + WINDOW_US) == window_of(key, now_us) + 1


class Restarted(RuleBasedStateMachine):
    """A budget that is rebuilt from its own stored alerts at any moment decides as one that never stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.steady, self.restarted = Budget(), Budget()
        self.now = T0
        self.alerts: list[tuple[Key, int, Summary | None]] = []
        self.offered = 0

    @rule(key=st.sampled_from(KEYS), critical=st.booleans(), times=st.integers(1, 60))
    def hit(self, key: Key, critical: bool, times: int) -> None:
        for _ in range(times):
            verdict, counted_as = self.steady.offer(key, critical=critical, now_us=self.now)
            assert self.restarted.offer(key, critical=critical, now_us=self.now) == (verdict, counted_as)
            self.offered += 1
            if verdict != "counted":
                summary = Summary(self.now, 1, self.now) if verdict == "summarise" else None
                self.alerts.append((counted_as, self.now, summary))
            for (grown, started), summary in self.restarted.grown.items():
                for stored_key, _, stored in self.alerts:
                    if stored is not None and (stored_key, stored.started_us) == (grown, started):
                        stored.count, stored.last_us = summary.count, summary.last_us

    @rule(step=st.integers(1, 2 * WINDOW_US))
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def restart(self) -> None:
        self.restarted = Budget()
        for key, stored_us, summary in self.alerts:
            if stored_us > self.now - WINDOW_US:
                copy = summary and Summary(summary.started_us, summary.count, summary.last_us)
                self.restarted.restore(key, now_us=stored_us, summary=copy)

    @invariant()
    def every_hit_is_counted_once(self) -> None:
        assert sum(summary.count if summary else 1 for _, _, summary in self.alerts) == self.offered


TestRestarted = Restarted.TestCase
TestRestarted.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
