"""A self-inspection as the API shows it and as sheets are made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from collector.registers.models_inspections import Inspection, InspectionItem


class ItemView(Struct, frozen=True, kw_only=True):
    """One question. Times are UTC µs, 0 = not yet."""

    id: int
    ordinance: str
    article: str
    question_ja: str
    question_en: str
    facts: dict[str, Any]
    proposal: str
    answer: str
    remark: str
    answered_us: int
    answered_by: str
    correction: str
    due_us: int
    corrected_us: int
    corrected_by: str
    overdue: bool


class SheetView(Struct, frozen=True, kw_only=True):
    """One inspection; ``items`` empty in listings. ``counts``: answers, and findings not yet corrected."""

    id: str
    ordinance: str
    edition: str
    ground: str
    section: str
    year: int
    state: str
    facts_us: int
    opened_by: str
    submitted_us: int
    submitted_by: str
    reviewed_us: int
    reviewed_by: str
    review: str
    counts: dict[str, int]
    items: tuple[ItemView, ...] = ()


def item_view(item: InspectionItem, now_us: int) -> ItemView:
    """One question as shown."""
    values = {name: getattr(item, name) for name in ItemView.__struct_fields__ if name != "overdue"}
    open_finding = item.answer == "no" and not item.corrected_us
    return ItemView(**values, overdue=open_finding and 0 < item.due_us < now_us)


def sheet_view(
    row: Inspection, items: Iterable[InspectionItem], now_us: int, *, whole: bool = True
) -> SheetView:
    """An inspection as shown; ``whole``: with its questions."""
    shown = tuple(item_view(item, now_us) for item in items)
    counts = Counter(item.answer or "open" for item in shown)
    counts["uncorrected"] = sum(item.answer == "no" and not item.corrected_us for item in shown)
    counts["overdue"] = sum(item.overdue for item in shown)
    values = {
        name: getattr(row, name) for name in SheetView.__struct_fields__ if name not in {"counts", "items"}
    }
    return SheetView(**values, counts=dict(counts), items=shown if whole else ())
