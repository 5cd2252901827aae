"""What the agent and the child that shows notices say to each other: one MessagePack message a datagram.

The child has the rights of the user it shows to, so what comes from it is only what that user could say anyway.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.refusal import UNREADABLE

MAX_DATAGRAM = 16 * 1024
ASKED = "ask"
"""Key of the button on the notice."""


class Show(Struct, frozen=True, tag="show"):
    """Show a notice. ``button`` is what the button to apply for a permit says; empty = no button."""

    id: int
    summary: Annotated[str, Meta(max_length=500)]
    body: Annotated[str, Meta(max_length=4000)]
    button: Annotated[str, Meta(max_length=100)] = ""


class Told(Struct, frozen=True, tag="told"):
    """What became of a notice: it is shown, could not be shown, was closed by the user, or the button was pressed."""

    id: int
    what: Literal["shown", "failed", "closed", "asked"]
    channel: Literal["", "desktop", "terminal"] = ""


_show: msgspec.msgpack.Decoder[Show] = msgspec.msgpack.Decoder(Show)
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


def read_show(data: bytes) -> Show | None:
    """A message to the child; None when it is none."""
    try:
        return _show.decode(data)
    except UNREADABLE:
        return None


def read_told(data: bytes) -> Told | None:
    """A message of the child; None when it is none."""
    try:
        return _told.decode(data)
    except UNREADABLE:
        return None
