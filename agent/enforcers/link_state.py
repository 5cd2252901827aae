"""What the links enforcer took away, as it stands on disk: any process can bring it back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agent.platform.state_file import load_state, save_state
from protocol.events import LinkChanged

STATE_FILE: Final = "links.json"
MOST: Final = 256
"""Links, and gateways, that are remembered as taken away."""


class Held(Struct, frozen=True):
    """A link that was taken down, or a gateway whose ``routes`` were removed, and the change that led to it."""

    index: int
    """Number of the interface."""
    event: LinkChanged
    routes: tuple[bytes, ...] = ()


class Taken(Struct, frozen=True):
    """``held``: by interface, or by ``gateway ADDRESS``. ``way``: the links that last led to the collector."""

    held: dict[str, Held] = {}
    way: tuple[str, ...] = ()


class TakenFile:
    """The state file; what it says is always what is in memory."""

    def __init__(self, state: Path) -> None:
        self._path = state / STATE_FILE
        self.now = load_state(self._path, Taken) or Taken()

    def hold(self, key: str, held: Held) -> None:
        """Raises OSError: what could not be undone after a crash is not done."""
        if len(self.now.held) >= MOST and key not in self.now.held:
            raise OSError(f"{MOST} links are down already")
        self._keep(replace(self.now, held={**self.now.held, key: held}))

    def forget(self, key: str) -> None:
        """Raises OSError."""
        if key in self.now.held:
            self._keep(
                replace(self.now, held={one: held for one, held in self.now.held.items() if one != key})
            )

    def remember_way(self, way: tuple[str, ...]) -> None:
        """Raises OSError."""
        if way and way != self.now.way:
            self._keep(replace(self.now, way=way))

    def _keep(self, taken: Taken) -> None:
        save_state(self._path, taken)
        self.now = taken
