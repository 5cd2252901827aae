"""What the agent needs to see logons, the PC's own protection and its services, as Protocols (see ``ports``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from msgspec import Struct

from agent.platform.ports import ProcessInfo


class Logon(Struct, frozen=True, kw_only=True):
    """One thing that was written down about logons. ``session`` is the same at both ends of a session, or empty.

    ``booted``: the PC started (or stopped): every session that was open has ended.
    """

    what: Literal["succeeded", "failed", "ended", "booted"]
    time_us: int
    user: str = ""
    uid: int = -1
    service: str = ""
    terminal: str = ""
    session: str = ""
    host: str = ""
    """Where it came from, as it was written down; empty = this PC."""
    address: str = ""
    target_user: str = ""
    reason: str = ""
    pid: int = 0


class LogonLog(Protocol):
    """Logons as the PC writes them down. It remembers on disk how far it has read."""

    def open_sessions(self) -> list[Logon]:
        """Sessions that are open now, each as its beginning was written down; nothing is told twice for it."""
        ...

    def logons(self) -> Iterable[Logon]:
        """What was written since the last call; cheap when nothing was. Raises OverflowedError when some was skipped."""
        ...

    def alive(self, pid: int) -> bool:
        """Whether the process of a session still lives."""
        ...

    def close(self) -> None: ...


class Listener(Struct, frozen=True, kw_only=True):
    """A socket that waits for other machines. ``inode`` finds its process."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    uid: int = -1
    inode: int = 0


class Listeners(Protocol):
    """Listening sockets of this PC."""

    def listening(self) -> list[Listener]:
        """All that other machines can reach; sockets on loopback are left out. Raises OSError."""
        ...

    def holder(self, listener: Listener) -> ProcessInfo | None:
        """The process that holds a socket; None when it is gone."""
        ...

    def close(self) -> None: ...


class Posture(Struct, frozen=True, kw_only=True):
    """The PC's own protection as measured; the fields are those of ``posture.reported``."""

    firewall: str = "unknown"
    firewall_by: str = ""
    antivirus: str = ""
    antivirus_running: bool = False
    signature_age_h: int = -1
    encryption: str = "unknown"
    update_age_days: int = -1
    updates_pending: int = -1
    os: str = ""
    reboot_required: bool = False
    autorun: str = "unknown"


class PostureProbe(Protocol):
    """Looks at the PC's own protection. ``measure`` takes a few milliseconds and starts no process."""

    def measure(self, now_us: int, updates_pending: int) -> Posture:
        """What is there now; ``updates_pending`` as last counted. What cannot be found out is ``unknown``, empty or -1."""
        ...

    def updates_stamp(self) -> tuple[int, ...]:
        """Differs when the updates that wait may differ."""
        ...

    def count_updates(self) -> UpdateCount | None:
        """Start counting the updates that wait, in a process of its own; None where nothing can count them."""
        ...


class UpdateCount(Protocol):
    """A count under way. ``result`` is None until its descriptor is ready and at its end; -1 = it failed."""

    def fileno(self) -> int: ...

    def result(self) -> int | None: ...

    def close(self) -> None: ...


FIRST_PERSON = 1000
"""Lower user ids belong to services, root apart (login.defs(5))."""


class Person(Struct, frozen=True):
    """Somebody who is logged on. ``bus``: socket of the desktop's message bus, ``terminals``: device files."""

    uid: int
    gid: int
    user: str
    bus: str = ""
    terminals: tuple[str, ...] = ()


WhoIsThere = Callable[[], list[Person]]
