"""From a journaled batch body to typed events. A body that is damaged is salvaged event by event, never trusted.

The gateway checks who sent a batch and that it is whole, not what is inside; so this is where a hostile body arrives.
"""

from __future__ import annotations

import msgspec
import zstandard
from msgspec import Struct

from protocol.events import AnyEvent, decode_event, decode_events
from protocol.refusal import UNREADABLE

LARGEST = 64 * 1024 * 1024
"""Bytes a body may unpack to: 10,000 events of the largest sane size; a decompression bomb stops here."""
FAULTS_KEPT = 20

_raw_list = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Batch(Struct, frozen=True):
    """What detection and search need of a journaled batch; ``rowid`` is the journal's."""

    rowid: int
    agent_id: str
    first_seq: int
    count: int
    received_us: int
    body: bytes


class Decoded(Struct):
    """Events of a batch by position (sequence number = ``first_seq`` + position); None where it could not be read.

    ``faults`` counts what could not be read; ``first_faults`` says what was wrong with the first ones.
    """

    events: list[AnyEvent | None]
    faults: int = 0
    first_faults: list[str] = []


def decode(batch: Batch, unpacker: zstandard.ZstdDecompressor) -> Decoded:
    """Decode a batch; whatever is in the body, this does not raise."""
    try:
        data = unpack(batch.body, unpacker)
    except (zstandard.ZstdError, ValueError) as error:
        return Decoded([None] * batch.count, batch.count, [f"body: {error}"])
    try:
        events: list[AnyEvent | None] = list(decode_events(data))
    except UNREADABLE:
        return _fit(_salvage(data), batch.count)
    return Decoded(events) if len(events) == batch.count else _fit(Decoded(events), batch.count)


def unpack(body: bytes, unpacker: zstandard.ZstdDecompressor) -> bytes:
    """Decompress one zstd frame (RFC 8878) that says how large it is.

    Raises ValueError for one that does not say or is larger than :data:`LARGEST`, ``zstandard.ZstdError`` for a
    damaged one.
    """
    size = zstandard.frame_content_size(body)
    if not 0 <= size <= LARGEST:
        raise ValueError(
            f"unpacks to {size} bytes, at most {LARGEST}" if size >= 0 else "does not say its size"
        )
    return unpacker.decompress(body)


def _salvage(data: bytes) -> Decoded:
    try:
        parts = _raw_list.decode(data)
    except UNREADABLE as error:
        return Decoded([], 0, [f"array: {error}"])
    found = Decoded([])
    for position, part in enumerate(parts):
        try:
            found.events.append(decode_event(bytes(part)))
        except UNREADABLE as error:
            found.events.append(None)
            found.faults += 1
            if len(found.first_faults) < FAULTS_KEPT:
                found.first_faults.append(f"+{position}: {error}")
    return found


def _fit(found: Decoded, count: int) -> Decoded:
    """Make the list as long as the signed header says: what is beyond has no sequence number of its own."""
    missing = count - len(found.events)
    if missing:
        found.faults += abs(missing)
        found.first_faults.append(f"body holds {len(found.events)} events, the header says {count}")
        found.events = found.events[:count] + [None] * max(0, missing)
    return found
