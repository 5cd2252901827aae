"""What several routes share: parameter types, and the caller."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from litestar import Request
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta
from sqlalchemy.orm import Session

from collector.console.context import Console
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.isolation.preview import find_host
from collector.registers.models import Agent
from protocol.refusal import RefusedError

Call: TypeAlias = Request[Any, Any, Any]
LARGEST_INT = (1 << 62) - 1
"""SQLite's integers end at 2^63."""

Text = Annotated[str, Meta(max_length=256)]
Reason = Annotated[str, Meta(min_length=1, max_length=2000)]
OptionalReason = Annotated[str, Meta(max_length=2000)]
Micros = Annotated[int, Meta(ge=0, le=LARGEST_INT)]
QueryText = Annotated[str, QueryParameter(max_length=256)]
OptionalQueryText = Annotated[str | None, QueryParameter(max_length=256)]
PathText = Annotated[str, PathParameter(max_length=256)]
PathNumber = Annotated[int, PathParameter(ge=0, le=LARGEST_INT)]
QueryReason = Annotated[str, QueryParameter(max_length=2000)]
QueryMicros = Annotated[int, QueryParameter(ge=0, le=LARGEST_INT)]
QueryLimit = Annotated[int, QueryParameter(ge=1, le=1000)]
WaitSeconds = Annotated[float, QueryParameter(ge=0, le=25)]


def caller_of(request: Call) -> Caller:
    """The signed-in operator. Routes with roles never run without one."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def console_of(request: Call) -> Console:
    """The API process's own things."""
    console: Console = request.scope["state"]["console"]
    return console


def host_for(session: Session, wanted: str, caller: Caller) -> Agent:
    """The PC of an id, name or fingerprint prefix, as far as the caller may know of it. Raises RefusedError."""
    row = session.get(Agent, wanted)
    if row is not None and caller.only_section in {None, row.section}:
        return row
    if row is not None:
        raise RefusedError("not_found", f"no PC {wanted} in your section")
    return find_host(session, wanted, section=caller.only_section)


def section_for(caller: Caller, wanted: str | None) -> str | None:
    """The section a listing is for: the caller's own where that is all they may see, else ``wanted`` (None = all)."""
    return wanted if caller.only_section is None else caller.only_section


def need_reason(reason: str, what: str) -> str:
    """A reason that says something. Raises ApiError 422 ``reason_missing``."""
    if not reason.strip():
        raise ApiError(
            422, "reason_missing", f"{what} needs a reason; it goes into the audit log", "reason=…"
        )
    return reason.strip()
