"""Wireless interfaces by nl80211 over generic netlink: network name, access point, and whether this PC is one.

Sources: kernel ``include/uapi/linux/nl80211.h`` and ``genetlink.h``. GET_INTERFACE names the network a station is in since
Linux 4.19; GET_STATION of a station has one entry, its access point.
"""

from __future__ import annotations

import struct

from agent.platform.link_ports import Radio
from agent.platform.linux.netlink import ACK, DUMP, NetlinkSocket, attribute, attributes
from protocol.refusal import RefusedError

_GENERIC = 16
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GET_INTERFACE, _GET_STATION = 5, 17
_IFINDEX, _IFTYPE, _MAC, _SSID = 3, 5, 6, 52
_STATION, _ACCESS_POINTS = 2, frozenset({3, 9})
"""Interface types: station; access point and P2P group owner."""
_SSID_BYTES = 32


def printable(raw: bytes) -> str:
    """A network name as it can be shown: it is any 32 bytes (IEEE 802.11 §9.4.2.2)."""
    text = raw[:_SSID_BYTES].decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def mac_text(raw: bytes) -> str:
    """``aa:bb:cc:dd:ee:ff``, or empty for what is no MAC."""
    return raw.hex(":") if len(raw) == 6 and any(raw) else ""


def parse_interface(body: bytes) -> tuple[str, int]:
    """(network name, interface type) of one answer. Raises RefusedError ``truncated``."""
    found = attributes(body[4:])
    raw = found.get(_IFTYPE, b"")
    return printable(found.get(_SSID, b"")), struct.unpack("=I", raw)[0] if len(raw) == 4 else 0


class Radios:
    """Asks the wireless stack of the caller's network namespace; without one every radio is silent."""

    def __init__(self) -> None:
        self._netlink: NetlinkSocket | None = None
        self._family = 0
        self.why_silent = ""
        """Why no network name is known on this PC; empty = it is."""

    def look(self, index: int) -> Radio:
        """What an interface is connected to. What cannot be read stays empty."""
        try:
            self._open()
            wanted = struct.pack("=BBH", _GET_INTERFACE, 0, 0) + attribute(_IFINDEX, struct.pack("=I", index))
            (answer, *_) = self._ask(wanted, ACK)
            ssid, kind = parse_interface(answer)
            return Radio(ssid, self._access_point(index) if kind == _STATION else "", kind in _ACCESS_POINTS)
        except (OSError, RefusedError, ValueError) as error:
            self.why_silent = str(error)
            return Radio()

    def _open(self) -> None:
        if self._family:
            return
        self._netlink = self._netlink or NetlinkSocket(_GENERIC)
        name = struct.pack("=BBH", _GET_FAMILY, 1, 0) + attribute(_FAMILY_NAME, b"nl80211\0")
        for message in self._netlink.request(_CONTROL, ACK, name):
            self._family = struct.unpack("=H", attributes(message.body[4:])[_FAMILY_ID])[0]

    def _ask(self, body: bytes, flags: int) -> list[bytes]:
        if self._netlink is None:
            return []
        return [message.body for message in self._netlink.request(self._family, flags, body)]

    def _access_point(self, index: int) -> str:
        wanted = struct.pack("=BBH", _GET_STATION, 0, 0) + attribute(_IFINDEX, struct.pack("=I", index))
        for answer in self._ask(wanted, DUMP):
            return mac_text(attributes(answer[4:]).get(_MAC, b""))
        return ""

    def close(self) -> None:
        """Close the socket."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
            self._family = 0
