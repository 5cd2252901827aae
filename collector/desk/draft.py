"""What a policy release is made of, and the bundle made of it: pure. Keeping, signing and rings: ``release``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from collector.desk.permit_bundle import merged
from collector.desk.site import Site
from policies.bundle import contradiction
from policies.model import (
    AGENT_PACKAGE,
    Account,
    Assignment,
    Bundle,
    Citation,
    Correlation,
    Destination,
    Permit,
    Rule,
    SoftwareAllow,
    Subject,
)
from policies.ordinance import Ordinance, cite
from policies.ordinance_override import rule_as_set
from protocol.refusal import RefusedError

DAY_US = 86_400_000_000
R = TypeVar("R", Rule, Correlation)
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Sources(Struct, frozen=True, kw_only=True):
    """All that a bundle is made of."""

    city: str
    site: Site
    rules: tuple[Rule, ...]
    ordinances: Mapping[str, Ordinance]
    in_use: tuple[str, ...]
    """Ids of the ordinances of this installation."""
    correlations: tuple[Correlation, ...] = ()
    permits: tuple[Permit, ...]
    devices: tuple[Subject, ...]
    assignments: Mapping[str, Assignment]
    contractors: tuple[Account, ...] = ()
    """Accounts of contractors by the permit register; it goes before the site file."""
    software: tuple[SoftwareAllow, ...] = ()
    """Allowed beside what the site file allows (``collector.registers.allowances``)."""
    destinations: Mapping[str, tuple[Destination, ...]] = {}
    """Zone → destinations of its PCs, beside those of the site file."""
    lapsed_software: tuple[SoftwareAllow, ...] = ()
    """Was allowed so, and no longer is."""
    lapsed_destinations: Mapping[str, tuple[Destination, ...]] = {}


def build(sources: Sources, generation: int, now_us: int) -> Bundle:
    """The bundle of these sources; pure.

    Raises RefusedError ``bad_value`` for a rule switched off or an ordinance in use that does not exist, and for what
    contradicts itself.
    """
    site = sources.site
    _check_names(sources)
    rules = tuple(_serving(sources, sources.rules))
    bundle = Bundle(
        city=sources.city,
        generation=generation,
        issued_us=now_us,
        expires_us=now_us + site.valid_days * DAY_US,
        ordinances=sources.in_use,
        rules=rules,
        correlations=_standing(rules, tuple(_serving(sources, sources.correlations))),
        permits=tuple(sorted(sources.permits, key=lambda permit: permit.id)),
        zones=tuple(
            msgspec.structs.replace(zone, allow=(*zone.allow, *sources.destinations.get(zone.name, ())))
            for zone in site.policy_zones()
        ),
        settings=site.policy_settings(),
        software=tuple(dict.fromkeys((AGENT_PACKAGE, *site.allowed_software(), *sources.software))),
        devices=sources.devices,
        not_permittable=site.not_permittable,
        media_read_only=site.media_read_only,
        assignments=dict(sorted(sources.assignments.items())),
        unassigned=Assignment(site.unassigned_zone),
        places=site.confidential_places(),
        labels=site.policy_labels(),
        accounts=merged(site.policy_accounts(), sources.contractors),
        lists=site.lists,
    )
    if wrong := contradiction(bundle):
        raise RefusedError(
            "bad_value", f"the policy contradicts itself: {wrong}", "policy.yaml, and the registers"
        )
    return bundle


def _check_names(sources: Sources) -> None:
    """Rules that are switched off and ordinances in use exist. Raises RefusedError ``bad_value``."""
    unknown = (
        set(sources.site.rules_off)
        - {one.id for one in sources.rules}
        - {one.id for one in sources.correlations}
    )
    if unknown:
        raise RefusedError(
            "bad_value", f"rules_off names unknown rules: {', '.join(sorted(unknown))}", "policy.yaml"
        )
    if lost := set(sources.in_use) - set(sources.ordinances):
        raise RefusedError(
            "bad_value",
            f"in use, but not there: ordinance {', '.join(sorted(lost))}",
            "put its file back, or sekisho-collector ordinances use",
        )


def _serving(sources: Sources, rules: Iterable[R]) -> Iterable[R]:
    """Rules that serve an ordinance in use, citing only such; a rule that cites none of any city always goes.

    What the site sets otherwise than an article (``policies.ordinance_override``) holds for the rules that cite it.
    """
    overrides = {(one.ordinance, one.article): one for one in sources.site.overrides()}
    for rule in rules:
        if rule.id in sources.site.rules_off:
            continue
        ours = tuple(_cited(sources, rule.citations))
        if ours or not rule.citations:
            yield rule_as_set(msgspec.structs.replace(rule, citations=ours), overrides, sources.ordinances)


def _standing(rules: Iterable[Rule], found: tuple[Correlation, ...]) -> tuple[Correlation, ...]:
    """Correlations all of whose rules are there; one about a rule that is switched off goes with it."""
    while True:
        there = {rule.id for rule in rules} | {one.id for one in found}
        kept = tuple(one for one in found if there.issuperset(one.rules))
        if len(kept) == len(found):
            return kept
        found = kept


def _cited(sources: Sources, citations: Iterable[Citation]) -> Iterable[Citation]:
    """Citations of ordinances in use, of the edition in use; an article which that edition lacks is served no more."""
    for citation in citations:
        ordinance = sources.ordinances.get(citation.ordinance)
        if ordinance is not None and citation.ordinance in sources.in_use:
            article = ordinance.article(citation.article)
            if article is not None:
                yield cite(ordinance, article)


def content_digest(bundle: Bundle) -> bytes:
    """SHA-256 over everything that decides, leaving out generation and dates."""
    return hashlib.sha256(
        _encoder.encode(msgspec.structs.replace(bundle, generation=0, issued_us=0, expires_us=0))
    ).digest()
