"""What is known of machines on the city's LANs: whose MAC is whose, who was seen where, and on which switch port PCs hang."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from collector.registers.models import Agent, Asset
from collector.registers.models_neighbours import Neighbour, OwnMac, SwitchPort

MOST_OF_SEGMENT = 8192
"""Machines kept of one segment; beyond, those seen longest ago are given up (they may be a forger's)."""
MOST_OF_PC = 16
"""MACs a PC may call its own; beyond, the one not used longest is given up."""
ENROLLED = ("active", "quarantined")


class Seen(Struct, frozen=True, kw_only=True):
    """A machine on a segment, as one event tells of it. Times UTC µs by the receipt."""

    agent_id: str
    segment: str
    mac: str
    ip: str = ""
    addresses: tuple[str, ...] = ()
    hostname: str = ""
    fingerprint: str = ""
    randomised: bool = False
    via: str = ""
    why: str = ""
    time_us: int
    copied: bool = False


class Own(Struct, frozen=True, kw_only=True):
    """An interface of an enrolled PC."""

    agent_id: str
    mac: str
    interface: str
    segment: str
    hostname: str
    addresses: tuple[str, ...]
    time_us: int


class Plugged(Struct, frozen=True, kw_only=True):
    """Where an interface of a PC is plugged in."""

    agent_id: str
    interface: str
    segment: str
    switch: str
    port: str
    ip: str
    via: str
    time_us: int


def city_macs(session: Session) -> frozenset[str]:
    """MACs of machines the city owns: of active assets, and of PCs that are enrolled."""
    mac = Asset.subject["mac"].as_string()
    owned = session.scalars(select(mac).where(Asset.active, mac.is_not(None)))
    enrolled = select(OwnMac.mac).join(Agent, Agent.id == OwnMac.agent_id).where(Agent.status.in_(ENROLLED))
    return frozenset(owned) | frozenset(session.scalars(enrolled))


def put_seen(session: Session, sightings: Iterable[Seen]) -> None:
    """Keep what was seen; the newest word on a machine wins, and what it does not say stays."""
    touched = set()
    for one in sightings:
        row = session.get(Neighbour, (one.segment, one.mac))
        if row is None:
            row = Neighbour(segment=one.segment, mac=one.mac, first_us=one.time_us, copied_us=0)
            session.add(row)
            touched.add(one.segment)
        row.agent_id, row.last_us, row.randomised = one.agent_id, one.time_us, one.randomised
        row.ip, row.addresses = one.ip or row.ip or "", list(one.addresses) or row.addresses or []
        row.hostname = one.hostname or row.hostname or ""
        row.fingerprint = one.fingerprint or row.fingerprint or ""
        row.via, row.why = one.via, one.why
        if one.copied:
            row.copied_us = one.time_us
    session.flush()
    for segment in touched:
        _prune(session, segment)


def _prune(session: Session, segment: str) -> None:
    over = (session.scalar(select(func.count()).where(Neighbour.segment == segment)) or 0) - MOST_OF_SEGMENT
    if over > 0:
        oldest = (
            select(Neighbour.mac).where(Neighbour.segment == segment).order_by(Neighbour.last_us).limit(over)
        )
        macs = list(session.scalars(oldest))
        session.execute(delete(Neighbour).where(Neighbour.segment == segment, Neighbour.mac.in_(macs)))


def put_own(session: Session, reports: Iterable[Own]) -> None:
    """Keep which MACs are whose."""
    for one in reports:
        row = session.get(OwnMac, (one.agent_id, one.mac))
        if row is None:
            row = OwnMac(agent_id=one.agent_id, mac=one.mac, first_us=one.time_us)
            session.add(row)
        row.interface, row.segment, row.hostname = one.interface, one.segment, one.hostname
        row.addresses, row.last_us = list(one.addresses), one.time_us
        session.flush()
        query = select(OwnMac).where(OwnMac.agent_id == one.agent_id).order_by(OwnMac.last_us.desc())
        for old in session.scalars(query.offset(MOST_OF_PC)).all():
            session.delete(old)


def put_plugged(session: Session, reports: Iterable[Plugged]) -> None:
    """Keep where PCs are plugged in."""
    for one in reports:
        session.merge(
            SwitchPort(
                agent_id=one.agent_id,
                interface=one.interface,
                segment=one.segment,
                switch=one.switch,
                port=one.port,
                ip=one.ip,
                via=one.via,
                seen_us=one.time_us,
            )
        )


def list_neighbours(
    session: Session, *, segment: str = "", section: str | None = None
) -> Iterator[Neighbour]:
    """Machines seen, the newest first, read as they are asked for; ``section``: only what PCs of this section saw."""
    query = select(Neighbour).order_by(Neighbour.last_us.desc(), Neighbour.mac)
    if segment:
        query = query.where(Neighbour.segment == segment)
    if section is not None:
        query = query.join(Agent, Agent.id == Neighbour.agent_id).where(Agent.section == section)
    return iter(session.scalars(query.execution_options(yield_per=500)))


def macs_by_segment(session: Session, *, section: str | None = None) -> dict[str, list[str]]:
    """Segment → MACs seen there; ``section``: only what PCs of this section saw."""
    query = select(Neighbour.segment, Neighbour.mac)
    if section is not None:
        query = query.join(Agent, Agent.id == Neighbour.agent_id).where(Agent.section == section)
    found: dict[str, list[str]] = {}
    for segment, mac in session.execute(query):
        found.setdefault(segment, []).append(mac)
    return found


def own_macs(session: Session) -> list[OwnMac]:
    """Own MACs of all PCs, the newest word last."""
    return list(session.scalars(select(OwnMac).order_by(OwnMac.last_us)))


def switch_ports(session: Session) -> list[SwitchPort]:
    """Where PCs are plugged in."""
    return list(session.scalars(select(SwitchPort).order_by(SwitchPort.switch, SwitchPort.port)))
