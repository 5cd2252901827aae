"""What the agent and the inventory child say to each other: one MessagePack message a packet. Paths are bytes, as on disk.

Job → · ← Folders … Ready · any packet (they are watched now) → · ← Found … Ended, or Failed at any point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from agent.platform.ports import SoftwareSource
from agent.software_baseline import SoftwareEvent

MESSAGE_BYTES = 160 * 1024
BATCH_BYTES = 24 * 1024
"""A message is cut after so much text; one item has no more than 12 KiB."""
GO = b"go"
Item = TypeVar("Item")


class Job(Struct, frozen=True, kw_only=True):
    """``sources`` to look at as a whole, ``paths`` of single programs in user places; ``nice`` of the process."""

    root: bytes
    state: bytes
    sources: tuple[SoftwareSource, ...] = ()
    paths: tuple[bytes, ...] = ()
    nice: int = 0


class Folders(Struct, frozen=True, tag="folders"):
    """Folders whose changes concern a source."""

    source: SoftwareSource
    folders: tuple[bytes, ...]


class Ready(Struct, frozen=True, tag="ready"):
    """All folders are told: the child waits until they are watched, so that nothing happens unseen in between."""


class Found(Struct, frozen=True, tag="found"):
    """What differs from the baseline."""

    events: tuple[SoftwareEvent, ...]


class Failed(Struct, frozen=True, tag="failed"):
    """The child gives up."""

    detail: str


class Ended(Struct, frozen=True, tag="ended"):
    """All is done and the baseline written."""


Said = Folders | Ready | Found | Failed | Ended
encode = msgspec.msgpack.Encoder().encode
job_decoder = msgspec.msgpack.Decoder(Job)
said_decoder: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def name_of(root: Path, path: str) -> str:
    """What a program is called in the baseline: its path below ``root``."""
    return sound(path.removeprefix(str(root).rstrip("/")))


def sound(text: str) -> str:
    """Text with a question mark for what is no character: names of files and JSON may hold such."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[tuple[Item, ...]]:
    """Cut a stream into tuples of about :data:`BATCH_BYTES`, by what ``size`` says of each."""
    batch: list[Item] = []
    filled = 0
    for item in items:
        batch.append(item)
        filled += size(item)
        if filled >= BATCH_BYTES:
            yield tuple(batch)
            batch, filled = [], 0
    if batch:
        yield tuple(batch)
