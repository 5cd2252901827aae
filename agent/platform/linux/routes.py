"""Default routes taken away and brought back, exactly as the kernel listed them (rtnetlink(7))."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from agent.platform.link_ports import Gateway
from agent.platform.linux import route_messages as rt
from agent.platform.linux.netlink import ACK, DUMP, NETLINK_ROUTE, NetlinkSocket
from protocol.refusal import RefusedError

_CREATE = 0x400


class LinuxRoutes:
    """Implements ``link_ports.Routes`` for the caller's network namespace."""

    def find(self, gateway: Gateway) -> list[bytes]:
        """Raises OSError, also when the interface is gone."""
        family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
        wanted = socket.if_nametoindex(gateway.interface), gateway.address
        found = []
        with _netlink() as netlink:
            for message in netlink.request(rt.GETROUTE, DUMP, bytes([family]) + bytes(11)):
                with contextlib.suppress(RefusedError):
                    hops = rt.parse_routes(message.body) if message.type == rt.NEWROUTE else ()
                    if any((hop.index, hop.gateway) == wanted for hop in hops):
                        found.append(message.body)
        return found

    def remove(self, route: bytes) -> None:
        """Raises OSError."""
        with _netlink() as netlink:
            netlink.request(rt.DELROUTE, ACK, route)

    def restore(self, route: bytes) -> None:
        """Raises OSError."""
        with _netlink() as netlink, contextlib.suppress(FileExistsError):
            netlink.request(rt.NEWROUTE, ACK | _CREATE, route)


@contextmanager
def _netlink() -> Iterator[NetlinkSocket]:
    netlink = NetlinkSocket(NETLINK_ROUTE)
    try:
        yield netlink
    finally:
        netlink.close()
