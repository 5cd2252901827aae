"""Enforcers: one file for each thing the PC can stop. Desired state, applied whole, idempotent, cleanable after a crash.

They decide nothing: the judge's verdict comes in, what was measured goes out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from agent.discovery import import_modules
from agent.platform.ports import Readiness
from policies.model import Control
from protocol.events import Event

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView


class Verdict(Struct, frozen=True, kw_only=True):
    """The judge's decision about one event. ``block`` is false in observe mode whatever the rules say."""

    block: bool
    read_only: bool = False
    """A medium that is allowed, but only for reading."""
    rules: tuple[str, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """What enforcing an event led to. ``record`` is the ``*.blocked`` event to spool, if any."""

    action: str
    """allowed | blocked | failed | observed: goes into the event itself."""
    record: Event | None = None


class Enforcer(ABC):
    """One thing we can stop."""

    name: ClassVar[str]
    control: ClassVar[Control | None]
    """None: always on, not switched by policy (isolation)."""
    registry: ClassVar[dict[str, type[Enforcer]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the class by its name."""
        super().__init_subclass__()
        if "name" in cls.__dict__:
            Enforcer.registry[cls.name] = cls

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    @abstractmethod
    def readiness(self) -> Readiness:
        """Can this PC enforce it? Looks without changing anything."""

    @abstractmethod
    def apply(self, policy: PolicyView) -> None:
        """Bring the whole PC to what the policy wants; doing it twice changes nothing."""

    @abstractmethod
    def observe(self) -> dict[str, str]:
        """Measured state, not the wish."""

    @abstractmethod
    def clean(self) -> None:
        """Remove everything this enforcer ever set, also what a crashed process left behind."""

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        """Act on one judged event; None when this enforcer has nothing to do with its kind."""
        return None

    def filenos(self) -> list[tuple[int, int]]:
        """Descriptors to watch (tampering, supervised child), each with POLLIN or POLLPRI."""
        return []

    def read(self, fileno: int) -> list[Event]:
        """Handle a ready descriptor; returns events (``agent.tampered``, ``agent.health``)."""
        return []

    def tick(self) -> list[Event]:
        """Once a second: heartbeats of supervised children, expiry, drift against desired state."""
        return []


def discover() -> dict[str, type[Enforcer]]:
    """Import every module of this package and return the enforcers by name."""
    import_modules(__name__, __path__)
    return dict(Enforcer.registry)
