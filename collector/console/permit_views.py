"""What the API shows of permits and applications. Times are UTC µs."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from collector.registers import applications
from collector.registers.models import PermitRow
from collector.registers.models_permits import Application, PermitStep, PermitUse
from collector.registers.permit_use import Total
from collector.registers.permits import state_of
from collector.registers.procedure import OPEN


class PermitView(Struct, frozen=True, kw_only=True):
    """A permit. ``state``: pending (not begun) | granted | expired | renewed | revoked."""

    id: str
    kind: str
    state: str
    subject: dict[str, Any]
    scope: dict[str, Any]
    applicant: str
    approver: str
    approver_role: str
    ordinance: str
    article: str
    reason: str
    read_only: bool
    no_confidential: bool
    conditions: tuple[str, ...]
    basis: str
    contract: dict[str, str]
    from_us: int
    until_us: int
    granted_us: int
    granted_by: str
    revoked_us: int
    revoked_by: str
    revoke_reason: str
    renews: str
    renewed_by: str
    used: Total = Total()


def permit(row: PermitRow, now_us: int, *, renewed_by: str = "", used: Total | None = None) -> PermitView:
    """A permit as shown."""
    names = set(PermitView.__struct_fields__) - {"state", "conditions", "renewed_by", "used"}
    return PermitView(
        **{name: getattr(row, name) for name in names},
        state=state_of(row, now_us, renewed=bool(renewed_by)),
        conditions=tuple(row.conditions),
        renewed_by=renewed_by,
        used=used or Total(),
    )


class StepView(Struct, frozen=True, kw_only=True):
    """One step of the paper trail. ``operator`` empty: it came from a PC."""

    step: str
    state: str
    time_us: int
    person: str
    office: str
    operator: str
    reason: str
    application_id: str
    permit_id: str


def step(row: PermitStep) -> StepView:
    """A step as shown."""
    return StepView(**{name: getattr(row, name) for name in StepView.__struct_fields__})


class UseView(Struct, frozen=True, kw_only=True):
    """Use of a permit on one PC by one person on one day (counted from 1970-01-01, Asia/Tokyo)."""

    agent_id: str
    hostname: str
    person: str
    day: int
    count: int
    attempts: int
    first_us: int
    last_us: int


def use(row: PermitUse, hostname: str) -> UseView:
    """A line of the use log as shown."""
    names = set(UseView.__struct_fields__) - {"hostname"}
    return UseView(**{name: getattr(row, name) for name in names}, hostname=hostname)


class PermitFile(Struct, frozen=True):
    """A permit with everything about it."""

    permit: PermitView
    trail: list[StepView]
    uses: list[UseView]


class Decider(Struct, frozen=True):
    """Somebody who may decide, and in which offices."""

    person: str
    offices: tuple[str, ...]


class ApplicationView(Struct, frozen=True, kw_only=True):
    """An application. ``known``: the applicant is in the register of people; ``waits_us``: for how long it has waited.

    ``may_decide`` and ``waits_us`` are empty once it is decided.
    """

    id: str
    state: str
    state_us: int
    applicant: str
    known: bool
    section: str
    agent_id: str
    hostname: str
    kind: str
    subject: dict[str, Any]
    scope: dict[str, Any]
    purpose: str
    days: int
    basis: str
    contract: dict[str, str]
    refused_by: str
    renews: str
    permit_id: str
    applied_us: int
    waits_us: int
    may_decide: tuple[Decider, ...]


def application(
    row: Application, now_us: int, *, hostname: str, known: bool, deciders: dict[str, tuple[str, ...]]
) -> ApplicationView:
    """An application as shown."""
    state = applications.state_of(row, now_us)
    is_open = state in OPEN
    names = set(ApplicationView.__struct_fields__) - {"state", "known", "hostname", "waits_us", "may_decide"}
    return ApplicationView(
        **{name: getattr(row, name) for name in names},
        state=state,
        known=known,
        hostname=hostname,
        waits_us=max(0, now_us - row.applied_us) if is_open else 0,
        may_decide=tuple(Decider(*one) for one in deciders.items()) if is_open else (),
    )


class ApplicationFile(Struct, frozen=True):
    """An application with its paper trail, and the articles it can be granted under (``ordinance:article``)."""

    application: ApplicationView
    trail: list[StepView]
    grounds: list[str]
