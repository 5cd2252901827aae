"""Login records as login programs write them."""

from __future__ import annotations

import ipaddress

from agent.platform.linux.utmp import RECORD, Record


def pack_record(record: Record) -> bytes:
    """The bytes of a record; the reverse of ``utmp.parse_records``."""
    seconds, micros = divmod(record.time_us, 1_000_000)
    raw = ipaddress.ip_address(record.address).packed.ljust(16, b"\0") if record.address else bytes(16)
    text = (record.line, record.user, record.host)
    line, user, host = (part.encode("utf-8", "surrogateescape") for part in text)
    return RECORD.pack(record.type, record.pid, line, b"", user, host, 0, 0, 0, seconds, micros, raw)
