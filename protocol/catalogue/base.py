"""What every event has in common, and the words its fields are described with."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, ClassVar, Literal

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
