"""The condition of the PC itself: protection, updates, services."""

from __future__ import annotations

from typing import Annotated

from protocol.catalogue.base import ActorEvent, Event, Name, Priority, field


class PostureReported(Event, frozen=True, kw_only=True, tag="posture.reported"):
    """State of the PC's own protection; told at the start, when something changed, and once a day.

    ``blocked``: for want of it the PC cannot reach outside the city from now on; ``allowed``: now it can again.
    """

    priority = Priority.NOTABLE
    ocsf = 5002

    firewall: Annotated[Name, field("on | off | unknown: whether incoming connections are filtered")] = (
        "unknown"
    )
    firewall_by: Annotated[Name, field("what filters: nftables table, ufw, firewalld …")] = ""
    antivirus: Annotated[Name, field("name and version; empty = none found")] = ""
    antivirus_running: Annotated[bool, field("its scanner runs")] = False
    signature_age_h: Annotated[int, field("age of the newest signatures; -1 = not known", unit="h")] = -1
    encryption: Annotated[Name, field("full | partial | none | unknown: disks that hold / and homes")] = (
        "unknown"
    )
    update_age_days: Annotated[
        int, field("since packages were last brought up to date; -1 = not known", unit="days")
    ] = -1
    updates_pending: Annotated[int, field("updates known and not installed; -1 = not known")] = -1
    os: Annotated[Name, field("operating system and version")] = ""
    reboot_required: Annotated[bool, field("an update waits for a restart")] = False
    autorun: Annotated[Name, field("on | off | unknown: programs on media start by themselves")] = "unknown"


class ServiceListening(ActorEvent, frozen=True, kw_only=True, tag="service.listening"):
    """A service began to listen for connections from other machines (Kameoka 16)."""

    priority = Priority.NOTABLE
    ocsf = 4001

    protocol: Annotated[Name, field("tcp | udp")] = ""
    address: Annotated[Name, field("address it listens on")] = ""
    port: Annotated[int, field("port")] = 0
    package: Annotated[Name, field("package that owns the program; empty = none")] = ""
    known: Annotated[bool, field("it was there when this PC was first looked at")] = False
