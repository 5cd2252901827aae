"""USB devices without a permit are cut: sysfs ``authorized`` = 0, read back.

A device starts authorised, so between plugging in and the cut there is a window (measured as ``latency_us``,
about a millisecond; drivers need longer to bind). Where the policy says *fail closed* for devices, the root
hubs' ``authorized_default`` is set to 0 and the window is gone: a new device works only after the agent
allowed it, keyboards and mice at once, but while the agent is dead not even those. A reboot or
:meth:`UsbEnforcer.clean` puts the default back.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
from msgspec import Struct

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.judge import decide, stamp
from agent.platform.ports import Device, DeviceBus, Readiness, UnsupportedError
from agent.platform.state_file import load_state, save_state
from agent.sensors.devices import device_event
from policies.model import Control, Enrichment, Hit
from protocol.events import AgentTampered, DeviceAttached, DeviceBlocked, DeviceDetached, Event

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

KEPT: Final = frozenset({"hub", "input"})
"""Never cut: what hangs behind a hub is judged for itself, and nobody is locked out of the own keyboard."""
RECHECK_US: Final = 5_000_000
"""Rules may depend on the hour, so what is present is judged again this often, and whenever a permit begins
or ends.
"""
_BUS: Final = "bus/usb/devices/"


class Held(Struct):
    """What this enforcer set: port → device as it was when cut, and root hubs whose default was closed."""

    blocked: dict[str, Device] = {}
    closed: list[str] = []


class UsbEnforcer(Enforcer):
    """Control ``devices``."""

    name: ClassVar[str] = "usb"
    control: ClassVar[Control | None] = "devices"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._file = platform.state / "usb.blocked"
        self._held = load_state(self._file, Held) or Held()
        self._lazy_bus: DeviceBus | None = None
        self._policy: PolicyView | None = None
        self._present: dict[str, Device] = {}
        self._next_us = 0
        self._pending: list[Event] = []
        self._failed: dict[str, str] = {}
        """Port → device whose cut failed and was recorded: not again at every check."""

    def readiness(self) -> Readiness:
        try:
            self._bus.devices()
        except (OSError, UnsupportedError) as error:
            return Readiness("unsupported", str(error))
        if os.geteuid() != 0 or not os.access(self.platform.sys, os.W_OK):
            return Readiness("observe", "sysfs cannot be written", "run as root with /sys mounted read-write")
        return Readiness("enforce")

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        if isinstance(event, DeviceDetached):
            self._present.pop(event.port, None)
            self._forget(event.port)
            return None
        if not isinstance(event, DeviceAttached):
            return None
        device = _device(event)
        held = self._held.blocked.get(event.port)
        if held is not None and held.device_id == device.device_id:
            device = held  # without its drivers it shows less of itself than when it was cut
            if self._policy is not None:
                _, verdict, _ = self._judge(device, event.time_us, self._policy)
        self._present[event.port] = device
        if verdict.block and device.device_class not in KEPT:
            if device is held and self._is_cut(device.path):
                return Outcome(action="blocked")  # told when it was cut
            return self._cut(device, event.time_us, verdict)
        if held is None and not self._held.closed:
            return None
        try:
            self._let(event.port)
        except OSError:
            return Outcome(action="failed")
        return Outcome(action="allowed")

    def apply(self, policy: PolicyView) -> None:
        """Judge everything present. Raises OSError when a device could not be brought to what the policy
        wants.
        """
        self._policy = policy
        self._refresh()
        setting = policy.setting("devices")
        closed = setting.mode == "enforce" and setting.fail == "closed"
        hubs = [device for port, device in self._present.items() if _is_root(port)]
        failures = [error for hub in hubs if (error := self._default(hub, closed=closed))]
        _raise(failures + self._enforce(policy))

    def observe(self) -> dict[str, str]:
        devices = self._bus.devices()
        hubs = [device for device in devices if _is_root(device.path)]
        cut = [
            _port(device.path) for device in devices if not _is_root(device.path) and not device.authorized
        ]
        return {
            "devices": str(len(devices) - len(hubs)),
            "unauthorized": " ".join(cut),
            "new_devices": "closed" if hubs and not any(hub.authorized for hub in hubs) else "open",
        }

    def clean(self) -> None:
        """Authorise again what this enforcer cut, in this process or one before. Raises OSError if the
        kernel refuses.
        """
        self._policy = None
        failures = [error for port in list(self._held.blocked) if (error := self._try_let(port))]
        hubs = [device for device in self._bus.devices() if _port(device.path) in self._held.closed]
        failures += [error for hub in hubs if (error := self._default(hub, closed=False))]
        _raise(failures)
        self._file.unlink(missing_ok=True)

    def tick(self) -> list[Event]:
        if self._policy is not None and self.platform.now_us() >= self._next_us:
            drifted = self._refresh() if self._held.blocked or self._held.closed else []
            failures = self._enforce(self._policy)
            self._pending += [self._tampered(device) for device in drifted]
            _raise(failures)
        events, self._pending = self._pending, []
        return events

    @property
    def _bus(self) -> DeviceBus:
        if self._lazy_bus is None:
            self._lazy_bus = self.platform.device_bus()
        return self._lazy_bus

    def _refresh(self) -> list[Device]:
        """List what is there; returns what we had cut and somebody authorised again.

        A cut device has lost its drivers, so it keeps the class it had when it was cut.
        """
        self._present = {_port(device.path): device for device in self._bus.devices()}
        drifted: list[Device] = []
        for port, held in list(self._held.blocked.items()):
            there = self._present.get(port)
            if there is None or there.device_id != held.device_id:
                self._forget(port)
                continue
            self._present[port] = held
            if there.authorized:
                self._forget(port)
                drifted.append(held)
        return drifted

    def _judge(self, device: Device, now: int, policy: PolicyView) -> tuple[Enrichment, Verdict, list[Hit]]:
        return decide(policy, device_event(DeviceAttached, device, now), now)

    def _enforce(self, policy: PolicyView) -> list[OSError]:
        """Cut what may not be and release what may; returns releases that failed (cuts that fail are
        recorded).
        """
        now = self.platform.now_us()
        change = policy.next_change_us(now)
        self._next_us = min(now + RECHECK_US, now + RECHECK_US if change is None else change)
        failures: list[OSError] = []
        for port, device in self._present.items():
            if _is_root(port):
                continue
            enrichment, verdict, _ = self._judge(device, now, policy)
            if not verdict.block or device.device_class in KEPT:
                failures += filter(None, [self._try_let(port)])
            elif port not in self._held.blocked:
                outcome = self._cut(device, now, verdict)
                if outcome is None or outcome.record is None:
                    continue
                if outcome.action == "blocked" or self._failed.get(port) != device.device_id:
                    self._pending.append(stamp(outcome.record, enrichment, verdict, "blocked", policy.tag))
                self._failed[port] = device.device_id if outcome.action == "failed" else ""
        return failures

    def _tampered(self, device: Device) -> AgentTampered:
        return AgentTampered(
            time_us=self.platform.now_us(),
            what="devices",
            repaired=_port(device.path) in self._held.blocked,
            detail=f"{device.label} ({device.device_id}) at {_port(device.path)} was authorised by another program",
        )

    def _cut(self, device: Device, since_us: int, verdict: Verdict) -> Outcome | None:
        """Deauthorise one device; None when it was pulled out meanwhile."""
        port = _port(device.path)
        self._held.blocked[port] = device
        error = ""
        try:
            save_state(self._file, self._held)  # before the act, so that a crash in between can be cleaned
            self._bus.authorize(device.path, allowed=False)
        except OSError as failure:
            self._forget(port)
            if failure.errno in {errno.ENOENT, errno.ENODEV} and not self._is_there(device.path):
                return None
            error = str(failure)[:256]
        now = self.platform.now_us()
        record = msgspec.structs.replace(
            device_event(DeviceBlocked, device, now),
            action="failed" if error else "blocked",
            rules=verdict.rules,
            method="usb_authorized",
            latency_us=max(0, now - since_us),
            error=error,
        )
        return Outcome(action=record.action, record=record)

    def _let(self, port: str) -> None:
        """Authorise a port if we cut it, or if we made new devices start cut. Raises OSError."""
        if port in self._held.blocked or self._held.closed:
            with contextlib.suppress(FileNotFoundError):  # pulled out
                self._bus.authorize(_BUS + port, allowed=True)
            self._forget(port)

    def _try_let(self, port: str) -> OSError | None:
        try:
            self._let(port)
        except OSError as error:
            return error
        return None

    def _default(self, hub: Device, *, closed: bool) -> OSError | None:
        """Close or reopen a root hub for new devices; a hub somebody else closed is left alone."""
        port = _port(hub.path)
        ours = port in self._held.closed
        try:
            if closed and hub.authorized:
                if not ours:
                    self._held.closed.append(port)
                    save_state(self._file, self._held)
                self._bus.authorize(hub.path, allowed=False)
            elif ours and not closed:
                self._bus.authorize(hub.path, allowed=True)
                self._held.closed.remove(port)
                save_state(self._file, self._held)
        except OSError as error:
            return error
        return None

    def _forget(self, port: str) -> None:
        if self._held.blocked.pop(port, None) is not None:
            save_state(self._file, self._held)

    def _is_there(self, path: str) -> bool:
        return any(device.path == path for device in self._bus.devices())

    def _is_cut(self, path: str) -> bool:
        return any(device.path == path and not device.authorized for device in self._bus.devices())


def _port(path: str) -> str:
    return path.rpartition("/")[2]


def _is_root(path: str) -> bool:
    return "-" not in _port(path)


def _raise(failures: list[OSError]) -> None:
    if failures:
        raise OSError(failures[0].errno or errno.EIO, "; ".join(str(failure) for failure in failures)[:1000])


def _device(event: DeviceAttached) -> Device:
    """The device an event tells of."""
    return Device(
        path=_BUS + event.port,
        device_class=event.device_class,
        device_id=event.device_id,
        vendor_id=event.vendor_id,
        product_id=event.product_id,
        serial=event.serial,
        label=event.label,
        interfaces=event.interfaces,
    )
