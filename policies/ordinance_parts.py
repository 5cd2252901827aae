"""The parts of an ordinance besides its articles: offices, retention, holds, zones and models. Structures only."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import Meta, Struct

from policies.model import Control

Role = Literal[
    "mayor", "ciso", "cio", "deputy", "chief_manager", "security_manager", "bureau_head", "bureau_manager",
    "network_manager", "system_manager", "section_head", "security_staff", "dx_promoter", "agency", "committee",
    "council", "csirt", "auditor", "adviser", "prefecture",
]  # fmt: skip
"""Offices as ordinances name them; ``agency`` is 実施機関, for whom the offices in ``Ordinance.acting`` act.
``Ordinance.offices`` says what a city itself calls them."""

Function = Literal[
    "roles", "audit_log", "permits", "registers", "contractors", "evidence_journal", "releases", "orders",
    "self_inspection", "inspections",
    "reviews", "indicators", "search_with_reason", "retention", "legal_hold", "disposal", "sealed_segments", "incidents",
    "line_cuts", "restrictions", "emergency_plans", "passkeys", "transfer_log", "lines_register", "notices", "backups",
    "detection",
]  # fmt: skip
"""What a collector can do for an article that no PC serves; which of them exist says ``collector.coverage``."""

Line = Annotated[str, Meta(min_length=1, max_length=400)]
Id = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,40}$")]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
"""``2026-04-01``."""
_APRIL = 4
Years = Annotated[int, Meta(ge=1, le=30)]
Admission = Literal["allowed", "permit", "forbidden"]
ADMISSIONS: tuple[Admission, ...] = ("allowed", "permit", "forbidden")
"""From the loosest to the tightest."""


class Office(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the city calls an office, whom it reports to, and whom it instructs."""

    ja: Line
    en: Line
    reports_to: tuple[Role, ...] = ()
    instructs: tuple[Role, ...] = ()


class RetentionClass(Struct, frozen=True, forbid_unknown_fields=True):
    """Records of one kind and how long they are kept."""

    years: Years
    ja: Line
    en: Line


class Retention(Struct, frozen=True, forbid_unknown_fields=True):
    """How periods are counted, and the classes to choose from.

    ``event``: from the day of the event. ``next_april``: from 1 April of the fiscal year after the one in which the
    matter closed (a fiscal year begins on 1 April).
    """

    counting: Literal["event", "next_april"] = "event"
    classes: tuple[RetentionClass, ...] = ()

    def kept_until(self, closed: date, years: int) -> date:
        """The first day on which a record that closed on ``closed`` is kept no longer."""
        if self.counting == "next_april":
            return date(closed.year + years + (closed.month >= _APRIL), _APRIL, 1)
        try:
            return closed.replace(year=closed.year + years)
        except ValueError:  # 29 February
            return date(closed.year + years, 3, 1)


class HoldGround(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What keeps records beyond their period.

    ``ends``: when the matter is closed; a year after the day that follows the decision; or on a date somebody sets.
    """

    ground: Id
    article: Line
    ja: Line
    en: Line
    ends: Literal["closed", "year_after_decision", "date"]


class ZoneTitle(Struct, frozen=True, forbid_unknown_fields=True):
    """The name of a network zone."""

    name: Line
    title_ja: Line
    title_en: Line


class NetworkModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """One way to lay a city's work over the zones (α, α′, β, β′), known ``since`` that day."""

    id: Id
    ja: Line
    en: Line
    since: Day
    office_zone: Line
    """Where office PCs stand."""


class Requirement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """What a model (all of them if none is named) asks of zones from ``since``, and before ``until`` if that is set."""

    id: Id
    ja: Line
    en: Line
    since: Day
    until: Day | Literal[""] = ""
    models: tuple[Id, ...] = ()
    zones: Annotated[tuple[Line, ...], Meta(min_length=1)]
    controls: tuple[Control, ...] = ()
    """Controls that must not be off there."""
    wireless: Admission | None = None
    """The loosest admission of wireless links there."""
    joint: Admission | None = None
    media_read_only: bool = False

    def holds(self, model: str, day: str) -> bool:
        """Whether it is in force for ``model`` on ``day``."""
        asked = not self.models or model in self.models
        return asked and self.since <= day and (not self.until or day < self.until)
