"""The policy desk: keeps the draft that is signed, and takes the signed release.

A draft is built from what is there now (shipped rules, site file, registers), or from an older release (``rollback``).
Its exact bytes are kept, signed on the operator's side, and come back; they are taken only while nothing has changed
underneath, and only when they were checked and tried on stored events.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.desk.bundles import read_bundle
from collector.desk.draft import Sources, build, content_digest
from collector.desk.rollback import rebuild
from collector.desk.trust import trust_in_force
from collector.registers import releases
from collector.registers.models import Release
from collector.registers.models_releases import Study
from policies.bundle import bundle_digest, open_bundle, seal_bundle
from policies.model import Bundle
from protocol.refusal import RefusedError
from protocol.signed import Signed

FRESH_US = 3_600_000_000
"""A draft older than this is dated anew when it is fetched, so that its term counts from the signing."""


def document_of(row: Release) -> Signed:
    """The signed document of a release row."""
    return msgspec.msgpack.decode(row.document, type=Signed)


def current_release(session: Session, ring: str = releases.ALL) -> Release | None:
    """The release in force for the PCs of ``ring``; without one, for all that are in none."""
    return releases.in_force(session, ring)


def current_bundle(session: Session, ring: str = releases.ALL) -> Bundle | None:
    """The bundle in force, None before the first release."""
    row = current_release(session, ring)
    return bundle_of(row) if row else None


def bundle_of(row: Release) -> Bundle:
    """The bundle of a release row."""
    return read_bundle(document_of(row).body)


def next_generation(session: Session) -> int:
    """The generation of the next release."""
    row = releases.newest(session)
    return row.generation + 1 if row else 1


def differs(bundle: Bundle, sources: Sources, now_us: int) -> bool:
    """Whether a release made now would say something else than ``bundle``."""
    return content_digest(bundle) != content_digest(build(sources, 0, now_us))


def make_bundle(
    session: Session, sources: Sources, generation: int, *, rollback_of: int, now_us: int
) -> Bundle:
    """The bundle that a release made now would be; ``rollback_of`` a generation to go back to, or 0.

    Raises RefusedError ``not_found`` (no such release) or ``bad_value``.
    """
    if not rollback_of:
        return build(sources, generation, now_us)
    old = session.get(Release, rollback_of)
    if old is None or old.status != "released":
        raise RefusedError("not_found", f"no release {rollback_of}", "sekisho policy list")
    return rebuild(bundle_of(old), sources, generation, now_us)


def make_draft(
    session: Session, sources: Sources, *, created_by: str, now_us: int, rollback_of: int = 0
) -> tuple[Release, Bundle]:
    """The draft to sign, as stored; made anew when its content is out of date. Must run in a write transaction."""
    generation = next_generation(session)
    fresh = make_bundle(session, sources, generation, rollback_of=rollback_of, now_us=now_us)
    row = session.scalar(select(Release).where(Release.status == "draft"))
    same = row is not None and (row.generation, row.rollback_of) == (generation, rollback_of)
    if row is not None and same and now_us - row.created_us < FRESH_US:
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
        rollback_of=rollback_of,
    )
    session.add(row)
    session.flush()
    return row, fresh


class Posting(Struct, frozen=True, kw_only=True):
    """How a signed draft is put in force: why, by whom, for which ring (empty = all), and why untested if it is."""

    reason: str
    posted_by: str
    ring: str = releases.ALL
    untested: str = ""


def take_release(
    session: Session, sources: Sources, document: Signed, posting: Posting, now_us: int
) -> Release:
    """Put a signed draft in force. Must run in a write transaction. Whatever is refused, the running policy stays.

    Raises RefusedError: those of ``open_bundle`` (unsigned, foreign, bad_signature, expired, older_generation,
    malformed_body), ``stale`` when it is not the present draft or a register changed since it was made, ``bad_value``
    for a ring without a PC, ``untested`` when exactly this content was not checked and tried on stored events.
    """
    root = trust_in_force(session)
    newest = releases.newest(session)
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
    again = make_bundle(session, sources, bundle.generation, rollback_of=row.rollback_of, now_us=now_us)
    if content_digest(bundle) != content_digest(again):
        raise RefusedError("stale", "a register or the site file changed after this draft was made", hint)
    _check_ring(session, posting.ring)
    row.study_id = _tested(session, bundle, untested=posting.untested)
    row.status, row.document, row.digest = "released", msgspec.msgpack.encode(document), digest
    row.reason, row.created_by, row.released_us = posting.reason, posting.posted_by, now_us
    row.ring, row.untested = posting.ring, "" if row.study_id else posting.untested
    session.flush()
    return row


def _check_ring(session: Session, ring: str) -> None:
    if releases.check_ring(ring) != releases.ALL and not releases.ring_sizes(session).get(ring):
        raise RefusedError(
            "bad_value", f"no PC is in ring {ring}", f"sekisho policy ring set {ring} --host …"
        )


def _tested(session: Session, bundle: Bundle, *, untested: str) -> int:
    """The newest back-test of exactly this content, 0 when there need not be one. Raises RefusedError ``untested``."""
    found = passed(session, bundle)
    if found is None and not untested.strip():
        raise RefusedError(
            "untested",
            "this draft was not checked and tried on stored events, or the check found something wrong",
            "sekisho policy release does both; --without-backtest REASON goes without",
        )
    return found.id if found else 0


def passed(session: Session, bundle: Bundle) -> Study | None:
    """The newest back-test of exactly this content, over all PCs, whose check found nothing wrong."""
    query = (
        select(Study)
        .where(Study.kind == "backtest", Study.state == "done", Study.content == content_digest(bundle).hex())
        .order_by(Study.id.desc())
    )
    return next((row for row in session.scalars(query) if row.report["sound"]), None)


def promote(session: Session, generation: int, now_us: int) -> Release:
    """Give a ring's release to all. Raises RefusedError as ``releases.promote``, and ``expired``."""
    row = releases.promote(session, generation, now_us)
    if bundle_of(row).expires_us <= now_us:
        raise RefusedError("expired", f"generation {generation} has ended", "release anew")
    return row


def summary(row: Release) -> dict[str, Any]:
    """A release as listings show it."""
    names = (
        "generation", "status", "digest", "reason", "created_us", "created_by", "released_us",
        "ring", "promoted_us", "rollback_of", "study_id", "untested",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}
