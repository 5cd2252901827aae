"""USB descriptors, identity, class, uevents, and the device bus over a mocked and over the real kernel."""

import errno
import select
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux import usb_descriptors
from agent.platform.linux.devices import LinuxDeviceBus, parse_uevent, usb_port
from agent.platform.ports import OverflowedError, UnsupportedError
from tests import mockdev
from tests.mockdev import Bed, Usb, descriptors, under_mock

CLASSES = {
    "storage": [mockdev.STICK, mockdev.NAMELESS_STICK],
    "phone": [mockdev.PHONE, mockdev.IPHONE],
    "network": [mockdev.TETHER, mockdev.ADAPTER],
    "bluetooth": [mockdev.BLUETOOTH_DONGLE],
    "badusb": [mockdev.BAD_STORAGE, mockdev.BAD_NETWORK, mockdev.BAD_SERIAL],
    "input": [mockdev.KEYBOARD_DEVICE, mockdev.MOUSE_DEVICE, Usb(1, 1, (mockdev.KEYBOARD, mockdev.VENDOR))],
    "hub": [mockdev.HUB_DEVICE],
    "printer": [mockdev.PRINTER_DEVICE],
    "audio": [Usb(1, 1, ((1, 1, 0), mockdev.HID))],
    "video": [Usb(1, 1, ((14, 1, 0), (1, 1, 0)))],
    "other": [mockdev.WIFI, Usb(1, 1, (mockdev.HUB, (0x0B, 0, 0)))],
}


def _read(device: Usb) -> usb_descriptors.Descriptors:
    found = usb_descriptors.parse(descriptors(device))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "device"), [(name, each) for name, all_ in CLASSES.items() for each in all_]
)
def test_class_of_every_kind_of_device(name: str, device: Usb) -> None:
    assert usb_descriptors.classify(_read(device)) == name


def test_a_device_that_only_its_drivers_give_away() -> None:
    keyboard = Usb(1, 1, (mockdev.HID, mockdev.STORAGE))
    assert usb_descriptors.classify(_read(mockdev.WIFI), frozenset({"network"})) == "network"
    assert usb_descriptors.classify(_read(keyboard)) == "storage"
    assert usb_descriptors.classify(_read(keyboard), frozenset({"keyboard"})) == "badusb"
    assert usb_descriptors.classify(_read(mockdev.KEYBOARD_DEVICE), frozenset({"network"})) == "badusb"
    assert usb_descriptors.classify(_read(mockdev.IPHONE), frozenset({"network"})) == "phone"


def test_all_configurations_count() -> None:
    head, one = descriptors(mockdev.KEYBOARD_DEVICE), descriptors(mockdev.STICK)[18:]
    found = usb_descriptors.parse(head + one)
    assert found is not None
    assert usb_descriptors.classify(found) == "badusb"


def _identity(device: Usb, port: str) -> str:
    raw = descriptors(device)
    return usb_descriptors.identity(usb_descriptors.parse(raw), raw, device.serial, port)


def test_identity_follows_the_device_not_the_port_or_its_speed() -> None:
    stick = mockdev.STICK
    assert _identity(stick, "1-1") == _identity(stick, "2-4.1") == _identity(stick._replace(usb3=True), "1-1")
    assert _identity(stick, "1-1") != _identity(stick._replace(serial="other"), "1-1")
    assert _identity(stick, "1-1") != _identity(stick._replace(product=1), "1-1")
    assert _identity(stick, "1-1") != _identity(
        stick._replace(interfaces=(mockdev.KEYBOARD, mockdev.STORAGE)), "1-1"
    )


def test_without_a_serial_the_port_is_part_of_the_identity() -> None:
    assert _identity(mockdev.NAMELESS_STICK, "1-1") != _identity(mockdev.NAMELESS_STICK, "1-2")
    assert _identity(mockdev.NAMELESS_STICK, "1-1") != _identity(
        mockdev.NAMELESS_STICK._replace(serial="1-1"), "1-1"
    )


@given(st.binary(max_size=4096))
def test_no_bytes_break_the_descriptor_reader(data: bytes) -> None:
    for raw in (data, descriptors(mockdev.STICK)[:18] + data, bytes((18, 1)) + data):
        found = usb_descriptors.parse(raw)
        assert found is None or len(found.interfaces) <= usb_descriptors.MAX_INTERFACES
        assert usb_descriptors.classify(found) in {*CLASSES}
        assert len(usb_descriptors.identity(found, raw, "", "1-1")) == 64
    usb_descriptors.is_keyboard(data)


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_device_that_lies_in_one_byte_is_still_read(at: int, value: int) -> None:
    raw = bytearray(descriptors(mockdev.BAD_NETWORK))
    raw[at % len(raw)] = value
    found = usb_descriptors.parse(bytes(raw))
    assert found is None or len(found.interfaces) <= 3


def test_a_storm_of_interfaces_is_cut_off() -> None:
    found = usb_descriptors.parse(descriptors(mockdev.STICK) + bytes((9, 4, 0, 0, 0, 3, 1, 1, 0)) * 9000)
    assert found is not None
    assert len(found.interfaces) == usb_descriptors.MAX_INTERFACES


def test_keyboard_by_its_report_descriptor() -> None:
    assert usb_descriptors.is_keyboard(mockdev.KEYBOARD_REPORT)
    assert not usb_descriptors.is_keyboard(bytes.fromhex("05010902a101c0"))  # a mouse
    assert not usb_descriptors.is_keyboard(bytes.fromhex("050c0906a101c0"))  # usage 6 of another page


@given(st.binary(max_size=600))
def test_no_bytes_break_the_uevent_reader(data: bytes) -> None:
    for message in (data, b"add@/x\0" + data, b"libudev\0\xfe\xed\xca\xfe" + data):
        found = parse_uevent(message)
        assert found is None or {"ACTION", "DEVPATH"} <= found.keys()


def test_uevent_of_the_kernel() -> None:
    found = parse_uevent(b"add@/devices/x/usb1/1-1\0ACTION=add\0DEVPATH=/devices/x/usb1/1-1\0SUBSYSTEM=usb\0")
    assert found == {"ACTION": "add", "DEVPATH": "/devices/x/usb1/1-1", "SUBSYSTEM": "usb"}


@pytest.mark.parametrize(
    ("devpath", "port"),
    [
        ("/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2", "1-1.2"),
        ("/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/net/wlan0", "1-1"),
        ("/devices/pci0000:00/0000:00:14.0/usb1", ""),
        ("/devices/virtual/net/lo", ""),
    ],
)
def test_port_of_a_kernel_path(devpath: str, port: str) -> None:
    assert usb_port(devpath) == port


@pytest.mark.parametrize(
    "path", ["bus/usb/devices/../../x", "bus/usb/devices/1-1/x", "class/net/eth0", "1-1", ""]
)
def test_only_usb_devices_can_be_cut(path: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        LinuxDeviceBus(tmp_path).authorize(path, allowed=False)


def test_a_switch_that_does_not_hold_is_an_error(tmp_path: Path) -> None:
    device = tmp_path / "bus/usb/devices/1-1"
    device.mkdir(parents=True)
    (device / "authorized").symlink_to("/dev/null")
    with pytest.raises(OSError, match="reads back") as error:
        LinuxDeviceBus(tmp_path).authorize("bus/usb/devices/1-1", allowed=False)
    assert error.value.errno == errno.EIO


def _bus_body(bed: Bed, folder: Path) -> None:
    bus = LinuxDeviceBus(mockdev.SYS)
    bus.fileno()
    assert [device.path for device in bus.devices()] == ["bus/usb/devices/usb1"]
    bed.plug("1-1", mockdev.HUB_DEVICE)
    bed.plug("1-1.4", mockdev.STICK)
    assert [(change.action, change.path) for change in bus.changes()] == [
        ("add", "bus/usb/devices/1-1"),
        ("add", "bus/usb/devices/1-1.4"),
    ]
    stick = next(device for device in bus.devices() if device.device_class == "storage")
    assert (stick.vendor_id, stick.product_id, stick.serial) == ("0951", "1666", "001CC0EC34F1")
    assert (stick.label, stick.interfaces) == ("Kingston DataTraveler 3.0", ("08:06:50",))
    for allowed in (False, True):
        bus.authorize(stick.path, allowed=allowed)
        assert bed.authorized("1-1.4") is allowed
    bus.authorize("bus/usb/devices/usb1", allowed=False)
    assert bed.attribute("usb1", "authorized_default") == "0"

    bed.plug("1-2", mockdev.WIFI)
    assert [change.device.device_class for change in bus.changes() if change.device] == ["other"]
    bed.adapter("1-2", "wlan7")
    assert [change.device.device_class for change in bus.changes() if change.device] == ["network"]
    bed.plug("1-3", Usb(1, 2, (mockdev.HID, mockdev.STORAGE)))
    bed.hid("1-3", mockdev.KEYBOARD_REPORT)
    assert [change.device.device_class for change in bus.changes() if change.device][-1] == "badusb"
    bed.unplug("1-2")
    assert [(change.action, change.path) for change in bus.changes()] == [("remove", "bus/usb/devices/1-2")]
    assert list(bus.changes()) == []
    bus.close()


@pytest.mark.needs("umockdev")
def test_device_bus(tmp_path: Path) -> None:
    under_mock(_bus_body, tmp_path)


def _read_all(bus: LinuxDeviceBus, poller: select.poll) -> None:
    while poller.poll(0):
        list(bus.changes())


@pytest.mark.needs("root", "loop")
def test_an_overflow_of_the_kernels_queue_is_named_and_survived() -> None:
    bus = LinuxDeviceBus(Path("/sys"))
    poller = select.poll()
    poller.register(bus.fileno(), select.POLLIN)
    assert bus._socket is not None
    bus._socket.setsockopt(socket.SOL_SOCKET, 33, 2048)  # SO_RCVBUFFORCE
    trigger = Path("/sys/class/block/loop7/uevent")
    for _ in range(64):
        trigger.write_text("change")
    assert poller.poll(5000)
    with pytest.raises(OverflowedError):
        _read_all(bus, poller)
    while poller.poll(0):
        assert list(bus.changes()) == []
    trigger.write_text("change")
    assert poller.poll(5000)
    assert list(bus.changes()) == []
    bus.close()
