"""The operators' audit log, and whether its chain holds."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter
from msgspec import Struct
from sqlalchemy import select

from collector.console.problems import ApiError
from collector.console.routes.common import LARGEST_INT, Call, QueryLimit, QueryText, console_of
from collector.console.views import AuditView, audit_line
from collector.registers import audit
from collector.registers.models_audit import AuditEntry

AfterId = Annotated[int | None, QueryParameter(ge=0, le=LARGEST_INT)]
EntryId = Annotated[int, QueryParameter(ge=0, le=LARGEST_INT)]


class Verified(Struct, frozen=True):
    """``ok``, or at which entry the chain breaks and how (missing | link | digest). ``head`` can be written down."""

    ok: bool
    entries: int
    head: str
    broken_at: int = 0
    what: str = ""


@get("/audit", sync_to_thread=True)
def list_audit(
    request: Call, after_id: AfterId = None, operator: QueryText = "", limit: QueryLimit = 100
) -> list[AuditView]:
    """Entries in order: the newest, or those after ``after_id``."""
    query = select(AuditEntry)
    if operator:
        query = query.where(AuditEntry.operator == operator)
    with console_of(request).store.read() as session:
        if after_id is None:
            rows = list(session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)))[::-1]
        else:
            rows = list(
                session.scalars(query.where(AuditEntry.id > after_id).order_by(AuditEntry.id).limit(limit))
            )
        return [audit_line(row) for row in rows]


@get("/audit/verify", sync_to_thread=True)
def verify_audit(request: Call, number: EntryId = 0, digest: QueryText = "") -> Verified:
    """Walk the chain. With ``number`` and ``digest`` of a head written down earlier, also see whether it was cut off."""
    try:
        expected = audit.Head(number, bytes.fromhex(digest)) if number else None
    except ValueError as error:
        raise ApiError(
            400, "bad_request", "digest is not hexadecimal", "as `sekisho audit --verify` showed it"
        ) from error
    with console_of(request).store.read() as session:
        broken = audit.verify(session, expected=expected)
        head = audit.head(session)
    if broken:
        return Verified(False, head.number, head.digest.hex(), broken.number, broken.what)
    return Verified(True, head.number, head.digest.hex())


HANDLERS = (list_audit, verify_audit)
