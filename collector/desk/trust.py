"""The trust root in force, as the control database keeps it."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import TrustDocument
from protocol.refusal import UNREADABLE, RefusedError
from protocol.signed import Signed, read_body
from protocol.trust import TrustRoot


def trust_in_force(session: Session) -> TrustRoot:
    """The newest trust root.

    Whoever wrote it checked its signature against the root before it. Raises RefusedError ``not_found`` (not
    initialised) or ``corrupt``.
    """
    row = session.scalar(select(TrustDocument).order_by(TrustDocument.serial.desc()).limit(1))
    if row is None:
        raise RefusedError("not_found", "this collector has no trust root", "sekisho-collector init")
    try:
        return read_body(TrustRoot, msgspec.msgpack.decode(row.document, type=Signed))
    except (*UNREADABLE, RefusedError) as error:
        raise RefusedError(
            "corrupt", f"trust root {row.serial} cannot be read", "restore the control database"
        ) from error
