"""What events say of machines on LANs, on its way into the register; written in the transaction that moves the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from sqlalchemy.orm import Session

from collector.detection.batch import Batch
from collector.detection.centre import RegisterCentre
from collector.detection.places import MOST, Copy, Owner, Places, Sighting
from collector.registers.neighbours import (
    Own,
    Plugged,
    Seen,
    list_neighbours,
    own_macs,
    put_own,
    put_plugged,
    put_seen,
)
from policies.machines import plain_name
from protocol.events import AnyEvent, NeighbourSeen

MOST_WAITING = 20_000
"""Sightings kept in memory while the database cannot be written; the oldest are given up, the events stay stored."""


class NeighbourLog:
    """Sightings on their way, and the memory that tells copies."""

    def __init__(self) -> None:
        self.places = Places()
        self.centre = RegisterCentre()
        self._seen: dict[tuple[str, str], Seen] = {}
        self._own: dict[tuple[str, str], Own] = {}
        self._plugged: dict[tuple[str, str], Plugged] = {}

    @property
    def waiting(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._seen or self._own or self._plugged)

    def restore(self, session: Session) -> None:
        """Take up what the register knows."""
        rows = reversed(list(islice(list_neighbours(session), MOST)))
        seen = [
            (row.mac, Sighting(row.segment, row.last_us, plain_name(row.hostname), row.fingerprint))
            for row in rows
        ]
        owners: dict[str, Owner] = {}
        for row in own_macs(session):
            owner = owners.get(row.mac)
            if owner is None or owner.agent_id != row.agent_id:
                owner = owners[row.mac] = Owner(row.agent_id, plain_name(row.hostname), {})
            owner.segments[row.interface] = row.segment, frozenset(row.addresses)
        self.places.restore(seen, owners.items())

    def take(self, batch: Batch, events: Sequence[AnyEvent | None]) -> list[Copy]:
        """Take in a batch; returns the copies that no PC alone could tell. Does not raise."""
        copies = []
        for seq, event in enumerate(events, batch.first_seq):
            if not isinstance(event, NeighbourSeen):
                continue
            if event.why == "own":
                self._take_own(batch, event)
            elif event.why == "switch":
                self._take_switch(batch, event)
            else:
                copy = self.places.seen(batch.agent_id, seq, event, batch.received_us)
                self._take_seen(batch, event, copied=copy is not None or event.why == "copied")
                if copy is not None and event.why != "copied":
                    copies.append(copy)
        return copies

    def write(self, session: Session) -> None:
        """Write what waits; :meth:`clear` after the commit."""
        put_own(session, self._own.values())
        put_seen(session, self._seen.values())
        put_plugged(session, self._plugged.values())

    def clear(self) -> None:
        """What waited is written."""
        self._seen, self._own, self._plugged = {}, {}, {}

    def _take_own(self, batch: Batch, event: NeighbourSeen) -> None:
        self.places.own(batch.agent_id, event)
        self.centre.learn(event.mac)
        self._own[batch.agent_id, event.mac] = Own(
            agent_id=batch.agent_id,
            mac=event.mac,
            interface=event.interface,
            segment=event.segment,
            hostname=event.hostname,
            addresses=event.addresses,
            time_us=batch.received_us,
        )

    def _take_switch(self, batch: Batch, event: NeighbourSeen) -> None:
        self._plugged[batch.agent_id, event.interface] = Plugged(
            agent_id=batch.agent_id,
            interface=event.interface,
            segment=event.segment,
            switch=event.switch,
            port=event.port,
            ip=event.ip,
            via=event.via,
            time_us=batch.received_us,
        )

    def _take_seen(self, batch: Batch, event: NeighbourSeen, *, copied: bool) -> None:
        key = event.segment, event.mac
        before = self._seen.pop(key, None)
        if len(self._seen) >= MOST_WAITING:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = Seen(
            agent_id=batch.agent_id,
            segment=event.segment,
            mac=event.mac,
            ip=event.ip,
            addresses=event.addresses,
            hostname=event.hostname,
            fingerprint=event.fingerprint,
            randomised=event.randomised,
            via=event.via,
            why=event.why,
            time_us=batch.received_us,
            copied=copied or (before is not None and before.copied),
        )
