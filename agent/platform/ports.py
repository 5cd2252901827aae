"""What the agent needs of an operating system, as Protocols of at most five methods.

An implementation raises :class:`UnsupportedError` when this PC cannot do it. No stub that returns success: the sensor or
enforcer is then *not running*, and its health code says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

from msgspec import Struct


class UnsupportedError(Exception):
    """This PC cannot do what was asked. ``code`` is a health code, ``why`` what lacks, ``hint`` what to do."""

    def __init__(self, code: str, why: str, hint: str = "") -> None:
        super().__init__(f"{code}: {why}" + (f" ({hint})" if hint else ""))
        self.code = code
        self.why = why
        self.hint = hint


class OverflowedError(Exception):
    """A kernel queue overflowed: at least one event was lost; the caller re-reads the state and reports it."""


class Readiness(Struct, frozen=True):
    """Can this PC do a control? ``level`` enforce | observe | unsupported, and why."""

    level: Literal["enforce", "observe", "unsupported"]
    why: str = ""
    hint: str = ""


class ProcessInfo(Struct, frozen=True, kw_only=True):
    """A process as it was when looked at."""

    pid: int
    ppid: int = 0
    exe: str = ""
    cmdline: str = ""
    uid: int = -1
    user: str = ""


class Processes(Protocol):
    """Processes of this PC."""

    def info(self, pid: int) -> ProcessInfo | None:
        """Look at a process; None when it is gone."""
        ...

    def live(self, pid: int) -> ProcessInfo | None:
        """As :meth:`info`, without what is remembered: that may be older than what the process did last."""
        ...

    def user(self, uid: int) -> str:
        """Login name of a user id, or empty."""
        ...

    def remember(self, info: ProcessInfo) -> None:
        """Keep what a synchronous source (execution gate, BPF) knew about a process that may be gone at once."""
        ...


class Device(Struct, frozen=True, kw_only=True):
    """A device on a bus. ``path`` is below the sysfs root."""

    path: str
    device_class: str
    device_id: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    label: str = ""
    interfaces: tuple[str, ...] = ()
    authorized: bool = True


class DeviceChange(Struct, frozen=True):
    """A device came, went, or changed."""

    action: Literal["add", "remove", "change"]
    path: str
    device: Device | None


class DeviceBus(Protocol):
    """Hot-pluggable devices. ``changes`` never blocks and raises OverflowedError when some were lost."""

    def fileno(self) -> int: ...

    def devices(self) -> list[Device]: ...

    def changes(self) -> Iterable[DeviceChange]: ...

    def authorize(self, path: str, *, allowed: bool) -> None:
        """Allow or cut a device and read the result back. Raises OSError or UnsupportedError."""
        ...

    def close(self) -> None: ...


class Mount(Struct, frozen=True, kw_only=True):
    """A mounted block device that is removable or unknown."""

    mount_id: int
    source: str
    mountpoint: str
    fs_type: str
    read_only: bool
    removable: bool
    media_id: str
    fs_uuid: str = ""
    label: str = ""
    size: int = 0
    serial: str = ""


class Mounts(Protocol):
    """The mount table. ``fileno`` signals POLLPRI when it changes."""

    def fileno(self) -> int: ...

    def mounts(self) -> list[Mount]: ...

    def remove(self, mount: Mount) -> str:
        """Take the medium away; returns how (``unmounted`` | ``detached``), read back. Raises OSError."""
        ...

    def make_read_only(self, mount: Mount) -> None:
        """Remount read-only, read back. Raises OSError."""
        ...

    def close(self) -> None: ...


class Package(Struct, frozen=True):
    """Installed software: ``source`` dpkg | rpm | pip | npm | user_place."""

    source: str
    name: str
    version: str
    digest: str = ""
    owner: str = ""


SoftwareSource = Literal["dpkg", "rpm", "pip", "npm", "user_place"]


class Packages(Protocol):
    """Installed software of this PC."""

    def watched(self, source: SoftwareSource) -> Iterator[str]:
        """Directories whose change means a new inventory of a source is due. May take seconds."""
        ...

    def recall(self, known: dict[tuple[int, ...], str]) -> dict[tuple[int, ...], str]:
        """Use digests of programs made before (by numbers of their stat); returns a dict that fills with those in use."""
        ...

    def installed(self, source: SoftwareSource) -> Iterator[Package]:
        """What one source has installed now. May take seconds: not for the main loop. Raises OSError when its database
        cannot be read.
        """
        ...

    def examine(self, path: str) -> Package | None:
        """The program at a path in a user place, or None: gone, no program, or a package's own file."""
        ...

    def owner(self, path: str) -> Package | None:
        """The package that owns a file, or None."""
        ...


class SoftwareChange(Struct, frozen=True):
    """Something changed in a source; ``path``: which program of the user places, empty = look at the whole source."""

    source: SoftwareSource
    path: str = ""


class SoftwareWatch(Protocol):
    """Tells when software may have changed. ``changes`` never blocks and raises OverflowedError after a loss."""

    def fileno(self) -> int: ...

    def changes(self) -> Iterable[SoftwareChange]: ...

    def watch(self, source: SoftwareSource, folders: Iterable[str]) -> bool:
        """Watch folders (again) for a source; False when not all of them could be watched."""
        ...

    def is_program(self, path: str) -> bool:
        """Whether there is something executable now that a look at it could find."""
        ...

    def close(self) -> None: ...


class Firewall(Protocol):
    """The PC's packet filter, changed by whole transactions."""

    def apply(self, ruleset: str) -> None:
        """Load a ruleset text atomically. Raises OSError with the filter's own words."""
        ...

    def tables(self) -> set[tuple[str, str]]:
        """(family, name) of all tables present."""
        ...

    def listing(self, family: str, name: str) -> str:
        """One table as text, with counters; empty when it is not there."""
        ...

    def chains(self) -> str:
        """All chains as text, without their rules."""
        ...

    def close(self) -> None: ...


class FirewallWatch(Protocol):
    """Tells who changes the packet filter. Each watcher has its own."""

    def fileno(self) -> int: ...

    def changed_by(self) -> list[str]:
        """Drain: ``pid:name`` of foreign processes that changed the ruleset since. Raises OverflowedError."""
        ...

    def close(self) -> None: ...


class Packet(Struct, frozen=True, kw_only=True):
    """A packet the filter logged. ``prefix`` is that of the rule."""

    prefix: str
    protocol: str
    src_ip: str
    src_port: int
    dest_ip: str
    dest_port: int
    uid: int = -1
    direction: Literal["out", "in"] = "out"
    mark: int = 0
    """Packet mark; the firewall's log rules put the socket's stamp there (``linux.bpf``)."""


class PacketLog(Protocol):
    """Packets logged by the filter. ``packets`` never blocks and raises OverflowedError when some were lost."""

    def fileno(self) -> int: ...

    def packets(self) -> Iterable[Packet]: ...

    def close(self) -> None: ...


class Sockets(Protocol):
    """Sockets of this PC."""

    why_no_stamps: str
    """Why senders that end at once cannot be named on this PC; empty = they can."""

    def owner(self, packet: Packet) -> tuple[ProcessInfo | None, str]:
        """The process behind a logged packet, and how it was found (``bpf`` | ``sock_diag`` | ``none``)."""
        ...

    def destroy(self, packet: Packet) -> bool:
        """End the socket behind a packet."""
        ...

    def destroy_where(self, doomed: Callable[[Packet], bool]) -> int:
        """End every TCP and UDP socket with a peer that is ``doomed``, unless it was accepted; returns how many."""
        ...

    def destroy_all_but(self, addresses: tuple[str, ...]) -> int:
        """End every TCP and UDP socket with a peer outside ``addresses`` and loopback; returns how many."""
        ...
