"""What the agent and the scan child say to each other: one MessagePack message each way, the file as a descriptor."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

State = Literal["complete", "too_large", "too_deep", "too_slow", "encrypted", "unreadable", "gone"]
"""How far a file was looked at; anything but ``complete`` means that something in it was not seen."""
MESSAGE_BYTES = 192 * 1024
MASKED = 5
"""How many numbers are told, each masked but for its last four digits."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much a file may cost. Reaching one is a named state, never an error."""

    file_bytes: int = 64 << 20
    """Read of the file itself."""
    expanded_bytes: int = 256 << 20
    """Unpacked of everything in it together."""
    ratio: int = 200
    """Unpacked to packed of one member, once it is larger than ``ratio_from``."""
    ratio_from: int = 16 << 20
    member_bytes: int = 64 << 20
    """One archive inside another, and all texts a spreadsheet refers to: these are held in memory."""
    depth: int = 3
    """Archives inside archives."""
    elements: int = 256
    """Elements inside elements of a document."""
    entries: int = 10_000
    """Members of archives, parts of documents, pages: together."""
    seconds: float = 10.0
    """Until the child gives up by itself; it is killed :data:`GRACE_S` later."""
    memory: int = 768 << 20
    """Address space of the child."""


GRACE_S = 3.0


class Job(Struct, frozen=True, kw_only=True):
    """One file to look at. ``marks``: label → what shows it in a document. ``name`` is only ever compared with these."""

    number: int
    name: str
    marks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    limits: Limits = Limits()


class Finding(Struct, frozen=True, kw_only=True):
    """What was found. ``digest`` is empty for a file larger than the limit."""

    number: int
    state: State
    my_numbers: Annotated[int, Meta(ge=0)] = 0
    masked: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^\*{8}[0-9]{4}$")], ...], Meta(max_length=MASKED)
    ] = ()
    labels: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=64)] = ()
    digest: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""


encode = msgspec.msgpack.encode
job_decoder: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
finding_decoder: msgspec.msgpack.Decoder[Finding] = msgspec.msgpack.Decoder(Finding)
