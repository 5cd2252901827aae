"""Runs the tests beside correlation rules: sequences of events, and whether the correlation fires.

``name.tests.yml`` then holds ``{name, events: [{at, agent, event: {…}, enrichment: {…}, times}, …], fires}``: ``at`` in
seconds from the first, ``times`` equal events a second apart. Needed are a sequence that fires, one that does not, and
each of the rules the correlation refers to must fire in one that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from policies.correlation import Correlator
from policies.correlation_state import GRACE_US
from policies.match import Matcher
from policies.model import Correlation, Enrichment, Rule
from protocol.events import AnyEvent

TIME_US = 1_700_000_000_000_000
"""Tests need not say when."""
SECOND_US = 1_000_000


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """One event of a sequence as it is written, or ``times`` of them."""

    event: dict[str, Any]
    at: Annotated[int, Meta(ge=0)] = 0
    agent: str = "pc1"
    enrichment: dict[str, Any] = {}
    times: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Happening(Struct, frozen=True):
    """One event of a sequence, typed."""

    agent: str
    event: AnyEvent
    enrichment: Enrichment


class Sequenced(Struct, frozen=True):
    """One test of a correlation, typed."""

    name: str
    events: tuple[Happening, ...]
    fires: bool


def happenings(step: Step, event: AnyEvent, enrichment: Enrichment) -> Iterator[Happening]:
    """The events of a step."""
    for number in range(step.times):
        moment = TIME_US + (step.at + number) * SECOND_US
        yield Happening(step.agent, replace(event, time_us=moment), enrichment)


def check_correlation(
    correlation: Correlation,
    tests: Sequence[Sequenced],
    rules: Mapping[str, Rule],
    correlations: Mapping[str, Correlation],
) -> Iterator[tuple[str, str]]:
    """Everything wrong between a correlation and its tests: name of the failure, detail."""
    needed = list(_needed(correlation, correlations))
    feeding = {name for one in needed for name in one.rules}
    matcher = Matcher(rule for name, rule in rules.items() if name in feeding)
    fired_in_hits: set[str] = set()
    for test in tests:
        found, fired = _run(test, matcher, needed, correlation)
        if found != test.fires:
            yield ("fires" if found else "does_not_fire"), test.name
        elif found:
            fired_in_hits |= fired
    if not any(test.fires for test in tests):
        yield "no_firing_test", "no sequence fires"
    if all(test.fires for test in tests):
        yield "no_near_miss", "no sequence that does not fire"
    for name in correlation.rules:
        if name not in fired_in_hits:
            yield "branch_not_exercised", f"{name} fires in no sequence that fires"


def _run(
    test: Sequenced, matcher: Matcher, needed: Sequence[Correlation], sought: Correlation
) -> tuple[bool, set[str]]:
    """Whether a sequence makes the correlation true, and what fired on the way."""
    correlator = Correlator(needed)
    fired: set[str] = set()
    found = []
    end_us = TIME_US
    for seq, one in enumerate(test.events, 1):
        rules = [hit.rule.id for hit in matcher.match(one.event, one.enrichment) if not hit.error]
        fired.update(rules)
        end_us = max(end_us, one.event.time_us)
        found += correlator.feed(
            one.event, one.agent, seq, rules, received_us=end_us, enrichment=one.enrichment
        )
    found += correlator.close(end_us + sum(one.timespan_us + GRACE_US for one in needed))
    fired.update(one.correlation.id for one in found)
    return any(one.correlation.id == sought.id for one in found), fired


def _needed(correlation: Correlation, known: Mapping[str, Correlation]) -> Iterator[Correlation]:
    """A correlation with all that it refers to."""
    yield correlation
    for name in correlation.rules:
        if name in known:
            yield from _needed(known[name], known)
