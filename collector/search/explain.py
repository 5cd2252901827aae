"""Why an event was flagged, or was not: every rule that fires on it, with the comparisons that made it fire."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import cast

from msgspec import Struct

from collector.desk.bundles import read_bundle
from policies.enrich import CompiledBundle
from policies.model import Citation, Enrichment, Rule
from policies.predicate import PredicateError
from policies.trace import Reason, reasons
from protocol.events import Event, kind_of


class RuleReasons(Struct, frozen=True, kw_only=True):
    """One rule on one event. ``found_by``: both | collector | pc | none; ``error``: why it could not be evaluated.

    ``silent``: it makes no alert, correlations count it.
    """

    id: str
    version: str = ""
    title_ja: str = ""
    title_en: str = ""
    level: str = ""
    effect: str = ""
    silent: bool = False
    fires: bool
    found_by: str
    citations: tuple[Citation, ...] = ()
    reasons: tuple[Reason, ...] = ()
    error: str = ""


@lru_cache(maxsize=2)
def compiled_release(body: bytes, digest: str) -> CompiledBundle:
    """A stored release, compiled. Raises RefusedError ``malformed_body``."""
    return CompiledBundle(read_bundle(body), digest)


def explain(
    compiled: CompiledBundle, agent_id: str, event: Event, received_us: int, only: str = ""
) -> tuple[Enrichment, tuple[RuleReasons, ...]]:
    """What is known about an event, and every rule that fires on it here or fired on the PC.

    ``only``: this rule alone, whether or not it fires. Raises KeyError when there is no such rule.
    """
    now_us = min(event.time_us, received_us)
    enrichment, _ = compiled.known(event, compiled.place(agent_id), now_us)
    rules = compiled.matcher.rules
    chosen = (rules[only],) if only else _firing(compiled, event, enrichment)
    found = [_explained(rule, event, enrichment) for rule in chosen]
    if not only:
        known = {one.id for one in found}
        found += [_on_pc(rules.get(name), name) for name in dict.fromkeys(event.rules) if name not in known]
    return enrichment, tuple(found)


def _firing(compiled: CompiledBundle, event: Event, enrichment: Enrichment) -> Iterator[Rule]:
    for hit in compiled.matcher.match(event, enrichment):
        yield hit.rule


def _explained(rule: Rule, event: Event, enrichment: Enrichment) -> RuleReasons:
    fires, why, error = False, cast("tuple[Reason, ...]", ()), ""
    if rule.family == kind_of(event).partition(".")[0]:
        try:
            fires, why = reasons(rule.predicate, event, enrichment)
        except (PredicateError, RecursionError, ImportError) as problem:
            error = f"{type(problem).__name__}: {problem}"
    else:
        error = f"it is about {rule.family} events"
    on_pc = rule.id in event.rules
    return RuleReasons(
        id=rule.id,
        version=rule.version,
        title_ja=rule.title_ja,
        title_en=rule.title_en,
        level=rule.level,
        effect=rule.effect,
        silent=rule.silent,
        fires=fires,
        found_by=("both" if on_pc else "collector") if fires else "pc" if on_pc else "none",
        citations=rule.citations,
        reasons=why,
        error=error,
    )


def _on_pc(rule: Rule | None, name: str) -> RuleReasons:
    """A rule that only the PC saw fire: its policy was another, or it made it up."""
    if rule is None:
        return RuleReasons(id=name, fires=False, found_by="pc", error="not in this release")
    return RuleReasons(
        id=name,
        version=rule.version,
        title_ja=rule.title_ja,
        title_en=rule.title_en,
        level=rule.level,
        effect=rule.effect,
        fires=False,
        found_by="pc",
        citations=rule.citations,
    )
