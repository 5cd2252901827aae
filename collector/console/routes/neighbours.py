"""Machines on the city's LANs, who watches which segment, and on which switch port PCs hang."""

from __future__ import annotations

from itertools import islice

from litestar import get
from msgspec import Struct
from sqlalchemy.orm import Session

from collector.console.routes.common import Call, QueryLimit, QueryText, caller_of, console_of
from collector.registers import neighbours
from collector.registers.agents import list_agents
from collector.registers.models import Agent
from collector.registers.models_neighbours import Neighbour

SENSOR = "neighbours"


class NeighbourView(Struct, frozen=True):
    """A machine on a segment. ``asset``: city (registered, or a PC that is enrolled) | unknown."""

    segment: str
    mac: str
    asset: str
    ip: str
    addresses: list[str]
    hostname: str
    fingerprint: str
    randomised: bool
    via: str
    why: str
    watcher: str
    """Host name of the PC that saw it."""
    first_us: int
    last_us: int
    copied_us: int
    """When it last showed itself as two machines; 0 = never."""


class SegmentView(Struct, frozen=True):
    """A segment, the PCs that watch it (one, for a moment two) and how many stand by; none = nobody looks."""

    segment: str
    watchers: list[str]
    standby: int
    machines: int
    unknown: int


class PortView(Struct, frozen=True):
    """Where an interface of a PC is plugged in, as the switch says."""

    hostname: str
    host: str
    interface: str
    segment: str
    switch: str
    port: str
    ip: str
    via: str
    seen_us: int


@get("/neighbours", sync_to_thread=True)
def list_neighbours(
    request: Call, segment: QueryText = "", asset: QueryText = "", limit: QueryLimit = 1000
) -> list[NeighbourView]:
    """Machines seen, the newest first; filters by segment and by ``asset`` (city | unknown)."""
    console, caller = console_of(request), caller_of(request)
    with console.store.read() as session:
        rows = neighbours.list_neighbours(session, segment=segment, section=caller.only_section)
        city, names = neighbours.city_macs(session), _names(session)
        shown = (_view(row, names, known=row.mac in city) for row in rows)
        return list(islice((one for one in shown if asset in ("", one.asset)), limit))


@get("/segments", sync_to_thread=True)
def list_segments(request: Call) -> list[SegmentView]:
    """Segments by name."""
    console, caller = console_of(request), caller_of(request)
    with console.store.read() as session:
        agents = list_agents(session, status="active", section=caller.only_section)
        seen = neighbours.macs_by_segment(session, section=caller.only_section)
        city = neighbours.city_macs(session)
    found = {segment for agent in agents for segment in agent.segments} | seen.keys()
    return [_segment(one, agents, seen.get(one, []), city) for one in sorted(found)]


@get("/switch-ports", sync_to_thread=True)
def list_switch_ports(request: Call) -> list[PortView]:
    """Ports by switch."""
    console, caller = console_of(request), caller_of(request)
    with console.store.read() as session:
        agents = {agent.id: agent for agent in list_agents(session, section=caller.only_section)}
        return [
            PortView(
                hostname=agents[row.agent_id].hostname,
                host=row.agent_id,
                interface=row.interface,
                segment=row.segment,
                switch=row.switch,
                port=row.port,
                ip=row.ip,
                via=row.via,
                seen_us=row.seen_us,
            )
            for row in neighbours.switch_ports(session)
            if row.agent_id in agents
        ]


def _names(session: Session) -> dict[str, str]:
    return {agent.id: agent.hostname for agent in list_agents(session)}


def _segment(segment: str, agents: list[Agent], macs: list[str], city: frozenset[str]) -> SegmentView:
    there = [agent for agent in agents if segment in agent.segments]
    return SegmentView(
        segment=segment,
        watchers=[agent.hostname for agent in there if agent.sensors.get(SENSOR) == "running"],
        standby=sum(agent.sensors.get(SENSOR) == "standby" for agent in there),
        machines=len(macs),
        unknown=sum(mac not in city for mac in macs),
    )


def _view(row: Neighbour, names: dict[str, str], *, known: bool) -> NeighbourView:
    return NeighbourView(
        segment=row.segment,
        mac=row.mac,
        asset="city" if known else "unknown",
        ip=row.ip,
        addresses=list(row.addresses),
        hostname=row.hostname,
        fingerprint=row.fingerprint,
        randomised=row.randomised,
        via=row.via,
        why=row.why,
        watcher=names.get(row.agent_id, row.agent_id),
        first_us=row.first_us,
        last_us=row.last_us,
        copied_us=row.copied_us,
    )


HANDLERS = (list_neighbours, list_segments, list_switch_ports)
