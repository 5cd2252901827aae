"""The event catalogue: the single source of what an agent can report.

Each kind is one Struct: its fields (type, doc, unit, data class), its priority class and the OCSF class it maps to; they
stand in ``protocol.catalogue``, one module for each subject. From here come the wire form (a plain MessagePack map tagged
``kind``), the rule field check and ``docs/generated/events.md``. Times are UTC microseconds by the PC's clock.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from protocol.catalogue.agent import (
    AgentDropped,
    AgentHealth,
    AgentIsolated,
    AgentPolicyApplied,
    AgentRestored,
    AgentStarted,
    AgentStopped,
    AgentTampered,
)
from protocol.catalogue.base import Action, ActorEvent, Event, Name, Path, PermitState, Priority, field
from protocol.catalogue.devices import (
    DeviceAttached,
    DeviceBlocked,
    DeviceDetached,
    MediaBlocked,
    MediaFileWritten,
    MediaMounted,
    MediaUnmounted,
)
from protocol.catalogue.network import (
    ConnectionBlocked,
    ConnectionOpened,
    DnsResolved,
    LinkBlocked,
    LinkChanged,
    NeighbourFlood,
    NeighbourSeen,
)
from protocol.catalogue.people import (
    FileAccessed,
    LogonEnded,
    LogonFailed,
    LogonSucceeded,
    NoticeShown,
    PermitRequested,
)
from protocol.catalogue.posture import PostureReported, ServiceListening
from protocol.catalogue.software import (
    ProcessDenied,
    ProcessStarted,
    SoftwareChanged,
    SoftwareInstalled,
    SoftwareRemoved,
)

__all__ = [
    "KINDS",
    "Action",
    "ActorEvent",
    "AgentDropped",
    "AgentHealth",
    "AgentIsolated",
    "AgentPolicyApplied",
    "AgentRestored",
    "AgentStarted",
    "AgentStopped",
    "AgentTampered",
    "AnyEvent",
    "ConnectionBlocked",
    "ConnectionOpened",
    "DeviceAttached",
    "DeviceBlocked",
    "DeviceDetached",
    "DnsResolved",
    "Event",
    "FileAccessed",
    "LinkBlocked",
    "LinkChanged",
    "LogonEnded",
    "LogonFailed",
    "LogonSucceeded",
    "MediaBlocked",
    "MediaFileWritten",
    "MediaMounted",
    "MediaUnmounted",
    "Name",
    "NeighbourFlood",
    "NeighbourSeen",
    "NoticeShown",
    "Path",
    "PermitRequested",
    "PermitState",
    "PostureReported",
    "Priority",
    "ProcessDenied",
    "ProcessStarted",
    "ServiceListening",
    "SoftwareChanged",
    "SoftwareInstalled",
    "SoftwareRemoved",
    "decode_event",
    "decode_events",
    "encode_event",
    "encoder",
    "field",
    "join_encoded",
    "kind_of",
]

AnyEvent = (
    DeviceAttached
    | DeviceDetached
    | DeviceBlocked
    | MediaMounted
    | MediaUnmounted
    | MediaBlocked
    | SoftwareInstalled
    | SoftwareRemoved
    | SoftwareChanged
    | ProcessStarted
    | ProcessDenied
    | ConnectionOpened
    | ConnectionBlocked
    | AgentStarted
    | AgentStopped
    | AgentPolicyApplied
    | AgentTampered
    | AgentDropped
    | AgentIsolated
    | AgentRestored
    | AgentHealth
    | MediaFileWritten
    | DnsResolved
    | NeighbourSeen
    | NeighbourFlood
    | LinkChanged
    | LinkBlocked
    | FileAccessed
    | LogonSucceeded
    | LogonFailed
    | LogonEnded
    | PermitRequested
    | NoticeShown
    | PostureReported
    | ServiceListening
)
"""New kinds come last: the index of stored events counts them by their place."""

KINDS: dict[str, type[Event]] = {kind.__struct_config__.tag: kind for kind in get_args(AnyEvent)}
"""Wire tag → type, in catalogue order."""

encoder = msgspec.msgpack.Encoder()
_event: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)
_events: msgspec.msgpack.Decoder[list[AnyEvent]] = msgspec.msgpack.Decoder(list[AnyEvent])


def kind_of(event: Event) -> str:
    """Return the wire tag, e.g. ``device.attached``."""
    return str(event.__struct_config__.tag)


def encode_event(event: Event) -> bytes:
    """One event as a MessagePack map."""
    return encoder.encode(event)


def decode_event(data: bytes) -> AnyEvent:
    """Read one event. Raises one of ``protocol.refusal.UNREADABLE``."""
    return _event.decode(data)


def decode_events(data: bytes) -> list[AnyEvent]:
    """Read a MessagePack array of events. Raises one of ``protocol.refusal.UNREADABLE``."""
    return _events.decode(data)


def join_encoded(parts: list[bytes]) -> bytes:
    """Put already encoded events into one MessagePack array (array32 header, MessagePack spec "array format")."""
    return b"\xdd" + len(parts).to_bytes(4, "big") + b"".join(parts)
