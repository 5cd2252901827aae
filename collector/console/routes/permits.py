"""Permits: who may use what, by whose leave, under which article."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct
from sqlalchemy.orm import Session

from collector.console.gate import note
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.console.routes.common import (
    Call,
    Micros,
    PathText,
    QueryText,
    Reason,
    Text,
    caller_of,
    console_of,
    host_for,
    need_reason,
)
from collector.console.views import PermitView, permit
from collector.desk.site import load_site
from collector.registers import permits
from collector.registers.models import PermitRow, Person
from policies.model import PermitKind, Scope, Subject
from policies.permits import PermitRequest
from protocol.refusal import RefusedError

Id = Annotated[str, Meta(min_length=1, max_length=64)]


class NewPermit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application with its approval. ``scope.agents`` may hold host names or fingerprint prefixes.

    The approver's offices are those of the register of people, never of this call. Times are UTC µs, ``until_us``
    exclusive.
    """

    kind: PermitKind
    subject: Subject
    scope: Scope = Scope()
    applicant: Id
    approver: Id
    ordinance: Id
    article: Id
    reason: Reason
    from_us: Micros
    until_us: Micros
    read_only: bool = False
    device_class: Text = ""


class Revocation(Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is taken back."""

    reason: Reason


class Granted(Struct, frozen=True):
    """The permit, and that it reaches PCs with the next policy release only."""

    permit: PermitView
    release_due: bool = True


@get("/permits", sync_to_thread=True)
def list_permits(request: Call, only: QueryText = "") -> list[PermitView]:
    """Permits, newest first; ``only``: pending | granted | expired | revoked. Section heads see their section's."""
    caller, console = caller_of(request), console_of(request)
    with console.store.read() as session:
        rows = permits.list_permits(session)
        shown = [permit(row, console.clock()) for row in rows if _concerns(session, row, caller)]
    return [view for view in shown if only in {"", view.state}]


@post("/permits", sync_to_thread=True)
def grant(request: Call, data: JSONBody[NewPermit]) -> Granted:
    """Enter a granted permit. Refusals are those of ``policies.permits`` (self_approval, role_not_named …).

    A section head enters what the account's own person approves, for the own section.
    """
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=data.reason, applicant=data.applicant, approver=data.approver)
    with console.store.write() as session:
        scope = _resolved(session, data.scope, caller)
        _check_section_head(data, scope, caller)
        application = PermitRequest(
            kind=data.kind,
            subject=data.subject,
            scope=scope,
            from_us=data.from_us,
            until_us=data.until_us,
            applicant=data.applicant,
            approver=data.approver,
            approver_roles=(),  # the register of people says which offices the approver holds
            ordinance=data.ordinance,
            article=data.article,
            reason=data.reason,
            device_class=data.device_class,
        )
        row = permits.grant(
            session,
            application,
            console.ordinances,
            granted_by=caller.name,
            now_us=console.clock(),
            read_only=data.read_only,
            not_permittable=load_site(console.layout.policy).not_permittable,
        )
        note(request.scope, permit=row.id)
        return Granted(permit(row, console.clock()))


@post("/permits/{permit_id:str}/revoke", status_code=200, sync_to_thread=True)
def revoke(request: Call, permit_id: PathText, data: JSONBody[Revocation]) -> Granted:
    """Take a permit back. It is gone from PCs with the next release, which should follow at once."""
    caller, console = caller_of(request), console_of(request)
    reason = need_reason(data.reason, "revoking a permit")
    note(request.scope, reason=reason, permit=permit_id)
    with console.store.write() as session:
        row = session.get(PermitRow, permit_id)
        if row is None or not _concerns(session, row, caller):
            raise RefusedError("not_found", f"no permit {permit_id}", "sekisho permits list")
        row = permits.revoke(
            session, permit_id, reason=reason, revoked_by=caller.name, now_us=console.clock()
        )
        return Granted(permit(row, console.clock()))


def _resolved(session: Session, scope: Scope, caller: Caller) -> Scope:
    agents = tuple(host_for(session, wanted, caller).id for wanted in scope.agents)
    return Scope(agents=agents, users=scope.users, sections=scope.sections, zones=scope.zones)


def _check_section_head(data: NewPermit, scope: Scope, caller: Caller) -> None:
    if caller.only_section is None:
        return
    if data.approver != caller.person_id:
        raise ApiError(
            403, "forbidden", "a section head enters only permits of the own approval", "--approver yourself"
        )
    if scope.sections != (caller.only_section,) and not scope.agents:
        raise ApiError(
            403, "forbidden", f"the permit must be limited to {caller.only_section}", "--section, or --host"
        )


def _concerns(session: Session, row: PermitRow, caller: Caller) -> bool:
    """Whether a permit is the caller's business: its section's scope, or an applicant of the section."""
    if caller.only_section is None or caller.only_section in row.scope.get("sections", ()):
        return True
    applicant = session.get(Person, row.applicant)
    return applicant is not None and applicant.section == caller.only_section


HANDLERS = (list_permits, grant, revoke)
