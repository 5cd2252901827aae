"""Frames in and out: one explicit decoder per lane and sender."""

from __future__ import annotations

from typing import Any, Union

import msgspec

from protocol.messages import LIMITS, VERSION, Lane, Message, Role
from protocol.refusal import UNREADABLE, RefusalName, RefusedError

_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """One message as a frame."""
    return _encoder.encode(message)


class FrameReader:
    """Decodes the frames that ``sender`` may send on ``lane`` and refuses everything else by name.

    Refusals: ``oversized`` (before any parsing), ``truncated``, ``wrong_tag``, ``wrong_type``, ``version``.
    """

    def __init__(self, lane: Lane, sender: Role) -> None:
        self._limits = {kind: size for kind, (role, size) in LIMITS[lane].items() if role == sender}
        self._largest = max(self._limits.values())
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[tuple(self._limits)])  # noqa: UP007
        self._lane = lane

    def read(self, frame: bytes) -> Message:
        """Decode one frame. Raises RefusedError."""
        size = len(frame)
        if size > self._largest:
            raise RefusedError("oversized", f"{size} bytes on the {self._lane} lane, at most {self._largest}")
        try:
            message: Message = self._decoder.decode(frame)
        except msgspec.ValidationError as error:
            raise RefusedError(_name(str(error)), f"{self._lane} lane: {error}") from error
        except UNREADABLE as error:
            raise RefusedError("truncated", f"{self._lane} lane: {error}") from error
        if message.version != VERSION:
            raise RefusedError(
                "version", f"protocol {message.version}, this side speaks {VERSION}", "update the older"
            )
        limit = self._limits[type(message)]
        if size > limit:
            raise RefusedError("oversized", f"{type(message).__name__} of {size} bytes, at most {limit}")
        return message


def _name(problem: str) -> RefusalName:
    """Tell an unknown message type from a known one with a wrong field, by msgspec's own words."""
    return (
        "wrong_tag" if problem.startswith("Invalid value") and problem.endswith("`$.type`") else "wrong_type"
    )
