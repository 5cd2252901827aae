"""Rings: groups of PCs that get a release early."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from collector.console.gate import note
from collector.console.routes.common import Call, OptionalReason, Text, caller_of, console_of, host_for
from collector.registers import agents, releases


class Ring(Struct, frozen=True):
    """A ring (empty name: all PCs in none), its active PCs, the generation it is meant to have, and who has not."""

    ring: str
    pcs: int
    generation: int
    lagging: int


class Members(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PCs that go into ``ring`` (empty: out of theirs): by name or fingerprint, and all of these sections."""

    ring: Text
    hosts: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()
    sections: Annotated[tuple[Text, ...], Meta(max_length=100)] = ()
    reason: OptionalReason = ""


class Moved(Struct, frozen=True):
    """How many PCs changed their ring; ``ahead``: keep a newer generation until something newer goes to all."""

    ring: str
    moved: int
    ahead: int


@get("/policy/rings", sync_to_thread=True)
def list_rings(request: Call) -> list[Ring]:
    """All rings that have PCs."""
    with console_of(request).store.read() as session:
        meant, sizes = releases.targets(session), releases.ring_sizes(session)
        active = agents.list_agents(session, status="active")
    shown = []
    for ring in sorted(sizes | {releases.ALL: 0}):
        wanted = releases.target_of(meant, ring)
        lagging = sum(row.ring == ring and row.policy_generation < wanted for row in active)
        shown.append(Ring(ring, sizes.get(ring, 0), wanted, lagging))
    return shown


@post("/policy/rings", status_code=200, sync_to_thread=True)
def set_ring(request: Call, data: JSONBody[Members]) -> Moved:
    """Put PCs into a ring. 404 ``not_found`` for a PC that is not there: then none is moved."""
    console, caller = console_of(request), caller_of(request)
    note(request.scope, reason=data.reason, ring=data.ring)
    with console.store.write() as session:
        found = {host_for(session, host, caller) for host in data.hosts}
        for section in data.sections:
            found.update(agents.list_agents(session, section=section))
        moved = releases.set_ring(session, data.ring, [row.id for row in found])
        wanted = releases.target_of(releases.targets(session), data.ring)
        ahead = sum(row.policy_generation > wanted for row in found)
        note(request.scope, moved=moved)
    console.poke("agents", "gateway")
    console.poke("policy", "detector")
    return Moved(data.ring, moved, ahead)


HANDLERS = (list_rings, set_ring)
