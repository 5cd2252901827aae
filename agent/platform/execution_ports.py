"""What the agent needs of an execution gate, as Protocols (see ``ports``)."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Execution(Struct, frozen=True, kw_only=True):
    """A program that was started, or refused, as the execution gate answered. ``exe`` and ``cmdline``: the caller's."""

    time_us: int
    pid: int
    ppid: int
    uid: int
    exe: str
    cmdline: str
    target: str
    digest: str = ""
    package: str = ""
    """The package that covers it; empty when nothing or only its digest does."""
    on_media: bool = False
    denied: bool = False
    reason: str = ""
    """Why it is (or, where the gate only observes, would be) refused."""


class GateReport(Struct, frozen=True):
    """What happened to the gate: built | unsafe | failed | started | incomplete | handler_lost | handler_crashed | keeper_lost | lost."""

    what: str
    detail: str = ""
    by_force: bool = False
    """Somebody else killed or stopped it."""


class GatePlan(Struct, frozen=True, kw_only=True):
    """What may be executed: login names of those who may, ``()`` = everybody; what is not named may not be."""

    enforce: bool
    closed: bool
    packages: dict[str, dict[str, tuple[str, ...]]] = {}
    """Source → package (``*`` = every other of that source) → users."""
    digests: dict[str, tuple[str, ...]] = {}
    """SHA-256 in hex → users."""


class ExecutionLog(Protocol):
    """The stream of what the gate answered; readable at any time, also while no gate runs."""

    def fileno(self) -> int: ...

    def executions(self) -> list[Execution]:
        """Drain what arrived; never blocks."""
        ...

    def lost(self) -> int:
        """How many records were dropped since the last call."""
        ...


class ExecutionGate(Protocol):
    """The execution gate: separate processes between the kernel's question and its answer."""

    exempt: tuple[str, ...]
    """Folders whose root-owned programs always run: the agent's own."""

    def probe(self) -> None:
        """Try the kernel's part for real. Raises UnsupportedError."""
        ...

    def load(self, plan: GatePlan) -> None:
        """Build the allow-list and bring a running gate to it; both happen beside the main loop."""
        ...

    def watch(self) -> int:
        """A descriptor that becomes readable when :meth:`reports` has something."""
        ...

    def reports(self) -> tuple[list[GateReport], dict[str, str]]:
        """Look after the gate (call at least once a second); what happened, and its measured state."""
        ...

    def stop(self) -> None:
        """End the gate, also one that another agent process left; executions are free again."""
        ...
