"""Where the operator's side keeps who is signed in where: one file, 0600, in ``~/.config/sekisho``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.keys import read_private, write_private
from protocol.refusal import UNREADABLE, RefusedError

DEFAULT_URL = "http://127.0.0.1:7480"


class SavedSession(Struct, frozen=True):
    """A sign-in; ``token`` is worth as much as the password until ``expires_us``."""

    url: str
    token: str
    operator: str
    role: str
    expires_us: int


def config_dir() -> Path:
    """``$SEKISHO_CONFIG_DIR``, else ``$XDG_CONFIG_HOME/sekisho``, else ``~/.config/sekisho``."""
    if own := os.environ.get("SEKISHO_CONFIG_DIR"):
        return Path(own)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "sekisho"


def _file() -> Path:
    return config_dir() / "session.json"


def save(session: SavedSession) -> None:
    """Remember a sign-in."""
    config_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(_file(), msgspec.json.encode(session))


def load() -> SavedSession | None:
    """The sign-in of this user, or None. Raises RefusedError ``foreign`` when others can read the file."""
    try:
        return msgspec.json.decode(read_private(_file()), type=SavedSession)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise RefusedError("corrupt", f"{_file()} cannot be read", "sekisho login") from error


def forget() -> None:
    """Forget the sign-in."""
    _file().unlink(missing_ok=True)


def url(choice: str | None = None) -> str:
    """The collector's address: the option, ``$SEKISHO_URL``, the sign-in, this machine."""
    if wanted := choice or os.environ.get("SEKISHO_URL"):
        return wanted.rstrip("/")
    saved = load()
    return saved.url if saved else DEFAULT_URL
