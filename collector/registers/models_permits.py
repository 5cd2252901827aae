"""Tables of the control database: applications, the paper trail of permits, and the use of permits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from collector.registers.models import Base


class Application(Base):
    """Somebody wants a permit. ``state``: applied | examined | granted | refused | withdrawn (see ``procedure``)."""

    __tablename__ = "applications"
    __table_args__ = (UniqueConstraint("agent_id", "request"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    agent_id: Mapped[str] = mapped_column(String(64), default="")
    """PC it was made at; empty = by a form."""
    request: Mapped[str] = mapped_column(String(64))
    """Id the PC gave it; of a form its own id."""
    state: Mapped[str] = mapped_column(String(16), index=True)
    state_us: Mapped[int]
    applicant: Mapped[str] = mapped_column(String(256))
    """Login name as given; it may be in no register."""
    section: Mapped[str] = mapped_column(String(256), default="")
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[dict[str, Any]] = mapped_column(JSON)
    scope: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    purpose: Mapped[str] = mapped_column(Text)
    days: Mapped[int]
    basis: Mapped[str] = mapped_column(String(16), default="")
    contract: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    refused_by: Mapped[str] = mapped_column(String(256), default="")
    """Rule that had refused it on the PC."""
    renews: Mapped[str] = mapped_column(String(64), default="")
    """Permit that it is to follow."""
    permit_id: Mapped[str] = mapped_column(String(64), default="")
    """Permit that came of it."""
    applied_us: Mapped[int] = mapped_column(index=True)


class PermitStep(Base):
    """One step of an application or a permit: who, in which office, when, why. Rows are never changed or deleted."""

    __tablename__ = "permit_steps"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    application_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    permit_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    step: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    """State it led to."""
    time_us: Mapped[int]
    person: Mapped[str] = mapped_column(String(256), default="")
    """Login name of the person who decided."""
    office: Mapped[str] = mapped_column(String(64), default="")
    """Office the person did it in."""
    operator: Mapped[str] = mapped_column(String(64), default="")
    """Account that entered it; empty = it came from a PC."""
    reason: Mapped[str] = mapped_column(Text, default="")


class PermitUse(Base):
    """How often a permit was used on a PC by a person on a day (counted from 1970-01-01, Asia/Tokyo)."""

    __tablename__ = "permit_uses"
    __table_args__ = (Index("ix_permit_uses_last", "permit_id", "last_us"),)
    permit_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    agent_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    person: Mapped[str] = mapped_column(String(256), primary_key=True)
    """Login name; empty = the event names nobody; ``*`` = one of too many to list."""
    day: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    attempts: Mapped[int] = mapped_column(default=0)
    """Events that cite it although it did not cover them (it had ended)."""
    first_us: Mapped[int]
    last_us: Mapped[int]
