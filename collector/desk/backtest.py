"""What a draft would have flagged and stopped, had it been in force: compared with what is in force.

The same code as the detector's judges stored events twice, once by each release. Enrichment is as of the event's time;
where PCs belong and what the city owns is as the draft says. Memory does not grow with the number of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from collector.console.masking import PERSONAL, mask_path
from collector.detection.batch import Batch, Decoded
from collector.detection.rules import RULE_ERROR, Flag, Policy
from policies.enrich import CompiledBundle
from policies.model import Correlation, Rule
from policies.view import PolicyView
from protocol.events import AnyEvent, kind_of

MOST_PERSONS = 10_000
"""Persons told apart for one rule; a PC may make names up."""
MOST_SAMPLES = 3
_TELLING = (
    "label", "vendor_id", "product_id", "source", "name", "version", "package", "target", "dest_ip", "dest_port",
    "query", "mac", "hostname", "change", "interface", "ssid", "place", "access", "service", "address", "port", "what",
)  # fmt: skip


class Figures(Struct, frozen=True, kw_only=True):
    """How much: events, PCs, persons (at most 10,000 are told apart); first and last event (µs, 0 = none)."""

    events: int = 0
    pcs: int = 0
    persons: int = 0
    first_us: int = 0
    last_us: int = 0


class Sample(Struct, frozen=True, kw_only=True):
    """One event that a rule of the draft fires on, without what names a person. ``newly``: not flagged until now."""

    agent_id: str
    seq: int
    time_us: int
    kind: str
    what: str
    newly: bool
    stopped: bool


class RuleResult(Struct, frozen=True, kw_only=True):
    """One rule. ``newly`` and ``no_longer`` compare with the release in force; ``stopped``: the PC would have stopped it."""

    id: str
    title_ja: str
    title_en: str
    level: str
    effect: str
    control: str
    articles: tuple[str, ...]
    draft: Figures
    in_force: Figures
    newly: Figures
    no_longer: Figures
    stopped: Figures
    newly_stopped: Figures
    errors: int = 0
    """Events on which the draft's rule could not be evaluated."""
    new_errors: int = 0
    samples: tuple[Sample, ...] = ()


class Result(Struct, frozen=True, kw_only=True):
    """The whole comparison; ``events`` were looked at. Only rules that fired on either side are listed."""

    events: int
    pcs: int
    first_us: int
    last_us: int
    newly: Figures
    no_longer: Figures
    stopped: Figures
    newly_stopped: Figures
    rules: tuple[RuleResult, ...]


Key = tuple[str, int, str]
"""PC, sequence number, rule."""


class Side:
    """One release, judging; correlations are part of it, so batches must come in the order of their receipt."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.compiled: CompiledBundle = policy.compiled
        self._correlations = {one.id: one for one in self.compiled.bundle.correlations}
        self._views: dict[str, PolicyView] = {}

    def flags(self, batch: Batch, events: list[AnyEvent | None]) -> dict[Key, Flag]:
        """What our own rules flag, by key; what the PC said of itself is left out."""
        times = [event.time_us for event in events if event is not None]
        found = self._policy.evaluate(batch, events, min(times), max(times))
        return {(flag.agent_id, flag.seq or 0, flag.rule_id): flag for flag in found if flag.found_by != "pc"}

    def rule(self, rule_id: str) -> Rule | Correlation | None:
        """A rule or correlation of this release."""
        return self.compiled.matcher.rules.get(rule_id) or self._correlations.get(rule_id)

    def stops(self, batch: Batch, flag: Flag) -> bool:
        """Whether a PC under this release stops the event, as ``agent.judge`` decides it."""
        rule = self.compiled.matcher.rules.get(flag.rule_id)
        if rule is None or rule.effect != "block" or rule.control is None or isinstance(flag.event, dict):
            return False
        view = self._views.get(batch.agent_id)
        if view is None:
            view = self._views[batch.agent_id] = PolicyView.of(self.compiled, batch.agent_id)
        if view.setting(rule.control).mode != "enforce":
            return False
        return view.enrich(flag.event, min(flag.event.time_us, batch.received_us)).permit != "granted"


class _Tally:
    """Counts of one rule on one side. PCs are bits, persons are hashes."""

    __slots__ = ("events", "first", "last", "pcs", "persons")

    def __init__(self) -> None:
        self.events, self.first, self.last = 0, 0, 0
        self.pcs, self.persons = bytearray(), set[int]()

    def add(self, flag: Flag, number: int) -> None:
        self.events += 1
        self.first = min(self.first or flag.event_us, flag.event_us)
        self.last = max(self.last, flag.event_us)
        place, bit = divmod(number, 8)
        if place >= len(self.pcs):
            self.pcs.extend(bytes(place + 1 - len(self.pcs)))
        self.pcs[place] |= 1 << bit
        if flag.person and len(self.persons) < MOST_PERSONS:
            self.persons.add(hash(flag.person))

    def figures(self) -> Figures:
        return Figures(
            events=self.events,
            pcs=int.from_bytes(self.pcs, "little").bit_count(),
            persons=len(self.persons),
            first_us=self.first,
            last_us=self.last,
        )


class _RuleTally:
    def __init__(self) -> None:
        self.of = {
            name: _Tally() for name in ("draft", "in_force", "newly", "no_longer", "stopped", "newly_stopped")
        }
        self.errors = self.new_errors = 0
        self.samples: list[Sample] = []

    def sample(self, flag: Flag, *, newly: bool, stopped: bool) -> None:
        """Keep the first few; one that is newly flagged drives out one that is not."""
        if len(self.samples) >= MOST_SAMPLES:
            old = next((index for index, one in enumerate(self.samples) if not one.newly), None)
            if not newly or old is None:
                return
            del self.samples[old]
        self.samples.append(
            Sample(
                agent_id=flag.agent_id,
                seq=flag.seq or 0,
                time_us=flag.event_us,
                kind=flag.kind,
                what=telling(flag.event),
                newly=newly,
                stopped=stopped,
            )
        )


class Backtest:
    """The comparison under way: :meth:`take` batch by batch, then :meth:`result`."""

    def __init__(self, draft: Side, in_force: Side) -> None:
        self._draft, self._in_force = draft, in_force
        self._numbers: dict[str, int] = {}
        self._pcs: set[int] = set()
        self._rules: dict[str, _RuleTally] = {}
        self._sum = {name: _Tally() for name in ("newly", "no_longer", "stopped", "newly_stopped")}
        self._events, self._first, self._last = 0, 0, 0

    def take(self, batch: Batch, decoded: Decoded) -> None:
        """Judge a batch by both releases. Does not raise, whatever the batch holds."""
        times = [event.time_us for event in decoded.events if event is not None]
        if not times:
            return
        self._events += len(times)
        self._first = min(self._first or times[0], *times)
        self._last = max(self._last, *times)
        self._pcs.add(self._number(batch.agent_id))
        new, old = self._draft.flags(batch, decoded.events), self._in_force.flags(batch, decoded.events)
        for key, flag in new.items():
            self._flagged(batch, flag, before=old.get(key))
        for key, flag in old.items():
            if not flag.rule_id.startswith(RULE_ERROR):
                self._tally(flag).of["in_force"].add(flag, self._number(flag.agent_id))
                if key not in new:
                    self._count(flag, "no_longer")

    def _number(self, agent_id: str) -> int:
        return self._numbers.setdefault(agent_id, len(self._numbers))

    def _flagged(self, batch: Batch, flag: Flag, before: Flag | None) -> None:
        tally = self._tally(flag)
        if flag.rule_id.startswith(RULE_ERROR):
            tally.errors += 1
            tally.new_errors += before is None
            return
        tally.of["draft"].add(flag, self._number(flag.agent_id))
        stopped = self._draft.stops(batch, flag)
        if before is None:
            self._count(flag, "newly")
        if stopped:
            self._count(flag, "stopped")
            if before is None or not self._in_force.stops(batch, before):
                self._count(flag, "newly_stopped")
        tally.sample(flag, newly=before is None, stopped=stopped)

    def _tally(self, flag: Flag) -> _RuleTally:
        return self._rules.setdefault(flag.rule_id.removeprefix(RULE_ERROR), _RuleTally())

    def _count(self, flag: Flag, what: str) -> None:
        number = self._number(flag.agent_id)
        self._tally(flag).of[what].add(flag, number)
        self._sum[what].add(flag, number)

    def result(self) -> Result:
        """What was found so far; rules with the most that is new come first."""
        rules = [self._result_of(rule_id, tally) for rule_id, tally in self._rules.items()]
        rules.sort(key=lambda one: (-one.newly.pcs, -one.no_longer.pcs, -one.draft.events, one.id))
        sums = {name: tally.figures() for name, tally in self._sum.items()}
        return Result(
            events=self._events,
            pcs=len(self._pcs),
            first_us=self._first,
            last_us=self._last,
            rules=tuple(rules),
            **sums,
        )

    def _result_of(self, rule_id: str, tally: _RuleTally) -> RuleResult:
        rule = self._draft.rule(rule_id) or self._in_force.rule(rule_id)
        return RuleResult(
            id=rule_id,
            title_ja=rule.title_ja if rule else rule_id,
            title_en=rule.title_en if rule else rule_id,
            level=rule.level if rule else "",
            effect=rule.effect if isinstance(rule, Rule) else "flag",
            control=(rule.control or "") if isinstance(rule, Rule) else "",
            articles=tuple(f"{one.ordinance} {one.article}" for one in (rule.citations if rule else ())),
            errors=tally.errors,
            new_errors=tally.new_errors,
            samples=tuple(tally.samples),
            **{name: one.figures() for name, one in tally.of.items()},
        )


def telling(event: AnyEvent | dict[str, object]) -> str:
    """What an event is about in a few words, without what names a person."""
    if isinstance(event, dict):
        return ""
    known = [
        str(mask_path(value))
        for name in _TELLING
        if name not in PERSONAL and (value := getattr(event, name, "")) not in ("", 0)
    ]
    return " ".join(known)[:200] or kind_of(event)


def compare(
    draft: Side,
    in_force: Side,
    batches: Iterable[tuple[Batch, Decoded]],
    went_on: Callable[[int], bool] = lambda _: True,
) -> Result:
    """Run a whole back-test. ``went_on`` is told how many events each batch held; False ends it early."""
    test = Backtest(draft, in_force)
    for batch, decoded in batches:
        test.take(batch, decoded)
        if not went_on(batch.count):
            break
    return test.result()
