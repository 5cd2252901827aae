"""Sensors: one file, one class each. A module here that defines a Sensor is found by itself; there is no list.

A sensor turns what the platform sees into events with the decision fields still empty; it decides nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from agent.discovery import import_modules
from policies.model import Control
from protocol.events import Event
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

POLLIN, POLLPRI = 1, 2


class Sensor(ABC):
    """One way of seeing. Subclasses carry their own documentation, limits and an example."""

    name: ClassVar[str]
    control: ClassVar[Control]
    emits: ClassVar[tuple[type[Event], ...]]
    doc: ClassVar[Text]
    limits: ClassVar[Text]
    """What it cannot see."""
    example: ClassVar[Event]
    period_s: ClassVar[float] = 0.0
    """How often :meth:`tick` is due; 0 = never."""

    registry: ClassVar[dict[str, type[Sensor]]] = {}

    segments: tuple[str, ...] = ()
    """Segments it could watch: one PC of a segment does, as the collector says (:meth:`watch`)."""
    standby: bool = False
    """It is ready, and another PC does its work."""

    def __init_subclass__(cls) -> None:
        """Register the class by its name."""
        super().__init_subclass__()
        if "name" in cls.__dict__:
            Sensor.registry[cls.name] = cls

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    @abstractmethod
    def open(self) -> Iterable[Event]:
        """Start sensing; returns what is already there. Raises ``UnsupportedError`` when this PC cannot."""

    def filenos(self) -> Iterable[tuple[int, int]]:
        """File descriptors to wait on, each with POLLIN or POLLPRI."""
        return ()

    def read(self, fileno: int) -> Iterable[Event]:
        """Events behind a descriptor that became ready. Must not block. Raises ``OverflowedError`` after a loss."""
        return ()

    def follow(self, policy: PolicyView) -> Iterable[Event]:
        """A policy came into force: places to watch, labels to look for. Called again after every start."""
        return ()

    def watch(self, segments: tuple[str, ...]) -> Iterable[Event]:
        """The collector says which segments this PC is to watch; for the others it stands by."""
        return ()

    def recover(self) -> Iterable[Event]:
        """After an overflow: read the state again and report what differs."""
        return ()

    def tick(self) -> Iterable[Event]:
        """Periodic work. Must not block for more than a few milliseconds."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Stop sensing and free everything."""


def discover() -> dict[str, type[Sensor]]:
    """Import every module of this package and return the sensors by name."""
    import_modules(__name__, __path__)
    return dict(Sensor.registry)
