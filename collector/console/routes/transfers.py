"""The transfer log: what was handed out on media, by whom, and by whose leave (Nagoya 30 to 30-3)."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get
from msgspec import Struct
from sqlalchemy import select

from collector.console.masking import mask_event
from collector.console.roles import Caller
from collector.console.routes.common import (
    LARGEST_INT,
    Call,
    OptionalQueryText,
    QueryLimit,
    QueryMicros,
    caller_of,
    console_of,
    section_for,
)
from collector.registers import agents
from collector.registers.models import Agent, PermitRow
from collector.search.events import EventQuery, EventSearch, Found

KIND = frozenset({"media.file_written"})


class Transfer(Struct, frozen=True, kw_only=True):
    """One file that was written to a medium. Personal fields are masked by role; permit fields are empty without one."""

    host: str
    section: str
    time_us: int
    person: str
    path: str
    file_size: int
    digest: str
    medium: str
    """Serial of the carrying device, else the identity of the medium."""
    place: str
    labels: tuple[str, ...]
    my_numbers: int
    action: str
    permit_id: str
    permit: str
    approver: str
    ground: str
    reason: str


@get("/transfers", sync_to_thread=True)
def list_transfers(
    request: Call,
    section: OptionalQueryText = None,
    since_us: QueryMicros = 0,
    until_us: QueryMicros = LARGEST_INT,
    limit: QueryLimit = 100,
) -> list[Transfer]:
    """Files written to media, newest first; ``until_us`` is exclusive. A section head sees the own section's."""
    caller, console = caller_of(request), console_of(request)
    wanted = section_for(caller, section)
    with console.store.read() as session:
        hosts = {row.id: row for row in agents.list_agents(session, section=wanted)}
        permits = {row.id: row for row in session.scalars(select(PermitRow))}
    query = EventQuery(agents=frozenset(hosts), kinds=KIND, since_us=since_us, until_us=until_us, limit=limit)
    search = EventSearch(console.layout.data)
    try:
        return [_transfer(found, hosts, permits, caller) for found in search.run(query)]
    finally:
        search.close()


def _transfer(
    found: Found, hosts: dict[str, Agent], permits: dict[str, PermitRow], caller: Caller
) -> Transfer:
    event: dict[str, Any] = msgspec.to_builtins(found.event)
    shown = event if caller.sees_people else mask_event(event)
    row = permits.get(event.get("permit_id", ""))
    host = hosts[found.agent_id]
    return Transfer(
        host=host.hostname or host.id,
        section=host.section,
        time_us=event["time_us"],
        person=shown.get("user", ""),
        path=shown.get("path", ""),
        file_size=event.get("file_size", 0),
        digest=event.get("digest", ""),
        medium=event.get("serial") or event.get("fs_uuid") or event.get("media_id", ""),
        place=event.get("place", ""),
        labels=tuple(event.get("labels", ())),
        my_numbers=event.get("my_numbers", 0),
        action=event.get("action", "observed"),
        permit_id=row.id if row else "",
        permit=event.get("permit", ""),
        approver=row.approver if row else "",
        ground=f"{row.ordinance} {row.article}" if row else "",
        reason=row.reason if row else "",
    )


HANDLERS = (list_transfers,)
