"""Login records: ``struct utmp`` of glibc on 64-bit Linux, 384 bytes (utmp(5)), in wtmp, btmp and utmp."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from msgspec import Struct

RUN_LEVEL, BOOT_TIME, LOGIN_PROCESS, USER_PROCESS, DEAD_PROCESS = 1, 2, 6, 7, 8
RECORD = struct.Struct("=hxxi32s4s32s256shhiIi16s20x")
SIZE = RECORD.size
_LATEST_S = 4_102_444_800
"""A time after the year 2100 is garbage; read without sign, the 32 bits last until 2106."""


class Record(Struct, frozen=True):
    """One login record. ``time_us`` is UTC µs; ``address`` empty = none was written."""

    type: int
    pid: int
    line: str
    user: str
    host: str
    address: str
    time_us: int


def parse_records(data: bytes) -> Iterator[Record]:
    """Read the whole records at the beginning of ``data``; what is no record (type or time) is passed over."""
    for at in range(0, len(data) - SIZE + 1, SIZE):
        kind, pid, line, _id, user, host, _end, _code, _session, seconds, micros, address = (
            RECORD.unpack_from(data, at)
        )
        if RUN_LEVEL <= kind <= DEAD_PROCESS and 0 < seconds < _LATEST_S and 0 <= micros < 1_000_000:
            time_us = seconds * 1_000_000 + micros
            yield Record(kind, pid, _text(line), _text(user), _text(host), _address(address), time_us)


def _text(raw: bytes) -> str:
    """Text up to the first NUL; control characters (a name is what an attacker typed) become ``?``."""
    text = raw.partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in text)


def _address(raw: bytes) -> str:
    """IPv4 stands in the first four of the sixteen bytes."""
    if not any(raw):
        return ""
    if not any(raw[4:]):
        return str(ipaddress.IPv4Address(raw[:4]))
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)
