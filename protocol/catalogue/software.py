"""Software that is there, and programs that run."""

from __future__ import annotations

from typing import Annotated

from protocol.catalogue.base import ActorEvent, Event, Name, Path, Priority, field


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

    args: Annotated[
        Path, field("command line of the started program; empty = it ended before it was read", personal=True)
    ] = ""


class ProcessDenied(_ExecEvent, frozen=True, kw_only=True, tag="process.denied"):
    """A program was refused by the execution gate."""

    priority = Priority.VIOLATION
    ocsf = 1007

    reason: Annotated[Name, field("no_cover | on_media | changed | gate_unsure")] = ""
