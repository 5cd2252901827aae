"""Links, addresses, default routes and name servers: told by rtnetlink and inotify, read whole each time.

What the notifications say is not pieced together: they only tell that it is time to look. A look is six dumps (below 1 ms on a
PC), and what it finds is true; a link that came and went between two looks is not seen.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from agent.platform.link_ports import Gateway, Link, LinkState, Radio
from agent.platform.linux import route_messages as rt
from agent.platform.linux.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    Inotify,
)
from agent.platform.linux.link_kinds import is_real, link_type
from agent.platform.linux.netlink import ACK, DUMP, NETLINK_ROUTE, NetlinkSocket, lost, messages
from agent.platform.linux.resolvers import read_resolvers, watched
from agent.platform.ports import OverflowedError, UnsupportedError
from protocol.refusal import RefusedError

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 1 << 23 | 1 << 24
"""Links, IPv4 and IPv6 addresses, routes, and settings (forwarding)."""
_BUFFER = 1 << 20
_DATAGRAMS = 256
"""Datagrams per call, so that a storm cannot starve the agent's loop."""
_FILE_EVENTS = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
Parsed = TypeVar("Parsed")


class RadioReader(Protocol):
    """What knows wireless interfaces (``linux.wireless.Radios``)."""

    def look(self, index: int) -> Radio: ...

    def close(self) -> None: ...


class LinuxLinks:
    """Implements ``link_ports.Links`` for the network namespace of the thread that makes it.

    Raises UnsupportedError ``rtnetlink_unsupported``.
    """

    def __init__(self, sys: Path, root: Path, radios: RadioReader) -> None:
        self._sys, self._root, self._radios = sys, root, radios
        try:
            self._netlink = NetlinkSocket(NETLINK_ROUTE)
        except OSError as error:
            raise UnsupportedError("rtnetlink_unsupported", str(error)) from error
        self._watch: NetlinkSocket | None = None
        self._files: Inotify | None = None
        self._names: dict[str, set[str]] = {}

    def filenos(self) -> tuple[int, ...]:
        """One of rtnetlink, one of inotify; watches from the first call on. Raises UnsupportedError."""
        if self._watch is None:
            try:
                self._watch = NetlinkSocket(NETLINK_ROUTE, groups=_GROUPS, buffer=_BUFFER)
            except OSError as error:
                raise UnsupportedError(
                    "rtnetlink_unsupported", str(error), "run the agent as root"
                ) from error
            with contextlib.suppress(
                OSError
            ):  # out of instances: name servers are then seen at the next look
                self._files = Inotify()
            self._watch_files()
        return (self._watch.fileno(), *((self._files.fileno(),) if self._files else ()))

    def changed(self) -> bool:
        """Raises OverflowedError when notifications were lost."""
        files = self._files_changed()
        return self._lines_changed() or files

    def _lines_changed(self) -> bool:
        found = False
        for _ in range(_DATAGRAMS if self._watch else 0):
            try:
                data = self._watch.receive() if self._watch else None
            except OSError as error:
                if lost(error):
                    raise OverflowedError("rtnetlink") from error
                raise
            if data is None:
                break
            try:
                found = any(rt.is_about_lines(one) for one in messages(data)) or found
            except RefusedError:
                found = True
        return found

    def _files_changed(self) -> bool:
        if self._files is None:
            return False
        return any(name in self._names.get(folder, ()) for folder, _, name in self._files.read())

    def _watch_files(self) -> None:
        """Folders appear late, and a symlink may lead elsewhere now; watching one twice changes nothing."""
        if self._files is not None:
            self._names = watched(self._root)
            for folder in self._names:
                with contextlib.suppress(OSError):
                    self._files.add(folder, _FILE_EVENTS)

    def state(self) -> LinkState:
        """Raises OSError."""
        self._watch_files()
        raw = [one for one in self._dump(rt.GETLINK, rt.NEWLINK, bytes(16), rt.parse_link) if one is not None]
        addresses: dict[int, list[str]] = {}
        for one in self._dump(rt.GETADDR, rt.NEWADDR, bytes(8), rt.parse_address):
            if one is not None:
                addresses.setdefault(one[0], []).append(one[1])
        names = {one.index: one.name for one in raw}
        return LinkState(
            links=tuple(self._link(one, names, tuple(sorted(addresses.get(one.index, ())))) for one in raw),
            gateways=self._gateways(names),
            resolvers=read_resolvers(self._root),
            forwarding=self._forwards(names),
        )

    def _link(self, raw: rt.RawLink, names: dict[int, str], addresses: tuple[str, ...]) -> Link:
        master = names.get(raw.master, "")
        kind = link_type(self._sys, raw.name, raw.kind, raw.arp_type, port=bool(master))
        # A wireless link carries nothing before its keys are set, and its network name is known by then.
        running = raw.up and (raw.operating if kind == "wireless" else raw.carrier)
        return Link(
            name=raw.name,
            link_type=kind,
            index=raw.index,
            mac=raw.mac,
            up=raw.up,
            running=running,
            real=is_real(self._sys, raw.name, kind),
            master=master,
            below=names.get(raw.below, ""),
            addresses=addresses[:16],
            radio=self._radios.look(raw.index) if kind == "wireless" and raw.up else Radio(),
        )

    def _gateways(self, names: dict[int, str]) -> tuple[Gateway, ...]:
        """In the order the kernel prefers them: the narrower route, then the smaller metric."""
        found: list[rt.RawRoute] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for hops in self._dump(rt.GETROUTE, rt.NEWROUTE, bytes([family]) + bytes(11), _routes):
                found += hops
        found.sort(key=lambda one: (one.version, -one.prefix, one.metric, one.index))
        known: dict[tuple[int, str, int], Gateway] = {}
        for one in found:
            if one.index in names:
                gateway = Gateway(names[one.index], one.gateway, one.metric, one.version)
                known.setdefault((one.index, one.gateway, one.version), gateway)
        return tuple(known.values())

    def _forwards(self, names: dict[int, str]) -> bool:
        """Whether at least two links pass packets on to each other."""
        for family in (socket.AF_INET, socket.AF_INET6):
            passing = set()
            with contextlib.suppress(OSError):  # a kernel without IPv6
                for one in self._dump(
                    rt.GETNETCONF, rt.NEWNETCONF, bytes([family, 0, 0, 0]), rt.parse_forwarding
                ):
                    if one is not None and one[1] and one[0] in names:
                        passing.add(one[0])
            if len(passing) > 1:
                return True
        return False

    def _dump(self, ask: int, answer: int, body: bytes, parse: Callable[[bytes], Parsed]) -> Iterator[Parsed]:
        for message in self._netlink.request(ask, DUMP, body):
            if message.type == answer:
                try:
                    yield parse(message.body)
                except RefusedError as refusal:
                    raise OSError(f"rtnetlink: {refusal.detail}") from refusal

    def switch(self, name: str, *, up: bool) -> None:
        """Raises OSError: gone, not allowed, or it did not stay."""
        index = socket.if_nametoindex(name)
        flags = rt.IFF_UP if up else 0
        self._netlink.request(rt.NEWLINK, ACK, rt.LINK_HEAD.pack(0, 0, 0, index, flags, rt.IFF_UP))
        for message in self._netlink.request(rt.GETLINK, ACK, rt.LINK_HEAD.pack(0, 0, 0, index, 0, 0)):
            if (
                message.type == rt.NEWLINK
                and bool(rt.LINK_HEAD.unpack_from(message.body)[4] & rt.IFF_UP) != up
            ):
                raise OSError(f"{name} reads back {'down' if up else 'up'}")

    def close(self) -> None:
        """Stop watching."""
        self._netlink.close()
        self._radios.close()
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._files is not None:
            self._files.close()
            self._files = None


def _routes(body: bytes) -> list[rt.RawRoute]:
    return list(rt.parse_routes(body))
