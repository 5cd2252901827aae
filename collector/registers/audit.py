"""The operators' audit log: append-only, each entry chained to the one before by SHA-256 (名古屋 第56条).

``digest`` = SHA-256(previous digest ‖ MessagePack of the entry's values in column order, map keys sorted). The chain
starts at 32 zero bytes. An entry that was changed, removed from the middle or put in shows as a break; to see that the
newest entries were cut off, compare :func:`head` with one that was written down elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models_audit import AuditEntry

START = bytes(32)
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Head(msgspec.Struct, frozen=True):
    """The newest entry: its number (0 = empty log) and digest."""

    number: int
    digest: bytes


class Break(msgspec.Struct, frozen=True):
    """Where the chain is broken: entry number and what is wrong (``missing`` | ``link`` | ``digest``)."""

    number: int
    what: str


def record(
    session: Session,
    *,
    time_us: int,
    operator: str,
    role: str,
    method: str,
    path: str,
    status: int,
    reason: str = "",
    detail: dict[str, Any] | None = None,
) -> AuditEntry:
    """Append one call. Must run in a write transaction: its lock is what keeps the chain single.

    ``detail`` holds only what JSON holds (text, whole numbers, lists, maps), and no secrets.
    """
    last = head(session)
    row = AuditEntry(
        id=last.number + 1,
        time_us=time_us,
        operator=operator,
        role=role,
        method=method,
        path=path,
        status=status,
        reason=reason,
        detail=detail or {},
        prev_digest=last.digest,
        digest=b"",
    )
    row.digest = entry_digest(row)
    session.add(row)
    session.flush()
    return row


def head(session: Session) -> Head:
    """The newest entry."""
    query = select(AuditEntry.id, AuditEntry.digest).order_by(AuditEntry.id.desc()).limit(1)
    row = session.execute(query).one_or_none()
    return Head(row.id, row.digest) if row else Head(0, START)


def verify(session: Session, *, expected: Head | None = None) -> Break | None:
    """Walk the chain and return the first break, or None.

    With ``expected``, an earlier :func:`head`, the log must still hold that entry (a truncated or rewritten log does
    not).
    """
    number, digest = 0, START
    seen = expected is None or expected.number == 0
    for row in session.scalars(select(AuditEntry).order_by(AuditEntry.id).execution_options(yield_per=1000)):
        number += 1
        if row.id != number:
            return Break(number, "missing")
        if row.prev_digest != digest:
            return Break(number, "link")
        digest = row.digest
        if entry_digest(row) != digest:
            return Break(number, "digest")
        if expected is not None and expected.number == number:
            seen = True
            if expected.digest != digest:
                return Break(number, "digest")
    return None if seen else Break(number + 1, "missing")


def entry_digest(row: AuditEntry) -> bytes:
    """Digest of an entry from its own values and ``prev_digest``."""
    values = [
        row.id,
        row.time_us,
        row.operator,
        row.role,
        row.method,
        row.path,
        row.status,
        row.reason,
        row.detail,
    ]
    return hashlib.sha256(row.prev_digest + _encoder.encode(values)).digest()
