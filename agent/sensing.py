"""Runs the sensors: opens those that work, reads and ticks them, and restarts one that failed without ending the loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from agent.health import Health
from agent.platform.ports import OverflowedError, UnsupportedError
from agent.sensors import Sensor
from protocol.events import AgentDropped, Event

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

BACKOFF_S, BACKOFF_MAX_S = 1.0, 60.0
SETTLED_S = 60.0
"""A sensor that ran this long starts its backoff anew."""
OVERFLOW_HOLD_S = 600.0

Emit = Callable[[Event], None]


class _Slot(Struct):
    """One sensor: ``sensor`` is None while it is not running, ``why`` says why."""

    kind: type[Sensor]
    sensor: Sensor | None = None
    why: str = ""
    opened_s: float = 0.0
    tick_s: float = 0.0
    failures: int = 0
    retry_s: float | None = None
    off: bool = False


class SensorHost:
    """All sensors of this PC. Events go to ``emit`` one by one, as soon as they are seen; ``emit`` never raises."""

    def __init__(
        self,
        platform: Platform,
        kinds: dict[str, type[Sensor]],
        health: Health,
        emit: Emit,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._platform, self._health, self._emit, self._clock = platform, health, emit, clock
        self._slots = {name: _Slot(kind) for name, kind in sorted(kinds.items())}
        self._fds: dict[int, str] = {}
        self._policy: PolicyView | None = None
        self._duty: tuple[str, ...] | None = None

    def watch(self, segments: tuple[str, ...]) -> None:
        """Hand on which segments this PC is to watch; sensors that start later hear it at their start."""
        self._duty = segments
        for name, slot in self._slots.items():
            if slot.sensor is not None:
                self._run(name, slot, partial(slot.sensor.watch, segments))
        self._collect_fds()

    def segments(self) -> tuple[str, ...]:
        """Segments this PC could watch."""
        return tuple(one for slot in self._slots.values() if slot.sensor for one in slot.sensor.segments)

    def follow(self, policy: PolicyView) -> None:
        """Let every running sensor follow a policy; those that start later follow it at their start."""
        self._policy = policy
        for name, slot in self._slots.items():
            if slot.sensor is not None:
                self._run(name, slot, partial(slot.sensor.follow, policy))
        self._collect_fds()

    def open(self, *, off: set[str]) -> None:
        """Open every sensor that is not running, unless its control is in ``off``; close those in ``off``."""
        for name, slot in self._slots.items():
            slot.off = slot.kind.control in off
            if slot.off:
                self._close(slot)
                slot.why, slot.retry_s = "off", None
                self._clear(name)
            elif slot.sensor is None:
                self._open(name, slot)
        self._collect_fds()

    def filenos(self) -> dict[int, int]:
        """Descriptor → POLLIN or POLLPRI, of all running sensors."""
        found: dict[int, int] = {}
        self._fds = {}
        for name, slot in self._slots.items():
            for fileno, flags in slot.sensor.filenos() if slot.sensor is not None else ():
                found[fileno] = flags
                self._fds[fileno] = name
        return found

    def owns(self, fileno: int) -> bool:
        """Whether a descriptor is that of a sensor."""
        return fileno in self._fds

    def read(self, fileno: int) -> None:
        """Let the sensor behind a ready descriptor report."""
        name = self._fds[fileno]
        slot = self._slots[name]
        if slot.sensor is not None:
            sensor = slot.sensor
            self._run(name, slot, lambda: sensor.read(fileno))

    def fail(self, fileno: int, why: str) -> None:
        """A descriptor turned out dead: its sensor is restarted."""
        name = self._fds[fileno]
        self._failed(name, self._slots[name], why)

    def tick(self) -> None:
        """Periodic work that is due, and restarts that are due."""
        now_s = self._clock()
        for name, slot in self._slots.items():
            if slot.sensor is None:
                if slot.retry_s is not None and now_s >= slot.retry_s:
                    self._open(name, slot)
                continue
            if slot.failures and now_s - slot.opened_s >= SETTLED_S:
                slot.failures = 0
                self._clear(name)
            if slot.kind.period_s and now_s >= slot.tick_s:
                slot.tick_s = now_s + slot.kind.period_s
                self._run(name, slot, slot.sensor.tick)
        self._collect_fds()

    def states(self) -> dict[str, str]:
        """Sensor → ``running``, ``standby`` or why not."""
        return {name: _state(slot) for name, slot in self._slots.items()}

    def senses(self, control: str) -> bool:
        """Whether any sensor of a control is running."""
        return any(slot.sensor is not None and slot.kind.control == control for slot in self._slots.values())

    def close(self) -> None:
        """Close all sensors."""
        for slot in self._slots.values():
            self._close(slot)

    def _open(self, name: str, slot: _Slot) -> None:
        now_s = self._clock()
        slot.retry_s, slot.opened_s, slot.tick_s = None, now_s, now_s + slot.kind.period_s
        try:
            slot.sensor = slot.kind(self._platform)
            # Events come before the health code goes, so a sensor that dies at once stays visible.
            self._emit_all(slot.sensor.open())
            if self._policy is not None:
                self._emit_all(slot.sensor.follow(self._policy))
            if self._duty is not None:
                self._emit_all(slot.sensor.watch(self._duty))
        except UnsupportedError as error:
            self._close(slot)
            slot.why = str(error)
            self._health.raise_(f"sensor_unsupported.{name}", str(error), now_s=now_s)
        except Exception as error:  # noqa: BLE001 - one sensor must not end the agent
            self._failed(name, slot, f"{type(error).__name__}: {error}")
        else:
            self._health.clear(f"sensor_unsupported.{name}")

    def _run(self, name: str, slot: _Slot, work: Callable[[], Iterable[Event]]) -> None:
        try:
            try:
                self._emit_all(work())
            except OverflowedError as error:
                self._overflowed(name, str(error))
                if slot.sensor is not None:
                    self._emit_all(slot.sensor.recover())
        except Exception as error:  # noqa: BLE001 - one sensor must not end the agent
            self._failed(name, slot, f"{type(error).__name__}: {error}")

    def _emit_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._emit(event)

    def _overflowed(self, name: str, detail: str) -> None:
        now_us = self._platform.now_us()
        self._health.raise_(f"sensor_overflow.{name}", detail, now_s=self._clock(), hold_s=OVERFLOW_HOLD_S)
        self._emit(
            AgentDropped(time_us=now_us, reason="sensor_overflow", count=1, source=name, detail=detail)
        )

    def _failed(self, name: str, slot: _Slot, why: str) -> None:
        self._close(slot)
        now_s = self._clock()
        slot.retry_s = now_s + min(BACKOFF_MAX_S, BACKOFF_S * 2**slot.failures)
        slot.failures = min(slot.failures + 1, 10)
        slot.why = f"failed: {why}"
        self._health.raise_(f"sensor_failed.{name}", why, now_s=now_s)

    def _close(self, slot: _Slot) -> None:
        sensor, slot.sensor = slot.sensor, None
        if sensor is not None:
            with contextlib.suppress(Exception):  # what is broken may not even close
                sensor.close()

    def _clear(self, name: str) -> None:
        self._health.clear(f"sensor_failed.{name}")
        self._health.clear(f"sensor_unsupported.{name}")

    def _collect_fds(self) -> None:
        self.filenos()


def _state(slot: _Slot) -> str:
    if slot.sensor is None:
        return slot.why
    return "standby" if slot.sensor.standby else "running"
