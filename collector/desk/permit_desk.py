"""Permits at once: the releases in force, word for word, with the permits of the register, signed and put in force.

Nothing else changes: no pending edit of the site file, no new rule, no longer term. So such a release needs no back-test
and no ring of its own, a broken site file cannot hold a revocation up, and who signs sees that it is about permits only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.desk.bundles import read_bundle
from collector.desk.permit_bundle import only_permits_differ, only_takes_away, with_permits, without
from collector.desk.trust import trust_in_force
from collector.registers import releases
from collector.registers.models import PermitRow, Release
from collector.registers.permit_release import bundle_permits, contractor_accounts
from policies.bundle import open_bundle
from policies.model import Bundle
from policies.ordinance import Ordinance
from protocol.refusal import RefusedError
from protocol.signed import Signed

Extent = Literal["revoked", "all"]
"""Only take away what was revoked, or bring the PCs to the register as it is."""
FRESH_US = 3_600_000_000
"""A document is taken this long after it was made."""
UNTESTED = "changes permits only"
STALE_HINT = "sekisho permits release --key FILE"


class Due(Struct, frozen=True):
    """A release to sign. ``ring`` as of the release it follows; ``base`` is that one, as it was signed."""

    ring: str
    base: Signed
    bundle: Bundle


class PermitDesk:
    """Makes such releases out of what stands in the registers now."""

    def __init__(self, session: Session, ordinances: Mapping[str, Ordinance], now_us: int) -> None:
        self._session, self._ordinances, self._now_us = session, ordinances, now_us

    def due(self, extent: Extent) -> list[Due]:
        """Releases in the order they must be put in force; empty = PCs are meant to have just that.

        The one for all comes first, then those of rings that are ahead: a higher generation for all would otherwise
        take from a ring what it tries out.
        """
        newest = releases.newest(self._session)
        generation = newest.generation if newest else 0
        found: list[Due] = []
        for ring, number in sorted(releases.targets(self._session).items()):
            base = msgspec.msgpack.decode(self._session.get_one(Release, number).document, type=Signed)
            before = read_bundle(base.body)
            after = self._bundle(before, extent, generation + 1)
            if found or (before.permits, before.accounts) != (after.permits, after.accounts):
                generation += 1
                found.append(Due(ring, base, after))
        return found

    def take(
        self, documents: Sequence[Signed], extent: Extent, *, reason: str, posted_by: str
    ) -> list[Release]:
        """Put them in force, signed. Must run in a write transaction.

        Raises RefusedError: those of ``open_bundle`` (unsigned, foreign, bad_signature, expired, older_generation,
        malformed_body), and ``stale`` when they are not exactly what is due now.
        """
        due = self.due(extent)
        if len(documents) != len(due) or not due:
            raise RefusedError(
                "stale", f"{len(due)} releases are due, {len(documents)} were sent", STALE_HINT
            )
        for draft in self._session.scalars(select(Release).where(Release.status == "draft")):
            self._session.delete(draft)  # it has one of these generations, or one behind
        self._session.flush()
        rows = [self._row(wanted, document, extent) for wanted, document in zip(due, documents, strict=True)]
        for row in rows:
            row.reason, row.created_by = reason, posted_by
        self._session.add_all(rows)
        self._session.flush()
        return rows

    def _bundle(self, base: Bundle, extent: Extent, generation: int) -> Bundle:
        session, now_us = self._session, self._now_us
        if extent == "revoked":
            revoked = session.scalars(select(PermitRow.id).where(PermitRow.revoked_us > 0))
            return without(base, frozenset(revoked), generation, now_us)
        permits = bundle_permits(session, self._ordinances, now_us)
        return with_permits(base, permits, contractor_accounts(session, now_us), generation, now_us=now_us)

    def _row(self, due: Due, document: Signed, extent: Extent) -> Release:
        root, now_us = trust_in_force(self._session), self._now_us
        wanted, base = due.bundle, read_bundle(due.base.body)
        bundle, digest = open_bundle(
            document, root.policy_keys, city=root.city, newer_than=base.generation, now_us=now_us
        )
        fits = only_takes_away if extent == "revoked" else only_permits_differ
        exact = (bundle.generation, bundle.permits) == (wanted.generation, wanted.permits)
        exact = exact and (extent == "revoked" or bundle.accounts == wanted.accounts)
        if not (exact and fits(base, bundle) and now_us - FRESH_US <= bundle.issued_us <= now_us):
            raise RefusedError("stale", f"generation {bundle.generation} is not what is due now", STALE_HINT)
        return Release(
            generation=bundle.generation,
            status="released",
            document=msgspec.msgpack.encode(document),
            digest=digest,
            created_us=now_us,
            released_us=now_us,
            ring=due.ring,
            untested=UNTESTED,
        )
