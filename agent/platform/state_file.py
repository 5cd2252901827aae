"""Small state files below the state directory: one msgspec Struct as JSON, replaced atomically, 0600."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from protocol.refusal import UNREADABLE

State = TypeVar("State", bound=msgspec.Struct)

MAX_BYTES = 1 << 20


def load_state(path: Path, kind: type[State]) -> State | None:
    """Read a state file; None when there is none or it is not readable as ``kind`` (it is then written
    anew).
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=kind)
    except (OSError, *UNREADABLE):
        return None


def save_state(path: Path, state: msgspec.Struct) -> None:
    """Replace a state file. Raises OSError.

    Not fsynced: it is written on the way to a block, and what it tells of does not outlive a power loss
    either.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(state))
    new.replace(path)
