"""Tables of the control database: indicator lists, self-inspections, reviews."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from collector.registers.models import Base


class Inspection(Base):
    """One section's self-inspection of a fiscal year. ``state``: open | submitted | reviewed."""

    __tablename__ = "inspections"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    ordinance: Mapped[str] = mapped_column(String(64))
    edition: Mapped[str] = mapped_column(String(16))
    ground: Mapped[str] = mapped_column(String(64))
    """Article that asks for the inspection."""
    section: Mapped[str] = mapped_column(String(256), index=True)
    year: Mapped[int]
    """Fiscal year, named for the April it begins in."""
    state: Mapped[str] = mapped_column(String(16))
    facts_us: Mapped[int]
    """When the facts were taken."""
    opened_by: Mapped[str] = mapped_column(String(64))
    submitted_us: Mapped[int] = mapped_column(default=0)
    submitted_by: Mapped[str] = mapped_column(String(64), default="")
    reviewed_us: Mapped[int] = mapped_column(default=0)
    reviewed_by: Mapped[str] = mapped_column(String(64), default="")
    review: Mapped[str] = mapped_column(Text, default="")


class InspectionItem(Base):
    """One question with the facts it was prefilled from, its answer, and the correction it led to."""

    __tablename__ = "inspection_items"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    inspection_id: Mapped[str] = mapped_column(ForeignKey("inspections.id"), index=True)
    ordinance: Mapped[str] = mapped_column(String(64), default="")
    article: Mapped[str] = mapped_column(String(64), default="")
    """Empty for a question the section added."""
    question_ja: Mapped[str] = mapped_column(Text)
    question_en: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    proposal: Mapped[str] = mapped_column(String(8), default="")
    """What the facts say: yes | no; empty = a person has to look."""
    answer: Mapped[str] = mapped_column(String(8), default="")
    """yes | no | none (does not apply); empty = not answered."""
    remark: Mapped[str] = mapped_column(Text, default="")
    answered_us: Mapped[int] = mapped_column(default=0)
    answered_by: Mapped[str] = mapped_column(String(64), default="")
    correction: Mapped[str] = mapped_column(Text, default="")
    due_us: Mapped[int] = mapped_column(default=0)
    corrected_us: Mapped[int] = mapped_column(default=0)
    corrected_by: Mapped[str] = mapped_column(String(64), default="")


class ReviewRemark(Base):
    """What was said about an item of a year's management review; never changed, the newest counts."""

    __tablename__ = "review_remarks"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    year: Mapped[int] = mapped_column(index=True)
    item: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    approved: Mapped[bool] = mapped_column(default=False)
    by: Mapped[str] = mapped_column(String(64))
    time_us: Mapped[int]


class IndicatorList(Base):
    """A list of indicators somebody shared (Nerima 10): dated, withdrawn but never deleted."""

    __tablename__ = "indicator_lists"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    title: Mapped[str] = mapped_column(String(256))
    source: Mapped[str] = mapped_column(String(256))
    count: Mapped[int]
    from_us: Mapped[int]
    until_us: Mapped[int]
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(64))
    withdrawn_us: Mapped[int] = mapped_column(default=0)
    withdrawn_by: Mapped[str] = mapped_column(String(64), default="")
    matched_us: Mapped[int] = mapped_column(default=0)
    """When stored events were last searched for it."""
    matches: Mapped[int] = mapped_column(default=0)


class Indicator(Base):
    """One value of a list. ``kind``: hash | network | domain."""

    __tablename__ = "indicators"
    __table_args__ = (Index("ix_indicators_value", "kind", "value"),)
    list_id: Mapped[str] = mapped_column(ForeignKey("indicator_lists.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    value: Mapped[str] = mapped_column(String(256), primary_key=True)
