"""Tables of the control database: studies of stored events, proposals for the registers, and changes in bulk."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from collector.registers.models import Base


class Study(Base):
    """A long look at stored events. ``kind``: backtest | seed; ``state``: waiting | running | done | cancelled | failed."""

    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), index=True)
    plan: Mapped[dict[str, Any]] = mapped_column(JSON)
    """``collector.desk.study.Plan`` as a map."""
    content: Mapped[str] = mapped_column(String(64), default="", index=True)
    """Of a back-test: digest (hex) of the content of the draft."""
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    """Events looked at so far, and to be looked at."""
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str] = mapped_column(Text, default="")
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(64))
    finished_us: Mapped[int] = mapped_column(default=0)


class Proposal(Base):
    """Something that was seen and is in no register. ``state``: proposed | approved | rejected."""

    __tablename__ = "proposals"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Made of kind and subject: the same thing always has the same id."""
    kind: Mapped[str] = mapped_column(String(16), index=True)
    subject: Mapped[dict[str, Any]] = mapped_column(JSON)
    label: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16), index=True)
    pcs: Mapped[int]
    sections: Mapped[list[str]] = mapped_column(JSON)
    section: Mapped[str] = mapped_column(String(256), default="")
    """The section whose PCs saw it most."""
    zone: Mapped[str] = mapped_column(String(64), default="")
    """Of a destination: zone whose PCs connected to it."""
    times: Mapped[int]
    first_us: Mapped[int]
    last_us: Mapped[int]
    decided_by: Mapped[str] = mapped_column(String(64), default="")
    decided_us: Mapped[int] = mapped_column(default=0)
    batch_id: Mapped[str] = mapped_column(String(32), default="")


class Allowance(Base):
    """Software that may run, or a destination of a zone, beside what the site file allows. ``kind``: software | destination."""

    __tablename__ = "allowances"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    subject: Mapped[dict[str, Any]] = mapped_column(JSON)
    zone: Mapped[str] = mapped_column(String(64), default="")
    """Zone of the PCs that may connect; empty for software, which holds everywhere."""
    note: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=True)
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(64))


class ChangeBatch(Base):
    """Changes of registers that are made, and unmade, together. ``state``: staged | applied | discarded | undone."""

    __tablename__ = "change_batches"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    origin: Mapped[str] = mapped_column(String(16))
    """import | seed."""
    name: Mapped[str] = mapped_column(String(256), default="")
    """File it came from."""
    state: Mapped[str] = mapped_column(String(16), index=True)
    rows: Mapped[int]
    unchanged: Mapped[int] = mapped_column(default=0)
    """Rows that say what the register says already."""
    bad: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Rows that were left out: ``collector.registers.imports.BadRow`` as maps."""
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(64))
    applied_us: Mapped[int] = mapped_column(default=0)
    applied_by: Mapped[str] = mapped_column(String(64), default="")
    closed_us: Mapped[int] = mapped_column(default=0)
    closed_by: Mapped[str] = mapped_column(String(64), default="")


class ChangeRow(Base):
    """One change of a batch: the whole entry before (None = there was none) and after."""

    __tablename__ = "change_rows"
    batch_id: Mapped[str] = mapped_column(ForeignKey("change_batches.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    """Line of the file, or position."""
    register: Mapped[str] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(String(64))
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    after: Mapped[dict[str, Any]] = mapped_column(JSON)
