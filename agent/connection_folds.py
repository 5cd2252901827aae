"""Repeats of one event within a window become its ``count``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

from protocol.events import ConnectionBlocked, ConnectionOpened, DnsResolved

Folded = TypeVar("Folded", bound=ConnectionBlocked | ConnectionOpened | DnsResolved)
MOST = 4096
"""Distinct repeats that are kept before they are reported ahead of the window's end."""


class Folder(Generic[Folded]):
    """The first of each key is reported at once, the others at the end of the window, together."""

    def __init__(self, key: Callable[[Folded], Hashable]) -> None:
        self._key = key
        self._first: set[Hashable] = set()
        self._repeats: dict[Hashable, Folded] = {}

    def fold(self, event: Folded) -> list[Folded]:
        """What is to be reported now."""
        key = self._key(event)
        if key not in self._first:
            due = self.flush() if len(self._first) >= MOST else []
            self._first.add(key)
            return [*due, event]
        held = self._repeats.get(key)
        self._repeats[key] = msgspec.structs.replace(held, count=held.count + event.count) if held else event
        return []

    def flush(self) -> list[Folded]:
        """The window is over: the repeats, each with how many there were. A key that went on stays folded."""
        due = list(self._repeats.values())
        self._first = set(self._repeats)
        self._repeats = {}
        return due


def by_process(event: ConnectionBlocked | ConnectionOpened) -> Hashable:
    """Each process by itself: what was stopped is told of everybody."""
    return event.pid, event.dest_ip, event.dest_port, event.protocol


def by_person(event: ConnectionOpened) -> Hashable:
    """Programs of one person that use one service are one."""
    return event.action, event.uid, event.exe, event.dest_ip, event.dest_port, event.protocol


def by_question(event: DnsResolved) -> Hashable:
    """The same question of the same program to the same server, with the same end."""
    return event.uid, event.exe, event.query, event.query_type, event.server, event.rcode


_SERVICES = {
    "web": (80, 443, 3128, 8000, 8008, 8080, 8443, 8888),
    "mail": (25, 110, 143, 465, 587, 993, 995, 2525),
    "dns": (53, 853, 5353),
    "file": (20, 21, 111, 137, 138, 139, 445, 548, 873, 989, 990, 2049),
    "remote": (22, 23, 512, 513, 514, 1494, 2598, 3389, *range(5900, 5911), 5938, 5985, 5986, 7070),
}
_BY_PORT = {port: name for name, ports in _SERVICES.items() for port in ports}


def service_of(protocol: str, port: int) -> str:
    """What a connection is for, by port and protocol alone; ICMP has no service."""
    return _BY_PORT.get(port, "other") if protocol in {"tcp", "udp"} else ""
