"""What the agent needs of network links and of name look-ups, as Protocols (see ``ports``)."""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

LinkType = Literal["wired", "wireless", "tether", "vpn", "bridge", "bluetooth", "modem", "other"]


class Radio(Struct, frozen=True):
    """A wireless interface as its driver tells it; all empty where it does not."""

    ssid: str = ""
    bssid: str = ""
    access_point: bool = False


class Link(Struct, frozen=True, kw_only=True):
    """A network interface. ``up`` is the switch, ``running`` that it is connected as well."""

    name: str
    link_type: LinkType
    index: int = 0
    mac: str = ""
    up: bool = True
    running: bool = True
    real: bool = True
    """Hardware is behind it; false for what only connects virtual machines and containers, and for tunnels."""
    master: str = ""
    """Bridge or bond it is a port of."""
    below: str = ""
    """Interface it runs on (VLAN, macvlan)."""
    addresses: tuple[str, ...] = ()
    """With prefix length, link-local ones left out, in order."""
    radio: Radio = Radio()


class Gateway(Struct, frozen=True):
    """A default route, or one that stands for it (half of all addresses). ``address`` is empty on a line with two ends."""

    interface: str
    address: str = ""
    metric: int = 0
    version: int = 4


class LinkState(Struct, frozen=True, kw_only=True):
    """The links of a PC at one moment."""

    links: tuple[Link, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    """The one in use first."""
    resolvers: tuple[str, ...] = ()
    forwarding: bool = False
    """The PC passes packets on between its links."""


class Links(Protocol):
    """Network links of this PC."""

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that become readable when a link, an address, a route or a name server may have changed."""
        ...

    def changed(self) -> bool:
        """Drain them; never blocks. Tells whether something may have changed. Raises OverflowedError."""
        ...

    def state(self) -> LinkState:
        """Read everything now. Raises OSError."""
        ...

    def switch(self, name: str, *, up: bool) -> None:
        """Switch an interface and read it back. Raises OSError."""
        ...

    def close(self) -> None: ...


class Routes(Protocol):
    """Default routes of this PC."""

    def find(self, gateway: Gateway) -> list[bytes]:
        """The routes that lead through a gateway, in the kernel's form. Raises OSError."""
        ...

    def remove(self, route: bytes) -> None:
        """Take a route away. Raises OSError."""
        ...

    def restore(self, route: bytes) -> None:
        """Bring it back; one that is there already is well. Raises OSError."""
        ...


class Answer(Struct, frozen=True, kw_only=True):
    """A name server's answer that arrived from the network; ``port`` is the asker's."""

    server: str
    port: int
    protocol: Literal["udp", "tcp"]
    query: str
    query_type: str
    rcode: str
    answers: tuple[str, ...] = ()
    addresses: tuple[tuple[str, int], ...] = ()
    """Addresses answered, each with the seconds it holds."""


class NameLog(Protocol):
    """Answers of name servers. Bounded, never blocks."""

    def filenos(self) -> tuple[int, ...]: ...

    def answers(self) -> list[Answer]:
        """Drain what arrived."""
        ...

    def lost(self) -> int:
        """How many packets were dropped since the last call."""
        ...

    def close(self) -> None: ...
