"""Interfaces, routes, and the two probes that prove an isolation (DESIGN §8).

Routes by RTM_GETROUTE (rtnetlink(7)). A datagram that the packet filter drops on the way out fails with EPERM at once:
that is how "refused on this PC itself" is told from "lost somewhere".
"""

from __future__ import annotations

import errno
import ipaddress
import select
import socket
import struct
import time

from agent.platform.linux.netlink import NETLINK_ROUTE, NetlinkSocket, attribute, attributes
from agent.platform.network_ports import Hop

_GETROUTE, _NEWROUTE = 26, 24
_DST, _OIF, _GATEWAY, _VIA = 1, 4, 5, 18
_DISCARD = 9
_STAGGER_MS = 80


class LinuxNetwork:
    """Implements ``network_ports.Network`` for the caller's network namespace."""

    def interfaces(self) -> list[str]:
        """In the kernel's order."""
        return [name for _, name in socket.if_nameindex() if name != "lo"]

    def hop(self, address: str) -> Hop | None:
        """Ask the kernel for the route it would take now."""
        parsed = ipaddress.ip_address(address)
        family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
        head = struct.pack("=BBBBBBBBI", family, parsed.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        netlink = NetlinkSocket(NETLINK_ROUTE)
        try:
            answer = netlink.request(_GETROUTE, 0, head + attribute(_DST, parsed.packed))
        except OSError:
            return None
        finally:
            netlink.close()
        routes = [attributes(message.body[12:]) for message in answer if message.type == _NEWROUTE]
        return _hop(routes[0], address) if routes else None

    def reachable(self, addresses: tuple[str, ...], port: int, within_ms: int) -> bool:
        """All addresses at once, and again every 80 ms, since one lost SYN would cost a second."""
        deadline = time.monotonic() + within_ms / 1000
        tries: list[socket.socket] = []
        poller = select.poll()
        try:
            while (left := deadline - time.monotonic()) > 0:
                for address in addresses:
                    if (started := _start(address, port)) is not None:
                        tries.append(started)
                        poller.register(started, select.POLLOUT)
                if _completed(poller, tries, min(left, _STAGGER_MS / 1000)):
                    return True
            return False
        finally:
            for one in tries:
                one.close()

    def escaped(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """One empty datagram to the discard port of each address."""
        return tuple(address for address in addresses if not _is_refused(address))


def _hop(route: dict[int, bytes], address: str) -> Hop | None:
    if _OIF not in route:
        return None
    try:
        interface = socket.if_indextoname(struct.unpack("=I", route[_OIF])[0])
    except OSError:
        return None
    gateway = route.get(_GATEWAY) or route.get(_VIA, b"")[2:]
    return Hop(interface, str(ipaddress.ip_address(gateway)) if gateway else address)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _start(address: str, port: int) -> socket.socket | None:
    one = socket.socket(_family(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if one.connect_ex((address, port)) in (0, errno.EINPROGRESS):
        return one
    one.close()
    return None


def _completed(poller: select.poll, tries: list[socket.socket], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while (left := until - time.monotonic()) > 0:
        for descriptor, _ in poller.poll(left * 1000):
            one = next(one for one in tries if one.fileno() == descriptor)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                return True
            poller.unregister(one)
    return False


def _is_refused(address: str) -> bool:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as one:
        try:
            one.sendto(b"", (address, _DISCARD))
        except PermissionError:
            return True
        except OSError as error:
            # without any route nothing can leave either
            return error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL)
    return False
