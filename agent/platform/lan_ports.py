"""What the agent needs to see who else is on its LAN, as Protocols (see ``ports``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct


class Capture(Protocol):
    """Frames by which machines show themselves, from one interface, without the PC's own. Never blocks."""

    def fileno(self) -> int: ...

    def frames(self, most: int) -> Iterable[bytes]:
        """At most so many of those that wait. Raises OSError when the interface is gone."""
        ...

    def lost(self) -> int:
        """How many the kernel dropped since the last call."""
        ...

    def close(self) -> None: ...


class SwitchPort(Struct, frozen=True, kw_only=True):
    """Where an interface is plugged in, as the switch says: ``via`` lldp | cdp."""

    via: str
    switch: str
    port: str
    mac: str = ""
    """MAC the switch sent it with."""
    ip: str = ""
    """Management address."""


class SwitchListener(Protocol):
    """A short-lived child process that waits for a switch to name itself."""

    def fileno(self) -> int:
        """Readable when it has ended."""
        ...

    def result(self) -> SwitchPort | None:
        """What it heard; None = nothing (no such switch), or it failed. Ends it."""
        ...

    def close(self) -> None: ...


class Lan(Protocol):
    """The LANs this PC is on."""

    def capture(self, interface: str) -> Capture:
        """Open one. Raises UnsupportedError ``capture_unsupported``; OSError when there is no such interface."""
        ...

    def gateway_mac(self, interface: str, address: str) -> str:
        """MAC of a gateway, or empty while it is not known; then the kernel is asked to find it out."""
        ...

    def listen(self, interface: str, seconds: float) -> SwitchListener:
        """Start waiting for LLDP or CDP. Raises OSError."""
        ...
