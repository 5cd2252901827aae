"""Devices from plug to cut: sensor, judge and enforcer over a mocked USB bus, each body in a process of its
own.
"""

import time
from pathlib import Path

import pytest

from agent.enforcers import Outcome
from agent.enforcers.usb import UsbEnforcer
from agent.judge import decide
from agent.platform import Platform
from agent.sensors.devices import DevicesSensor
from policies.model import Permit
from policies.view import PolicyView
from protocol.events import (
    AgentTampered,
    DeviceAttached,
    DeviceBlocked,
    DeviceDetached,
    Event,
    decode_event,
    encode_event,
)
from tests import mockdev
from tests.agent.strict_policy import FAR_US, permit, policy
from tests.mockdev import Bed, Usb, under_mock

pytestmark = pytest.mark.needs("root", "umockdev")


class Pc:
    """The part of the agent that deals with devices, wired as the runtime does."""

    def __init__(self, folder: Path, view: PolicyView) -> None:
        self.platform = Platform(state=folder / "state", run=folder / "run")
        self.sensor = DevicesSensor(self.platform)
        self.enforcer = UsbEnforcer(self.platform)
        self.view = view
        self.enforcer.apply(view)
        self.start = self.judge(self.sensor.open())

    def judge(self, events: object) -> list[tuple[Event, Outcome | None]]:
        """Judge and enforce."""
        done: list[tuple[Event, Outcome | None]] = []
        for event in events:  # type: ignore[attr-defined]
            assert decode_event(encode_event(event)) == event
            _, verdict, _ = decide(self.view, event, self.platform.now_us())
            done.append((event, self.enforcer.stop(event, verdict)))
        return done

    def step(self) -> list[tuple[Event, Outcome | None]]:
        """One turn of the main loop."""
        return self.judge([event for fd, _ in self.sensor.filenos() for event in self.sensor.read(fd)])

    def apply(self, view: PolicyView) -> None:
        """A new policy."""
        self.view = view
        self.enforcer.apply(view)


def _permit(device: Usb, until_us: int = FAR_US) -> Permit:
    vendor, product = f"{device.vendor:04x}", f"{device.product:04x}"
    return permit("device", until_us=until_us, serial=device.serial, vendor_id=vendor, product_id=product)


def _record(outcome: Outcome | None) -> DeviceBlocked:
    assert outcome is not None
    assert isinstance(outcome.record, DeviceBlocked)
    return outcome.record


def _every_kind(bed: Bed, folder: Path) -> None:
    pc = Pc(folder, policy(_permit(mockdev.STICK)))
    assert pc.enforcer.readiness().level == "enforce"
    cases = [
        ("1-1", mockdev.OTHER_STICK, False),
        ("1-2", mockdev.STICK, True),
        ("1-3", mockdev.PHONE, False),
        ("1-4", mockdev.TETHER, False),
        ("1-5", mockdev.BLUETOOTH_DONGLE, False),
        ("1-6", mockdev.BAD_STORAGE, False),
        ("1-7", mockdev.BAD_NETWORK, False),
        ("1-8", mockdev.KEYBOARD_DEVICE, True),
        ("1-9", mockdev.MOUSE_DEVICE, True),
        ("1-10", mockdev.HUB_DEVICE, True),
        ("1-10.1", mockdev.NAMELESS_STICK, False),
        ("1-11", mockdev.STICK._replace(serial="FORGED"), False),
    ]
    for port, device, allowed in cases:
        bed.plug(port, device)
        event, outcome = pc.step()[0]
        assert isinstance(event, DeviceAttached)
        assert event.port == port
        assert bed.authorized(port) is allowed, (port, device)
        if not allowed:
            record = _record(outcome)
            assert (record.action, record.method, record.port) == ("blocked", "usb_authorized", port)
            assert 0 < record.latency_us < 1_000_000
            assert record.rules == ("device-without-permit",)
            assert record.device_id == event.device_id
    assert pc.enforcer.observe()["unauthorized"].split() == [
        port for port, _, allowed in sorted(cases) if not allowed
    ]
    bed.unplug("1-1")
    assert [type(event) for event, _ in pc.step()] == [DeviceDetached]
    pc.enforcer.clean()
    assert all(bed.authorized(port) for port, _, _ in cases[1:])


def _what_is_there_already(bed: Bed, folder: Path) -> None:
    bed.plug("1-1", mockdev.OTHER_STICK)
    bed.plug("1-2", mockdev.KEYBOARD_DEVICE)
    pc = Pc(folder, policy())
    assert [(type(event), event.action) for event in pc.enforcer.tick()] == [(DeviceBlocked, "blocked")]
    assert [outcome and outcome.action for _, outcome in pc.start] == ["blocked", None]
    assert [event.port for event, _ in pc.start if isinstance(event, DeviceAttached)] == ["1-1", "1-2"]
    assert not bed.authorized("1-1")
    assert bed.authorized("1-2")


def _late_driver(bed: Bed, folder: Path) -> None:
    """A Wi-Fi dongle shows vendor-specific interfaces only, until its driver makes an adapter."""
    view = policy(_permit(mockdev.WIFI))
    pc = Pc(folder, view)
    bed.plug("1-1", mockdev.WIFI)
    assert [event.device_class for event, _ in pc.step() if isinstance(event, DeviceAttached)] == ["other"]
    bed.adapter("1-1", "wlan9")
    assert [event.device_class for event, _ in pc.step() if isinstance(event, DeviceAttached)] == ["network"]
    bed.adapter("1-1", "wlan10")
    assert pc.step() == []


def _policies(bed: Bed, folder: Path) -> None:
    granted = policy(_permit(mockdev.OTHER_STICK))
    pc = Pc(folder, policy(mode="observe"))
    bed.plug("1-1", mockdev.OTHER_STICK)
    bed.plug("1-2", mockdev.PHONE)
    assert [outcome for _, outcome in pc.step()] == [None, None]
    pc.apply(granted)
    assert [bed.authorized(port) for port in ("1-1", "1-2")] == [True, False]
    records = pc.enforcer.tick()
    assert [(type(event), event.policy) for event in records] == [(DeviceBlocked, granted.tag)]
    pc.apply(policy())
    assert [bed.authorized(port) for port in ("1-1", "1-2")] == [False, False]
    pc.apply(policy())
    assert len(pc.enforcer.tick()) == 1  # the second time changed nothing
    pc.apply(granted)
    assert [bed.authorized(port) for port in ("1-1", "1-2")] == [True, False]
    pc.apply(policy(mode="observe"))
    assert [bed.authorized(port) for port in ("1-1", "1-2")] == [True, True]


def _expiry(bed: Bed, folder: Path) -> None:
    pc = Pc(folder, policy())
    until = pc.platform.now_us() + 300_000
    pc.apply(policy(_permit(mockdev.OTHER_STICK, until)))
    bed.plug("1-1", mockdev.OTHER_STICK)
    pc.step()
    assert bed.authorized("1-1")
    deadline = time.monotonic() + 10
    while bed.authorized("1-1"):
        assert time.monotonic() < deadline
        records = pc.enforcer.tick()
    assert pc.platform.now_us() >= until
    assert [event.permit for event in records] == ["expired"]


def _crash(bed: Bed, folder: Path) -> None:
    """A fresh process knows what the dead one cut, also though the cut device shows less of itself by now."""
    pc = Pc(folder, policy())
    bed.plug("1-1", mockdev.TETHER)
    pc.step()
    assert not bed.authorized("1-1")
    again = Pc(folder, policy())
    (outcome,) = [outcome for event, outcome in again.start if isinstance(event, DeviceAttached)]
    assert not bed.authorized("1-1")
    assert [outcome and outcome.action, outcome and outcome.record] == [
        "blocked",
        None,
    ]  # told by the dead one
    assert again.enforcer.tick() == []
    again.enforcer.clean()
    assert bed.authorized("1-1")
    assert not (folder / "state" / "usb.blocked").exists()
    Pc(folder, policy())
    UsbEnforcer(Platform(state=folder / "state", run=folder / "run")).clean()
    assert bed.authorized("1-1")


def _lost_events(bed: Bed, folder: Path) -> None:
    pc = Pc(folder, policy())
    bed.plug("1-1", mockdev.STICK)
    pc.step()
    bed.vanish("1-1")
    bed.plug("1-2", mockdev.OTHER_STICK)
    while pc.sensor._bus is not None and list(pc.sensor._bus.changes()):
        pass  # the kernel dropped these
    done = pc.judge(pc.sensor.recover())
    assert [
        (type(event), event.port) for event, _ in done if isinstance(event, DeviceAttached | DeviceDetached)
    ] == [
        (DeviceDetached, "1-1"),
        (DeviceAttached, "1-2"),
    ]
    assert not bed.authorized("1-2")
    assert list(pc.sensor.recover()) == []


def _tampering(bed: Bed, folder: Path) -> None:
    pc = Pc(folder, policy())
    bed.plug("1-1", mockdev.STICK)
    pc.step()
    (mockdev.SYS / "bus/usb/devices/1-1/authorized").write_text("1")
    pc.enforcer._next_us = 0
    events = pc.enforcer.tick()
    assert not bed.authorized("1-1")
    assert [(event.what, event.repaired) for event in events if isinstance(event, AgentTampered)] == [
        ("devices", True)
    ]


def _fail_closed(bed: Bed, folder: Path) -> None:
    """New devices start cut; what is permitted, and every keyboard, is allowed by the agent."""
    view = policy(_permit(mockdev.STICK), fail="closed")
    pc = Pc(folder, view)
    assert pc.enforcer.observe()["new_devices"] == "closed"
    for port, device in (
        ("1-1", mockdev.STICK),
        ("1-2", mockdev.KEYBOARD_DEVICE),
        ("1-3", mockdev.OTHER_STICK),
    ):
        bed.plug(port, device)
        assert not bed.authorized(port)
    pc.step()
    assert [bed.authorized(port) for port in ("1-1", "1-2", "1-3")] == [True, True, False]
    bed.plug("1-4", mockdev.MOUSE_DEVICE)
    pc.enforcer._next_us = 0
    pc.enforcer.tick()  # though nobody handed the event over
    assert bed.authorized("1-4")
    pc.apply(policy(fail="open"))
    assert pc.enforcer.observe()["new_devices"] == "open"
    pc.apply(view)
    pc.enforcer.clean()
    assert bed.attribute("usb1", "authorized_default") == "1"


def _cut_fails(bed: Bed, folder: Path) -> None:
    pc = Pc(folder, policy())
    bed.plug("1-1", mockdev.STICK)
    switch = bed.real("1-1", "authorized")
    switch.unlink()
    switch.symlink_to("/dev/full")
    record = _record(pc.step()[0][1])
    assert record.action == "failed"
    assert "No space left" in record.error
    for _ in range(3):
        pc.enforcer._next_us = 0
        records = pc.enforcer.tick()
    assert records == []  # told once


@pytest.mark.parametrize(
    "body",
    [
        _every_kind,
        _what_is_there_already,
        _late_driver,
        _policies,
        _expiry,
        _crash,
        _lost_events,
        _tampering,
        _fail_closed,
        _cut_fails,
    ],
    ids=lambda body: body.__name__.strip("_"),
)
def test_devices(body: object, tmp_path: Path) -> None:
    under_mock(body, tmp_path)  # type: ignore[arg-type]
