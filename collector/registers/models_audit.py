"""Table of the control database: what operators did."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from collector.registers.models import Base


class AuditEntry(Base):
    """One call of an operator, chained: ``digest`` = SHA-256 over ``prev_digest`` and the entry."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    time_us: Mapped[int] = mapped_column(index=True)
    operator: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(32))
    method: Mapped[str] = mapped_column(String(8))
    path: Mapped[str] = mapped_column(Text)
    status: Mapped[int]
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why a person was looked up or a change was made, where the call asks for it."""
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    prev_digest: Mapped[bytes]
    digest: Mapped[bytes]
