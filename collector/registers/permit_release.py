"""What of the permit register goes into a policy release: permits, and the accounts of contractors."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import PermitRow, Person
from collector.registers.procedure import DAY_US
from policies.model import Account, Citation, Permit
from policies.ordinance import Ordinance, cite, find_article

REMEMBERED_US = 90 * DAY_US
"""An expired permit stays in releases this long, so that PCs say “expired” and not “none”."""
ACCOUNT_REMEMBERED_US = 730 * DAY_US
"""A contractor's account stays in releases this long after its end, so that its use is still seen."""


def to_policy(row: PermitRow, ordinances: Mapping[str, Ordinance]) -> Permit:
    """The permit as PCs see it, with the citation of the edition that is loaded."""
    article = find_article(ordinances, row.ordinance, row.article)
    citation = cite(ordinances[row.ordinance], article) if article else Citation(row.ordinance, row.article)
    return msgspec.convert(
        {
            "id": row.id,
            "kind": row.kind,
            "subject": row.subject,
            "scope": row.scope,
            "from_us": row.from_us,
            "until_us": row.until_us,
            "article": msgspec.to_builtins(citation),
            "read_only": row.read_only,
            "no_confidential": row.no_confidential,
            "conditions": row.conditions,
        },
        Permit,
    )


def bundle_permits(session: Session, ordinances: Mapping[str, Ordinance], now_us: int) -> tuple[Permit, ...]:
    """What a release carries: every permit that is not revoked, also pending ones and those that ended lately."""
    query = (
        select(PermitRow)
        .where(PermitRow.revoked_us == 0, PermitRow.until_us > now_us - REMEMBERED_US)
        .order_by(PermitRow.id)
    )
    return tuple(to_policy(row, ordinances) for row in session.scalars(query))


def contractor_accounts(session: Session, now_us: int) -> tuple[Account, ...]:
    """Accounts of contractors with the end of their contract, ended and revoked ones included, by login name.

    Where an account has had several permits, the one that ends last decides.
    """
    query = select(PermitRow).where(PermitRow.kind == "contractor").order_by(PermitRow.id)
    latest: dict[str, Account] = {}
    for row in session.scalars(query):
        ends = min(row.until_us, row.revoked_us) if row.revoked_us else row.until_us
        known = latest.get(row.subject["account"])
        if ends <= now_us - ACCOUNT_REMEMBERED_US or (known is not None and known.until_us >= ends):
            continue
        applicant = session.get(Person, row.applicant)
        latest[row.subject["account"]] = Account(
            user=row.subject["account"],
            kind="contractor",
            section=applicant.section if applicant else "",
            contract=row.contract.get("number", ""),
            until_us=ends,
        )
    return tuple(latest[user] for user in sorted(latest))
