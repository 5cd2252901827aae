"""Searching stored events. Looking a person up needs a reason, and both go into the audit log (名古屋 第54条第4項)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import QueryParameter
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.console.gate import note
from collector.console.masking import mask_event
from collector.console.problems import ApiError
from collector.console.roles import Caller
from collector.console.routes.common import (
    LARGEST_INT,
    Call,
    QueryLimit,
    QueryMicros,
    QueryReason,
    QueryText,
    caller_of,
    console_of,
    host_for,
    need_reason,
)
from collector.registers.models import Agent, Person
from collector.search.events import EventQuery, EventSearch, Found

Kinds = Annotated[str, QueryParameter(max_length=2000)]


Flag = Annotated[bool, QueryParameter()]


class EventView(Struct, frozen=True):
    """One stored event: sender, its number there, and the event as the PC sent it (masked by role)."""

    host_id: str
    hostname: str
    seq: int
    event: dict[str, Any]


@get("/events", sync_to_thread=True)
def search_events(
    request: Call,
    *,
    host: QueryText = "",
    kind: Kinds = "",
    since_us: QueryMicros = 0,
    until_us: QueryMicros = LARGEST_INT,
    user: QueryText = "",
    text: QueryText = "",
    limit: QueryLimit = 100,
    oldest_first: Flag = False,
    reason: QueryReason = "",
) -> list[EventView]:
    """Events by time. ``kind`` may name several, with commas; ``until_us`` is exclusive.

    422 ``reason_missing``: ``user``, and ``text`` that names a registered person, need ``reason``. 403 ``forbidden``:
    roles that may not see people cannot filter by ``user``; their ``text`` finds nothing in masked fields.
    """
    caller, console = caller_of(request), console_of(request)
    note(request.scope, reason=reason)
    with console.store.read() as session:
        _check_person(session, caller, user, text, reason)
        target = host_for(session, host, caller).id if host else ""
        names = _hosts(session, caller)
    query = EventQuery(
        agent=target,
        agents=None if caller.only_section is None else frozenset(names),
        kinds=frozenset(filter(None, kind.split(","))),
        since_us=since_us,
        until_us=until_us,
        user=user,
        text=text,
        limit=limit,
        order="oldest" if oldest_first else "newest",
    )
    search = EventSearch(console.layout.data)
    try:
        views = [_view(found, names, caller) for found in search.run(query)]
    finally:
        search.close()
    return views if caller.sees_people or not text else [view for view in views if _holds(view.event, text)]


def _check_person(session: Session, caller: Caller, user: str, text: str, reason: str) -> None:
    if user and not caller.sees_people:
        raise ApiError(
            403, "forbidden", f"role {caller.role} may not look people up", "ask the network administrator"
        )
    names_person = select(Person.id).where((Person.id == text) | (Person.name == text)).limit(1)
    if user or (text and session.scalar(names_person) is not None):
        need_reason(reason, "looking a person up")


def _hosts(session: Session, caller: Caller) -> dict[str, str]:
    query = select(Agent.id, Agent.hostname)
    if caller.only_section is not None:
        query = query.where(Agent.section == caller.only_section)
    return {row.id: row.hostname for row in session.execute(query)}


def _view(found: Found, names: dict[str, str], caller: Caller) -> EventView:
    event: dict[str, Any] = msgspec.to_builtins(found.event)
    shown = event if caller.sees_people else mask_event(event)
    return EventView(found.agent_id, names.get(found.agent_id, ""), found.seq, shown)


def _holds(value: object, text: str) -> bool:
    """Tell whether ``text`` still stands in what is shown; otherwise a search would tell what masking hides."""
    if isinstance(value, str):
        return text.lower() in value.lower()
    if isinstance(value, dict):
        return any(_holds(part, text) for part in value.values())
    return isinstance(value, list | tuple) and any(_holds(part, text) for part in value)


HANDLERS = (search_events,)
