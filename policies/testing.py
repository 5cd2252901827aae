"""Runs the tests beside rules and asks that they exercise every branch.

Sequences of events, for correlations, are :mod:`policies.correlation_testing`'s affair.

``name.yml`` has ``name.tests.yml``: a list of ``{name, event: {kind, …}, enrichment: {…}, fires}``. Needed are a test that
fires, one that does not, and one that lacks a field the rule reads. Each value a rule compares with must match in some
test, and each comparison must fail in some test: a pattern that no sample uses is a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policies.compile import TESTS_SUFFIX, Library, RuleError, compile_library, rule_files
from policies.correlation_testing import TIME_US, Sequenced, Step, check_correlation, happenings
from policies.fields import event_fields
from policies.match import Matcher, evaluate
from policies.model import All, Compare, Enrichment, Node, Not, Rule
from policies.model import Any as AnyOf
from policies.ordinance import Ordinance, load_ordinances
from policies.readers import ENRICHED
from policies.shipped import shipped_directory
from policies.source import Place, Source, did_you_mean
from protocol.events import KINDS, AnyEvent, kind_of


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """One test as it is written: one event, or for a correlation ``events``.

    ``rule``: which rule of a file with several.
    """

    name: str
    fires: bool
    event: dict[str, Any] = {}
    enrichment: dict[str, Any] = {}
    events: tuple[Step, ...] = ()
    rule: str = ""


class Sample(Struct, frozen=True):
    """One test, typed."""

    name: str
    event: AnyEvent
    enrichment: Enrichment
    fires: bool
    given: frozenset[str]
    """Fields the test fills."""
    rule: str = ""


class Failure(Struct, frozen=True):
    """What is wrong: ``rule`` (or file), ``name`` of the failure, ``detail``."""

    rule: str
    name: str
    detail: str


class Report(Struct, frozen=True):
    """Outcome of checking a directory."""

    rules: int
    tests: int
    branches: int
    failures: tuple[Failure, ...]

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return not self.failures

    def __str__(self) -> str:
        """The report for a terminal."""
        lines = [f"{one.rule}: {one.name}: {one.detail}" for one in self.failures]
        outcome = "ok" if self.ok else f"{len(lines)} failed"
        return "\n".join(
            [*lines, f"{self.rules} rules, {self.tests} tests, {self.branches} branches: {outcome}"]
        )

    def json(self) -> str:
        """The report for a program."""
        return msgspec.json.encode({"ok": self.ok, **msgspec.structs.asdict(self)}).decode()


def check_rules(directory: Path, ordinances: Mapping[str, Ordinance] | None = None) -> Report:
    """Compile, lint and test every rule of a directory, against the shipped ordinances unless others are given.

    Whatever is wrong in a rule is a failure in the report; raises ``SourceError`` only for a broken ordinance.
    """
    if ordinances is None:
        ordinances = load_ordinances(shipped_directory("ordinances"))
    files = rule_files(directory)
    library = compile_library(files, ordinances, go_on=True)
    failures = [
        Failure(Path(one.file).name, one.why, str(RuleError(one.file, one.line, one.detail, one.hint)))
        for one in library.left_out
    ]
    tests = branches = 0
    for path in files:
        own = _of_file(library, path)
        if not own.rules and not own.correlations:
            continue
        try:
            samples = read_samples(path.with_name(path.stem + TESTS_SUFFIX))
        except RuleError as error:
            failures.append(Failure(path.name, "refused", str(error)))
            continue
        except FileNotFoundError:
            failures.append(Failure(path.name, "untested", f"{path.stem}{TESTS_SUFFIX} is missing"))
            continue
        failures.extend(_check_file(own, library, samples))
        tests += len(samples)
        branches += sum(len(leaf.values) + 1 for rule in own.rules for leaf in leaves(rule.predicate))
        branches += sum(len(one.rules) for one in own.correlations)
    failures.extend(
        Failure(path.name, "no_such_rule", "tests without a rule beside them")
        for path in sorted(directory.glob(f"*{TESTS_SUFFIX}"))
        if path.with_name(path.name.removesuffix(TESTS_SUFFIX) + ".yml") not in files
    )
    return Report(len(files), tests, branches, tuple(failures))


def _of_file(library: Library, path: Path) -> Library:
    """What one file holds."""
    file = str(path)
    return Library(
        tuple(rule for rule in library.rules if library.files[rule.id.lower()] == file),
        tuple(one for one in library.correlations if library.files[one.id.lower()] == file),
    )


def _check_file(own: Library, library: Library, samples: list[Sample | Sequenced]) -> Iterator[Failure]:
    single = [sample for sample in samples if isinstance(sample, Sample)]
    for rule in own.rules:
        yield from check_rule(rule, [sample for sample in single if sample.rule in {"", rule.id}])
    rules = {rule.id: rule for rule in library.rules}
    correlations = {one.id: one for one in library.correlations}
    sequences = [sample for sample in samples if isinstance(sample, Sequenced)]
    for one in own.correlations:
        for name, detail in check_correlation(one, sequences, rules, correlations):
            yield Failure(one.id, name, detail)
    if sequences and not own.correlations:
        yield Failure(own.rules[0].id, "refused", "events: is for correlations; write event:")
    if single and not own.rules:
        yield Failure(own.correlations[0].id, "refused", "a correlation needs events:")


def check_rule(rule: Rule, samples: list[Sample]) -> Iterator[Failure]:
    """Everything wrong between a rule and its tests."""
    matcher = Matcher([rule])
    for sample in samples:
        hits = matcher.match(sample.event, sample.enrichment)
        if hits and hits[0].error:
            yield Failure(rule.id, "rule_error", f"{sample.name}: {hits[0].error}")
        elif bool(hits) != sample.fires:
            yield Failure(rule.id, "fires" if hits else "does_not_fire", sample.name)
    if not any(sample.fires for sample in samples):
        yield Failure(rule.id, "no_firing_test", "no test fires")
    if all(sample.fires for sample in samples):
        yield Failure(rule.id, "no_near_miss", "no test that does not fire")
    read = {name for leaf in leaves(rule.predicate) for name in _names(leaf)} - {"kind"}
    if read and not any(read - sample.given for sample in samples):
        yield Failure(rule.id, "no_missing_field_test", f"every test fills {', '.join(sorted(read))}")
    own = [sample for sample in samples if kind_of(sample.event).partition(".")[0] == rule.family]
    for leaf in leaves(rule.predicate):
        yield from (Failure(rule.id, "branch_not_exercised", gap) for gap in _gaps(leaf, own))


def _gaps(leaf: Compare, samples: list[Sample]) -> Iterator[str]:
    shown = f"{leaf.field}|{leaf.op}"
    for value in leaf.values:
        one = replace(leaf, values=(value,))
        if not any(evaluate(one, sample.event, sample.enrichment) for sample in samples):
            yield f"{shown}: {value!r} matches in no test"
    if all(evaluate(leaf, sample.event, sample.enrichment) for sample in samples):
        yield f"{shown} {list(leaf.values)} fails in no test"


def leaves(node: Node) -> Iterator[Compare]:
    """Every comparison of a predicate."""
    if isinstance(node, Compare):
        yield node
    elif isinstance(node, Not):
        yield from leaves(node.part)
    elif isinstance(node, All | AnyOf):
        for part in node.parts:
            yield from leaves(part)


def _names(leaf: Compare) -> set[str]:
    return {leaf.field, *(str(value) for value in leaf.values if leaf.op == "fieldref")}


def read_samples(path: Path) -> list[Sample | Sequenced]:
    """Read a test file. Raises RuleError with file and line, and FileNotFoundError."""
    source = Source.read(path, RuleError)
    if not isinstance(source.data, list):
        raise source.fail(
            (), "tests are a list", "- {name: …, event: {kind: …}, enrichment: {…}, fires: true}"
        )
    return [_sample(source, index, raw) for index, raw in enumerate(source.data)]


def _sample(source: Source, index: int, raw: Any) -> Sample | Sequenced:
    case = source.convert(raw, Case, (index,))
    if not case.events:
        event, enrichment = _typed(source, (index,), case.event, case.enrichment)
        given = frozenset(case.event) | frozenset(case.enrichment)
        return Sample(case.name, event, enrichment, case.fires, given, case.rule)
    happened = [
        one
        for number, step in enumerate(case.events)
        for one in happenings(step, *_typed(source, (index, "events", number), step.event, step.enrichment))
    ]
    return Sequenced(case.name, tuple(sorted(happened, key=lambda one: one.event.time_us)), case.fires)


def _typed(
    source: Source, place: Place, event: dict[str, Any], enrichment: dict[str, Any]
) -> tuple[AnyEvent, Enrichment]:
    kind = event.get("kind")
    if kind not in KINDS:
        raise source.fail((*place, "event", "kind"), f"unknown kind {kind}", did_you_mean(str(kind), KINDS))
    for part, given, known in (
        ("event", event, {"kind", *event_fields(kind)}),
        ("enrichment", enrichment, ENRICHED),
    ):
        for name in given:
            if name not in known:
                raise source.fail((*place, part, name), f"unknown field {name}", did_you_mean(name, known))
    made: AnyEvent = source.convert({"time_us": TIME_US, **event}, AnyEvent, (*place, "event"))  # type: ignore[arg-type]
    return made, source.convert(enrichment, Enrichment, (*place, "enrichment"))
