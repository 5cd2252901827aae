"""The answer of one check."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from sqlalchemy.orm import Session

from collector.config import Layout
from collector.desk.trust import trust_in_force
from collector.registers.store import open_store
from protocol.text import Text
from protocol.trust import TrustRoot

Status = Literal["ok", "warn", "fail"]
Answer = tuple[Status, str, Text]
"""How it stands, where exactly, what to do next."""
NOTHING = Text("", "")


def ok(detail: str = "") -> Answer:
    """All is well."""
    return "ok", detail, NOTHING


@contextlib.contextmanager
def reading(layout: Layout) -> Iterator[Session]:
    """The control database. Raises RefusedError ``version``."""
    store = open_store(layout.control)
    try:
        with store.read() as session:
            yield session
    finally:
        store.close()


def root_of(layout: Layout) -> TrustRoot:
    """The trust root in force. Raises RefusedError."""
    with reading(layout) as session:
        return trust_in_force(session)
