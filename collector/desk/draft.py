"""The policy desk: makes the draft that is signed, and takes the signed release.

A draft is built from what is there now (shipped rules, site file, registers). Its exact bytes are kept, signed on the
operator's side, and come back; they are taken only while nothing has changed underneath.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.desk.bundles import read_bundle
from collector.desk.site import Site
from collector.desk.trust import trust_in_force
from collector.registers.models import Release
from policies.bundle import bundle_digest, contradiction, open_bundle, seal_bundle
from policies.model import AGENT_PACKAGE, Assignment, Bundle, Permit, Rule, Setting, Subject, Zone
from policies.ordinance import Ordinance
from protocol.refusal import RefusedError
from protocol.signed import Signed

DAY_US = 86_400_000_000
FRESH_US = 3_600_000_000
"""A draft older than this is dated anew when it is fetched, so that its term counts from the signing."""
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Sources(Struct, frozen=True, kw_only=True):
    """All that a bundle is made of."""

    city: str
    site: Site
    rules: tuple[Rule, ...]
    ordinances: Mapping[str, Ordinance]
    in_use: tuple[str, ...]
    """Ids of the ordinances of this installation."""
    permits: tuple[Permit, ...]
    devices: tuple[Subject, ...]
    assignments: Mapping[str, Assignment]


def build(sources: Sources, generation: int, now_us: int) -> Bundle:
    """The bundle of these sources; pure. Raises RefusedError ``bad_value`` for a rule switched off that does not exist."""
    site = sources.site
    unknown = set(site.rules_off) - {rule.id for rule in sources.rules}
    if unknown:
        raise RefusedError(
            "bad_value", f"rules_off names unknown rules: {', '.join(sorted(unknown))}", "policy.yaml"
        )
    bundle = Bundle(
        city=sources.city,
        generation=generation,
        issued_us=now_us,
        expires_us=now_us + site.valid_days * DAY_US,
        ordinances=sources.in_use,
        rules=tuple(_rules(sources)),
        permits=tuple(sorted(sources.permits, key=lambda permit: permit.id)),
        zones=tuple(
            Zone(
                name=zone.name,
                title_ja=zone.title.ja,
                title_en=zone.title.en,
                networks=zone.networks,
                allow=site.destinations(zone),
            )
            for zone in site.zones
        ),
        settings=_settings(site),
        software=(AGENT_PACKAGE, *site.allowed_software()),
        devices=sources.devices,
        not_permittable=site.not_permittable,
        media_read_only=site.media_read_only,
        assignments=dict(sorted(sources.assignments.items())),
        unassigned=Assignment(site.unassigned_zone),
    )
    if wrong := contradiction(bundle):
        raise RefusedError(
            "bad_value", f"the policy contradicts itself: {wrong}", "policy.yaml, and the registers"
        )
    return bundle


def _rules(sources: Sources) -> Iterable[Rule]:
    """Rules that serve an ordinance in use, citing only such; a rule that cites none of any city always goes."""
    for rule in sources.rules:
        if rule.id in sources.site.rules_off:
            continue
        ours = tuple(citation for citation in rule.citations if citation.ordinance in sources.in_use)
        if ours or not rule.citations:
            yield msgspec.structs.replace(rule, citations=ours)


def _settings(site: Site) -> dict[str, dict[str, Setting]]:
    table: dict[str, dict[str, Setting]] = {}
    for setting in site.settings:
        table.setdefault(setting.control, {})[setting.zone] = Setting(setting.mode, setting.fail)
    return table


def content_digest(bundle: Bundle) -> bytes:
    """SHA-256 over everything that decides, leaving out generation and dates."""
    return hashlib.sha256(
        _encoder.encode(msgspec.structs.replace(bundle, generation=0, issued_us=0, expires_us=0))
    ).digest()


def document_of(row: Release) -> Signed:
    """The signed document of a release row."""
    return msgspec.msgpack.decode(row.document, type=Signed)


def current_release(session: Session) -> Release | None:
    """The release in force: the newest one."""
    query = select(Release).where(Release.status == "released").order_by(Release.generation.desc()).limit(1)
    return session.scalar(query)


def current_bundle(session: Session) -> Bundle | None:
    """The bundle in force, None before the first release."""
    row = current_release(session)
    return bundle_of(row) if row else None


def bundle_of(row: Release) -> Bundle:
    """The bundle of a release row."""
    return read_bundle(document_of(row).body)


def next_generation(session: Session) -> int:
    """The generation of the next release."""
    row = current_release(session)
    return row.generation + 1 if row else 1


def differs(bundle: Bundle, sources: Sources, now_us: int) -> bool:
    """Whether a release made now would say something else than ``bundle``."""
    return content_digest(bundle) != content_digest(build(sources, 0, now_us))


def make_draft(session: Session, sources: Sources, *, created_by: str, now_us: int) -> tuple[Release, Bundle]:
    """The draft to sign, as stored; made anew when its content is out of date. Must run in a write transaction."""
    generation = next_generation(session)
    fresh = build(sources, generation, now_us)
    row = session.scalar(select(Release).where(Release.status == "draft"))
    if row is not None and row.generation == generation and now_us - row.created_us < FRESH_US:
        stored = bundle_of(row)
        if content_digest(stored) == content_digest(fresh):
            return row, stored
    if row is not None:
        session.delete(row)
        session.flush()
    document = seal_bundle(fresh, [])
    row = Release(
        generation=generation,
        status="draft",
        document=msgspec.msgpack.encode(document),
        digest=bundle_digest(document),
        reason="",
        created_us=now_us,
        created_by=created_by,
        released_us=0,
    )
    session.add(row)
    session.flush()
    return row, fresh


def take_release(
    session: Session, sources: Sources, document: Signed, *, reason: str, posted_by: str, now_us: int
) -> Release:
    """Put a signed draft in force. Must run in a write transaction.

    Raises RefusedError: those of ``open_bundle`` (unsigned, foreign, bad_signature, expired, older_generation,
    malformed_body), and ``stale`` when it is not the present draft or a register changed since it was made.
    """
    root = trust_in_force(session)
    newest = current_release(session)
    bundle, digest = open_bundle(
        document,
        root.policy_keys,
        city=root.city,
        newer_than=newest.generation if newest else 0,
        now_us=now_us,
    )
    row = session.scalar(select(Release).where(Release.status == "draft"))
    hint = "sekisho policy diff, then sign the new draft"
    if row is None or row.generation != bundle.generation or document_of(row).body != document.body:
        raise RefusedError(
            "stale", f"generation {bundle.generation} as signed is not the present draft", hint
        )
    if content_digest(bundle) != content_digest(build(sources, bundle.generation, now_us)):
        raise RefusedError("stale", "a register or the site file changed after this draft was made", hint)
    row.status, row.document, row.digest = "released", msgspec.msgpack.encode(document), digest
    row.reason, row.created_by, row.released_us = reason, posted_by, now_us
    session.flush()
    return row


def summary(row: Release) -> dict[str, Any]:
    """A release as listings show it."""
    return {
        "generation": row.generation,
        "status": row.status,
        "digest": row.digest,
        "reason": row.reason,
        "created_us": row.created_us,
        "created_by": row.created_by,
        "released_us": row.released_us,
    }
