"""What the neighbours sensor reports, as events with the decision fields still empty. Pure."""

from __future__ import annotations

from agent.lan.flood import Told
from agent.lan.frames import is_randomised
from agent.lan.segments import Segment
from agent.lan.table import Change
from agent.platform.lan_ports import SwitchPort
from protocol.events import NeighbourFlood, NeighbourSeen

_MOST_ADDRESSES = 16


def seen_event(segment: Segment, change: Change, now_us: int) -> NeighbourSeen:
    """A machine showed itself, or changed what it shows."""
    seen, known = change.sighting, change.neighbour
    return NeighbourSeen(
        time_us=now_us,
        segment=segment.id,
        interface=segment.interface,
        mac=seen.mac,
        randomised=is_randomised(seen.mac),
        ip=seen.ip or (known.addresses[-1] if known.addresses else ""),
        addresses=known.addresses,
        via=seen.via,
        hostname=known.hostname,
        fingerprint=known.fingerprint,
        why=change.why,
    )


def own_event(segment: Segment, hostname: str, now_us: int) -> NeighbourSeen:
    """This PC itself: so the collector knows which machine it is when another PC sees it."""
    return NeighbourSeen(
        time_us=now_us,
        segment=segment.id,
        interface=segment.interface,
        mac=segment.mac,
        randomised=is_randomised(segment.mac),
        ip=segment.addresses[0],
        addresses=segment.addresses[:_MOST_ADDRESSES],
        via="own",
        hostname=hostname,
        why="own",
    )


def switch_event(segment: str, interface: str, found: SwitchPort, now_us: int) -> NeighbourSeen:
    """Where an interface of this PC is plugged in."""
    return NeighbourSeen(
        time_us=now_us,
        segment=segment,
        interface=interface,
        mac=found.mac,
        ip=found.ip,
        via=found.via,
        why="switch",
        switch=found.switch,
        port=found.port,
    )


def flood_event(segment: Segment, told: Told, now_us: int) -> NeighbourFlood:
    """What was left out of a flood."""
    return NeighbourFlood(
        time_us=now_us,
        segment=segment.id,
        interface=segment.interface,
        via=told.via,
        count=told.count,
        machines=told.machines,
        mac=told.mac,
    )
