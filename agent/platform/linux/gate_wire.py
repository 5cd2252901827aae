"""What the execution gate tells the agent: datagrams of execution records, and reports as lines of text.

Standard library only; both ends use it. One datagram holds many records, because a unix socket queues only
``net.unix.max_dgram_qlen`` (10) datagrams: under load they grow instead of blocking.
"""

from __future__ import annotations

from collections import namedtuple
from struct import Struct
from struct import error as struct_error

RECORDS, REPORT = b"E", b"R"
DATAGRAM_LIMIT = 64 * 1024
"""Bytes of the largest datagram."""

DENIED, ON_MEDIA, UNCOVERED, HASHED = 1, 2, 4, 8
REASONS = ("", "no_cover", "on_media", "changed", "gate_unsure")
TEXT_LIMIT = 4096

_HEAD = Struct("<QIIqBB32s4H")  # time_us, pid, ppid, uid, flags, reason, sha256, lengths of the four texts

Record = namedtuple(  # noqa: PYI024 - typing would cost the gate half a MiB
    "Record", "time_us pid ppid uid flags reason digest exe cmdline target package"
)
"""One execution. Texts are bytes as the kernel has them; ``digest`` is raw SHA-256 or empty."""


class MalformedError(ValueError):
    """A datagram that the gate would never send."""


def encode_record(record: Record) -> bytes:
    """Pack one record; texts are cut at :data:`TEXT_LIMIT` bytes."""
    texts = [text[:TEXT_LIMIT] for text in record[7:]]
    flags = record.flags | (HASHED if record.digest else 0)
    head = _HEAD.pack(
        record.time_us,
        record.pid,
        record.ppid,
        record.uid,
        flags,
        REASONS.index(record.reason),
        record.digest,
        *map(len, texts),
    )
    return head + b"".join(texts)


def decode_records(datagram: memoryview | bytes) -> list[Record]:
    """Read the records behind the tag byte. Raises :class:`MalformedError`."""
    records = []
    offset, end = 0, len(datagram)
    while offset < end:
        try:
            time_us, pid, ppid, uid, flags, reason, digest, *lengths = _HEAD.unpack_from(datagram, offset)
        except struct_error as problem:
            raise MalformedError(str(problem)) from problem
        offset += _HEAD.size
        if max(lengths) > TEXT_LIMIT or sum(lengths) > end - offset or reason >= len(REASONS):
            raise MalformedError(f"texts of {lengths} bytes, reason {reason}")
        texts = []
        for length in lengths:
            texts.append(bytes(datagram[offset : offset + length]))
            offset += length
        digest = digest if flags & HASHED else b""
        records.append(Record(time_us, pid, ppid, uid, flags & ~HASHED, REASONS[reason], digest, *texts))
    return records


def encode_report(values: dict[str, object]) -> bytes:
    """Pack a report: the tag, then ``name=value`` lines. Line breaks in values become blanks."""
    lines = [f"{name}={str(value).replace(chr(10), ' ')}" for name, value in values.items()]
    return REPORT + "\n".join(lines).encode("utf-8", "replace")[: DATAGRAM_LIMIT - 1]


def decode_report(datagram: bytes) -> dict[str, str]:
    """Read the lines behind the tag byte; lines without ``=`` are refused by :class:`MalformedError`."""
    values: dict[str, str] = {}
    for line in bytes(datagram).decode("utf-8", "replace").split("\n"):
        name, mark, value = line.partition("=")
        if not mark:
            raise MalformedError(f"line {line[:40]!r}")
        values[name] = value
    return values
