"""What users of the PC and the counter (窓口) say to each other over its socket: MessagePack maps tagged ``say``.

One question a connection, ended by shutting down that direction; one answer, ended by closing. Who asks is told by the
kernel (SO_PEERCRED), never by the message.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.refusal import UNREADABLE, RefusalName, RefusedError

SOCKET = "counter.sock"
MAX_QUESTION, MAX_ANSWER = 4096, 128 * 1024
MAX_DAYS, MAX_PURPOSE = 366, 500
State = Literal["refused", "no_permit_possible", "applied", "granted"]


class ListRefusals(Struct, frozen=True, tag="list", tag_field="say"):
    """What was refused to me on this PC."""


class Ask(Struct, frozen=True, tag="ask", tag_field="say"):
    """Apply for a permit for what was refused under this number."""

    number: Annotated[int, Meta(ge=1)]
    purpose: Annotated[str, Meta(min_length=1, max_length=MAX_PURPOSE)]
    days: Annotated[int, Meta(ge=1, le=MAX_DAYS)]


class Line(Struct, frozen=True, kw_only=True):
    """One refusal. ``time_us`` is UTC µs; ``what`` names the thing."""

    number: int
    time_us: int
    about: str
    what: str
    title_ja: str
    title_en: str
    article: str
    count: int
    wanted: str
    """Kind of permit that can be applied for; empty = none can."""
    state: State
    request: str = ""


class Refusals(Struct, frozen=True, tag="refusals", tag_field="say"):
    """The answer to :class:`ListRefusals`, newest first."""

    lines: tuple[Line, ...]


class Taken(Struct, frozen=True, tag="taken", tag_field="say"):
    """The application was taken; it goes to the collector with the next events."""

    request: str
    again: bool
    """It had been made before; nothing new was sent."""


class Denied(Struct, frozen=True, tag="denied", tag_field="say"):
    """The question was refused by name."""

    name: RefusalName
    detail: str


Question = ListRefusals | Ask
Answer = Refusals | Taken | Denied
_question: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def read_question(data: bytes) -> Question:
    """Raises RefusedError."""
    if len(data) > MAX_QUESTION:
        raise RefusedError("oversized", f"more than {MAX_QUESTION} bytes")
    try:
        return _question.decode(data)
    except UNREADABLE as error:
        raise RefusedError("malformed_body", str(error)) from error


def read_answer(data: bytes) -> Answer:
    """Raises RefusedError."""
    try:
        return _answer.decode(data)
    except UNREADABLE as error:
        raise RefusedError("malformed_body", str(error)) from error
