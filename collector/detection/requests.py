"""Applications for permits out of ``permit.requested`` events. The PC vouches for who asked, not for what is written."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from collector.registers.applications import MOST_DAYS, Wanted
from policies.granting import PermitError, check_subject
from policies.model import PermitKind, Scope, Subject
from policies.permits import FIELDS
from protocol.events import PermitRequested

BAD_REQUEST, TOO_MANY = "bad_permit_request", "too_many_permit_requests"
"""Findings."""
KINDS: frozenset[str] = frozenset(get_args(PermitKind))
LONGEST_NAME, LONGEST_PURPOSE = 64, 2000


class BadRequestError(Exception):
    """A request that is none; says why."""


def wanted_of(agent_id: str, event: PermitRequested) -> Wanted:
    """The application an event asks for, limited to the PC it came from. Raises BadRequestError; pure."""
    for name in ("request", "user"):
        text = getattr(event, name)
        if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
            raise BadRequestError(f"{name} is missing, too long or not printable")
    if event.wanted not in KINDS:
        raise BadRequestError("wanted is no kind of permit")
    kind: PermitKind = event.wanted  # type: ignore[assignment]  # just checked
    if not 0 < event.days <= MOST_DAYS:
        raise BadRequestError(f"days {event.days}")
    purpose = event.purpose.strip()[:LONGEST_PURPOSE]
    if not purpose:
        raise BadRequestError("no purpose")
    subject = _subject(kind, event.subject)
    return Wanted(
        applicant=event.user,
        kind=kind,
        subject=subject,
        purpose=purpose,
        days=event.days,
        scope=Scope(agents=(agent_id,)),
        basis="section_head" if kind == "take_out" else "",
        agent_id=agent_id,
        request=event.request,
        refused_by=event.refused if event.refused.isprintable() else "",
    )


def _subject(kind: PermitKind, given: dict[str, str]) -> Subject:
    """Raises BadRequestError for fields the kind does not know, values it cannot have, or what names nothing."""
    if unknown := given.keys() - set(FIELDS[kind]):
        raise BadRequestError(f"{len(unknown)} fields of the subject mean nothing for a {kind}")
    values: dict[str, Any] = dict(given)
    if "port" in values:
        if not (values["port"].isascii() and values["port"].isdigit() and len(values["port"]) <= 5):  # noqa: PLR2004
            raise BadRequestError("port is no number")
        values["port"] = int(values["port"])
    try:
        subject = msgspec.convert(values, Subject)
        check_subject(kind, subject)
    except msgspec.ValidationError as error:
        raise BadRequestError(str(error)) from error
    except PermitError as error:
        raise BadRequestError(error.name) from error
    return subject
