"""Blast radius: what a cut would stop, told before it is signed (DESIGN §8)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from msgspec import Struct
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from collector.registers.models import Agent, Person
from collector.search.events import EventQuery, EventSearch
from policies.model import Bundle
from protocol.events import ConnectionOpened
from protocol.refusal import RefusedError

ONLINE_US = 35_000_000
"""Three missed heartbeats of 10 s, and some."""
HOUR_US = 3_600_000_000
MOST_RECENT = 1000
_SHORTEST_PREFIX = 4
_MOST_NAMED = 9


class Recent(Struct, frozen=True, kw_only=True):
    """What the PC connected to in the last hour, as far as it is stored."""

    connections: int = 0
    """At most ``MOST_RECENT``."""
    destinations: tuple[str, ...] = ()
    """The five most frequent, ``address:port ×n``."""


class Radius(Struct, frozen=True, kw_only=True):
    """What stands behind one PC."""

    host_id: str
    hostname: str
    status: str
    online: bool
    isolation: str
    zone: str
    section: str
    people: tuple[str, ...]
    """Who is registered in the section (names)."""
    section_hosts: int
    """Other active PCs of the section, which stay connected."""
    stops: tuple[str, ...]
    """Destinations allowed today that the cut ends, as zone or network, port and protocol."""
    keeps: tuple[str, ...]
    """Addresses that stay reachable: the collector's."""
    recent: Recent


def find_host(session: Session, wanted: str, *, section: str | None = None) -> Agent:
    """The PC of a host name, or of a fingerprint or its beginning (four characters or more).

    Raises RefusedError ``not_found``; ``bad_value`` when several PCs fit, naming them: an order never guesses.
    """
    fits = [
        Agent.id == wanted.lower(),
        Agent.hostname == wanted,
        func.lower(Agent.hostname) == wanted.lower(),
    ]
    if len(wanted) >= _SHORTEST_PREFIX:
        fits.append(Agent.id.startswith(wanted.lower(), autoescape=True))
    query = select(Agent).where(Agent.status != "revoked", or_(*fits)).order_by(Agent.id).limit(_MOST_NAMED)
    if section is not None:
        query = query.where(Agent.section == section)
    rows = session.scalars(query).all()
    found = [row for row in rows if row.id == wanted.lower()] or rows
    if not found:
        raise RefusedError(
            "not_found", f"no PC is called {wanted} or has a fingerprint that begins so", "sekisho hosts"
        )
    if len(found) > 1:
        names = ", ".join(f"{row.hostname} {row.id[:12]}" for row in found[:8])
        raise RefusedError("bad_value", f"{wanted} fits several PCs: {names}", "give more of the fingerprint")
    return found[0]


def radius(
    session: Session,
    agent: Agent,
    bundle: Bundle | None,
    keeps: tuple[str, ...],
    recent: Recent,
    *,
    now_us: int,
) -> Radius:
    """What isolating ``agent`` would stop. ``bundle`` is the release in force, None before the first."""
    people = session.scalars(
        select(Person.name).where(Person.section == agent.section, Person.active).order_by(Person.id)
    ).all()
    others = session.scalars(
        select(Agent.id).where(Agent.section == agent.section, Agent.status == "active")
    ).all()
    return Radius(
        host_id=agent.id,
        hostname=agent.hostname,
        status=agent.status,
        online=now_us - agent.last_seen_us < ONLINE_US,
        isolation=agent.isolation,
        zone=agent.zone,
        section=agent.section,
        people=tuple(people) if agent.section else (),
        section_hosts=sum(1 for other in others if other != agent.id) if agent.section else 0,
        stops=_stops(agent.zone, bundle),
        keeps=keeps,
        recent=recent,
    )


def recent_connections(data: Path, agent_id: str, now_us: int) -> Recent:
    """Read the PC's last hour from the stored events."""
    kinds = frozenset({"connection.opened"})
    query = EventQuery(agent=agent_id, kinds=kinds, since_us=now_us - HOUR_US, limit=MOST_RECENT)
    search = EventSearch(data)
    try:
        events = [found.event for found in search.run(query)]
    finally:
        search.close()
    counted = Counter(
        f"{event.dest_ip}:{event.dest_port}" for event in events if isinstance(event, ConnectionOpened)
    )
    destinations = tuple(f"{name} ×{count}" for name, count in counted.most_common(5))
    return Recent(connections=len(events), destinations=destinations)


def _stops(zone_name: str, bundle: Bundle | None) -> tuple[str, ...]:
    zone = next((zone for zone in bundle.zones if zone.name == zone_name), None) if bundle else None
    if bundle is None or zone is None:
        return ("everything but the collector",)
    names = {network: other.name for other in bundle.zones for network in other.networks}
    lines = []
    for allowed in zone.allow:
        where = names.get(allowed.network)
        text = f"{where} ({allowed.network})" if where else allowed.network
        port = (
            f" {allowed.protocol}/{allowed.port or 'any'}"
            if allowed.protocol != "any" or allowed.port
            else ""
        )
        lines.append(text + port)
    return tuple(lines) or ("everything but the collector",)
