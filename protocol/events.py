"""The event catalogue: the single source of what an agent can report.

Each kind is one Struct: its fields (type, doc, unit, data class), its priority class and the OCSF class it maps to.
From here come the wire form (a plain MessagePack map tagged ``kind``), the rule field check and
``docs/generated/events.md``. Times are UTC microseconds by the PC's clock.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta, Struct


class Priority(IntEnum):
    """What a full spool gives up: the highest number first. CRITICAL is never dropped for a lower class."""

    CRITICAL = 0
    VIOLATION = 1
    NOTABLE = 2
    ROUTINE = 3


def field(doc: str, *, unit: str = "", personal: bool = False, max_length: int | None = None) -> Meta:
    """Describe an event field; ``personal`` fields are masked for roles that may not see people."""
    return Meta(description=doc, extra={"unit": unit, "personal": personal}, max_length=max_length)


Action = Literal["observed", "allowed", "blocked", "failed"]
PermitState = Literal["", "granted", "none", "expired", "not_permittable"]

Name = Annotated[str, Meta(max_length=256)]
Path = Annotated[str, Meta(max_length=4096)]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """What every event carries. The sender is never a field: it is the key the connection was made with."""

    priority: ClassVar[Priority] = Priority.ROUTINE
    ocsf: ClassVar[int] = 0
    """OCSF class uid (1.4)."""

    time_us: Annotated[int, field("when it happened, by the PC's clock", unit="µs UTC")]
    action: Annotated[
        Action, field("what the PC did about it; failed = a block was due and did not take")
    ] = "observed"
    permit: Annotated[
        PermitState, field("permit state the PC found; empty = no permit applies to this kind")
    ] = ""
    permit_id: Annotated[Name, field("permit used")] = ""
    zone: Annotated[Name, field("zone of the PC")] = ""
    rules: Annotated[tuple[str, ...], field("ids of the rules that fired on the PC")] = ()
    policy: Annotated[Name, field("policy in force, generation:hash12")] = ""


class ActorEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event a process caused."""

    pid: Annotated[int, field("process id on the PC; 0 = not known")] = 0
    ppid: Annotated[int, field("parent process id")] = 0
    exe: Annotated[Path, field("executable of the process")] = ""
    cmdline: Annotated[Path, field("command line, cut at 4,096 characters", personal=True)] = ""
    uid: Annotated[int, field("numeric user id; -1 = not known")] = -1
    user: Annotated[Name, field("login name", personal=True)] = ""


class _DeviceEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    device_id: Annotated[Name, field("hash over descriptors and serial, the device's identity")] = ""
    device_class: Annotated[
        Name,
        field(
            "storage | phone | network | bluetooth | input | badusb | hub | printer | audio | video | other"
        ),
    ] = ""
    vendor_id: Annotated[Name, field("USB idVendor, four hex digits")] = ""
    product_id: Annotated[Name, field("USB idProduct, four hex digits")] = ""
    serial: Annotated[Name, field("serial number as the device says it")] = ""
    label: Annotated[Name, field("maker and product as the device says them")] = ""
    interfaces: Annotated[tuple[str, ...], field("interface classes cc:ss:pp in hex")] = ()
    port: Annotated[Name, field("bus path below sysfs, e.g. 1-1.2")] = ""


class DeviceAttached(_DeviceEvent, frozen=True, kw_only=True, tag="device.attached"):
    """A device was connected (or was there when the agent started)."""

    priority = Priority.NOTABLE
    ocsf = 5001


class DeviceDetached(_DeviceEvent, frozen=True, kw_only=True, tag="device.detached"):
    """A device was removed."""

    ocsf = 5001


class DeviceBlocked(_DeviceEvent, frozen=True, kw_only=True, tag="device.blocked"):
    """The PC refused a device (``action`` blocked) or failed to (``action`` failed)."""

    priority = Priority.VIOLATION
    ocsf = 5001

    method: Annotated[Name, field("how: usb_authorized | link_down")] = ""
    latency_us: Annotated[int, field("from seeing the device to the block read back", unit="µs")] = 0
    error: Annotated[Name, field("why the block did not take")] = ""


class _MediaEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    source: Annotated[Path, field("block device node")] = ""
    mountpoint: Annotated[Path, field("where it is mounted")] = ""
    fs_type: Annotated[Name, field("file system")] = ""
    read_only: Annotated[bool, field("mounted read-only")] = False
    removable: Annotated[bool, field("the kernel calls it removable, or it is unknown to the asset list")] = (
        False
    )
    media_id: Annotated[Name, field("hash over device serial, file system uuid and size")] = ""
    fs_uuid: Annotated[Name, field("file system uuid")] = ""
    label: Annotated[Name, field("file system label")] = ""
    size: Annotated[int, field("size of the block device", unit="bytes")] = 0
    serial: Annotated[Name, field("serial of the carrying device")] = ""


class MediaMounted(_MediaEvent, frozen=True, kw_only=True, tag="media.mounted"):
    """A removable or unknown block device was mounted."""

    priority = Priority.NOTABLE
    ocsf = 1001


class MediaUnmounted(_MediaEvent, frozen=True, kw_only=True, tag="media.unmounted"):
    """A removable or unknown block device was unmounted."""

    ocsf = 1001


class MediaBlocked(_MediaEvent, frozen=True, kw_only=True, tag="media.blocked"):
    """The PC took a medium away or made it read-only (``action`` blocked), or failed to."""

    priority = Priority.VIOLATION
    ocsf = 1001

    method: Annotated[Name, field("how: unmounted | detached | read_only")] = ""
    latency_us: Annotated[int, field("from the mount seen to the block read back", unit="µs")] = 0
    error: Annotated[Name, field("why the block did not take")] = ""


class _SoftwareEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    source: Annotated[Name, field("dpkg | rpm | pip | npm | user_place")] = ""
    name: Annotated[Path, field("package name, or path of a program in a user place")] = ""
    version: Annotated[Name, field("version")] = ""
    previous_version: Annotated[Name, field("version before, for software.changed")] = ""
    digest: Annotated[Name, field("SHA-256 of the program, for user places")] = ""
    owner: Annotated[Name, field("owner of the place, for user places", personal=True)] = ""


class SoftwareInstalled(_SoftwareEvent, frozen=True, kw_only=True, tag="software.installed"):
    """Software appeared that was not there before."""

    priority = Priority.NOTABLE
    ocsf = 5020


class SoftwareRemoved(_SoftwareEvent, frozen=True, kw_only=True, tag="software.removed"):
    """Software disappeared."""

    priority = Priority.NOTABLE
    ocsf = 5020


class SoftwareChanged(_SoftwareEvent, frozen=True, kw_only=True, tag="software.changed"):
    """Software changed its version or content."""

    priority = Priority.NOTABLE
    ocsf = 5020


class _ExecEvent(ActorEvent, frozen=True, kw_only=True, omit_defaults=True):
    target: Annotated[Path, field("file that was executed")] = ""
    digest: Annotated[Name, field("SHA-256 of that file")] = ""
    package: Annotated[Name, field("package that owns it; empty = none")] = ""
    on_media: Annotated[bool, field("it lies on a removable or unknown medium")] = False


class ProcessStarted(_ExecEvent, frozen=True, kw_only=True, tag="process.started"):
    """A program was started; ``exe`` and ``cmdline`` are those of the caller."""

    ocsf = 1007


class ProcessDenied(_ExecEvent, frozen=True, kw_only=True, tag="process.denied"):
    """A program was refused by the execution gate."""

    priority = Priority.VIOLATION
    ocsf = 1007

    reason: Annotated[Name, field("no_cover | on_media | changed | gate_unsure")] = ""


class _ConnectionEvent(ActorEvent, frozen=True, kw_only=True, omit_defaults=True):
    protocol: Annotated[Name, field("tcp | udp | icmp | icmpv6 | number")] = ""
    src_ip: Annotated[Name, field("source address")] = ""
    src_port: Annotated[int, field("source port")] = 0
    dest_ip: Annotated[Name, field("destination address")] = ""
    dest_port: Annotated[int, field("destination port; ICMP type for icmp")] = 0
    dest_zone: Annotated[Name, field("zone of the destination")] = ""
    direction: Annotated[Literal["out", "in"], field("seen from the PC")] = "out"
    count: Annotated[int, field("packets folded into this event")] = 1


class ConnectionOpened(_ConnectionEvent, frozen=True, kw_only=True, tag="connection.opened"):
    """A connection was opened."""

    ocsf = 4001


class ConnectionBlocked(_ConnectionEvent, frozen=True, kw_only=True, tag="connection.blocked"):
    """A connection was stopped on the PC."""

    priority = Priority.VIOLATION
    ocsf = 4001

    latency_us: Annotated[int, field("from the packet to the socket destroyed", unit="µs")] = 0
    attribution: Annotated[Name, field("how the process was found: bpf | sock_diag | none")] = ""


class _AgentEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    priority = Priority.CRITICAL
    ocsf = 1008

    detail: Annotated[Path, field("what, where, and what to do next")] = ""


class AgentStarted(_AgentEvent, frozen=True, kw_only=True, tag="agent.started"):
    """The agent started."""

    version: Annotated[Name, field("agent version")] = ""
    boot_id: Annotated[Name, field("kernel boot id")] = ""
    after_crash: Annotated[bool, field("the run before did not end cleanly")] = False


class AgentStopped(_AgentEvent, frozen=True, kw_only=True, tag="agent.stopped"):
    """The agent stopped by request."""


class AgentPolicyApplied(_AgentEvent, frozen=True, kw_only=True, tag="agent.policy_applied"):
    """A policy bundle took effect, or was refused (``action`` failed, ``refusal`` names why)."""

    generation: Annotated[int, field("bundle generation")] = 0
    digest: Annotated[Name, field("SHA-256 of the bundle, hex")] = ""
    refusal: Annotated[Name, field("name of the refusal")] = ""


class AgentTampered(_AgentEvent, frozen=True, kw_only=True, tag="agent.tampered"):
    """Somebody changed what the agent had set (a ruleset flushed, a gate killed, an authorisation rewritten)."""

    what: Annotated[Name, field("which control")] = ""
    by: Annotated[Name, field("process that did it, if known")] = ""
    repaired: Annotated[bool, field("put back")] = False


class AgentDropped(_AgentEvent, frozen=True, kw_only=True, tag="agent.dropped"):
    """Events that were given up or unreadable, as ranges of sequence numbers."""

    reason: Annotated[Name, field("spool_full | corrupt | sensor_overflow | disk_full")] = ""
    ranges: Annotated[tuple[tuple[int, int], ...], field("first and last sequence number of each range")] = ()
    count: Annotated[int, field("how many; for sensors that overflow: at least how many")] = 0
    source: Annotated[Name, field("sensor, or spool")] = ""


class AgentIsolated(_AgentEvent, frozen=True, kw_only=True, tag="agent.isolated"):
    """An isolation order was carried out (or refused / failed), with the probes that prove it."""

    order_id: Annotated[Name, field("order")] = ""
    must_succeed: Annotated[bool, field("the probe that must succeed did")] = False
    must_fail: Annotated[bool, field("the probe that must fail did fail")] = False
    sockets_destroyed: Annotated[int, field("established sockets ended")] = 0
    latency_us: Annotated[int, field("order accepted to rules in force", unit="µs")] = 0
    refusal: Annotated[Name, field("name of the refusal")] = ""


class AgentRestored(_AgentEvent, frozen=True, kw_only=True, tag="agent.restored"):
    """Isolation was lifted, by order or by a local release code."""

    order_id: Annotated[Name, field("restore order, or the isolation order a code belonged to")] = ""
    by_code: Annotated[bool, field("lifted on the PC with a one-time code")] = False
    refusal: Annotated[Name, field("name of the refusal")] = ""


class AgentHealth(_AgentEvent, frozen=True, kw_only=True, tag="agent.health"):
    """A control changed its health: a code was raised or cleared."""

    priority = Priority.NOTABLE

    code: Annotated[Name, field("stable health code")] = ""
    raised: Annotated[bool, field("raised, or cleared")] = True


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
)

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
