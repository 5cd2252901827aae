"""USB descriptors: a bounded reader, the device's identity and its class. Pure; nothing here touches a
device.

Layout: USB 2.0 specification, chapter 9.6 (device, configuration and interface descriptors); class codes:
USB-IF "Defined Class Codes". The bytes come from a device that may lie, so everything is length-checked and
counted.
"""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec import Struct

MAX_BYTES: Final = 65_536
"""A configuration is at most 65,535 bytes (``wTotalLength``); what follows is not read."""
MAX_INTERFACES: Final = 256

_DEVICE, _INTERFACE, _CONFIGURATION = 0x01, 0x04, 0x02
_APPLE: Final = 0x05AC
_SERIAL_CHIPS: Final = frozenset({0x0403, 0x067B, 0x10C4, 0x1A86})
"""FTDI, Prolific, Silicon Labs, WCH: vendor-specific interfaces that are serial ports."""
_NETWORK_CDC: Final = frozenset({0x06, 0x08, 0x0C, 0x0D, 0x0E})
"""CDC subclasses ECM, wireless handset, EEM, NCM, MBIM."""
_BESIDE_INPUT: Final = frozenset({0x01, 0x03, 0x0B, 0xFE, 0xFF})
"""What honest keyboards and mice carry besides HID: audio, smart card reader, firmware update, lights."""


class Interface(Struct, frozen=True):
    """One alternate setting of one interface of one configuration."""

    configuration: int
    number: int
    alternate: int
    cls: int
    sub: int
    proto: int

    @property
    def code(self) -> str:
        """``cc:ss:pp`` in hex."""
        return f"{self.cls:02x}:{self.sub:02x}:{self.proto:02x}"


class Descriptors(Struct, frozen=True):
    """What a device says it is. ``vendor``, ``product``, ``release`` are idVendor, idProduct, bcdDevice."""

    vendor: int
    product: int
    release: int
    device_class: tuple[int, int, int]
    configurations: int
    interfaces: tuple[Interface, ...]

    def codes(self) -> tuple[str, ...]:
        """Interface codes in order of appearance, each once."""
        return tuple(dict.fromkeys(interface.code for interface in self.interfaces))


def parse(data: bytes) -> Descriptors | None:
    """Read sysfs ``descriptors`` (device descriptor, then every configuration). None if it is not one.

    Stops at the first broken length; at most :data:`MAX_INTERFACES` interfaces are kept.
    """
    data = data[:MAX_BYTES]
    if len(data) < 18 or data[0] < 18 or data[1] != _DEVICE:
        return None
    interfaces: list[Interface] = []
    configuration = 0
    at = data[0]
    while at + 2 <= len(data) and len(interfaces) < MAX_INTERFACES:
        length, kind = data[at], data[at + 1]
        if length < 2 or at + length > len(data):
            break
        if kind == _CONFIGURATION and length >= 6:
            configuration = data[at + 5]
        elif kind == _INTERFACE and length >= 9:
            interfaces.append(Interface(configuration, data[at + 2], data[at + 3], *data[at + 5 : at + 8]))
        at += length
    return Descriptors(
        vendor=int.from_bytes(data[8:10], "little"),
        product=int.from_bytes(data[10:12], "little"),
        release=int.from_bytes(data[12:14], "little"),
        device_class=(data[4], data[5], data[6]),
        configurations=data[17],
        interfaces=tuple(interfaces),
    )


def identity(descriptors: Descriptors | None, raw: bytes, serial: str, port: str) -> str:
    """SHA-256 (hex) over descriptors, vendor, product and serial; without a serial the port is part of it.

    The idea is USBGuard's device hash. Fields that change with the speed of the port (bcdUSB, packet sizes,
    power, endpoint companions) stay out: a stick registered on a USB 3 port is the same stick on a USB 2
    port.
    """
    digest = hashlib.sha256(b"sekisho usb 1\0")
    if descriptors is None:
        digest.update(b"raw\0" + hashlib.sha256(raw).digest())
    else:
        head = (descriptors.vendor, descriptors.product, descriptors.release, descriptors.configurations)
        digest.update(b"".join(value.to_bytes(2, "big") for value in head) + bytes(descriptors.device_class))
        for each in descriptors.interfaces:
            digest.update(
                bytes((each.configuration, each.number, each.alternate, each.cls, each.sub, each.proto))
            )
    digest.update(b"\0serial\0" + serial.encode() if serial else b"\0port\0" + port.encode())
    return digest.hexdigest()


def is_keyboard(report: bytes) -> bool:
    """Does a HID report descriptor declare a keyboard or keypad?

    HID 1.11, 6.2.2: short items, Usage Page (0x04, global) Generic Desktop and Usage (0x08, local) 6 or 7.
    """
    page, at = 0, 0
    report = report[:4096]
    while at < len(report):
        prefix = report[at]
        if prefix == 0xFE:  # long item: its length is the next byte
            at += 3 + (report[at + 1] if at + 1 < len(report) else 0)
            continue
        size = (0, 1, 2, 4)[prefix & 0x03]
        value = int.from_bytes(report[at + 1 : at + 1 + size], "little")
        if prefix & 0xFC == 0x04:
            page = value
        elif prefix & 0xFC == 0x08 and (page, value) in {(1, 6), (1, 7)}:
            return True
        at += 1 + size
    return False


def functions(descriptors: Descriptors) -> frozenset[str]:
    """What the interfaces can do: storage, phone, network, bluetooth, serial, keyboard, pointer, …"""
    found = (_function(descriptors.vendor, each) for each in descriptors.interfaces)
    return frozenset(name for name in found if name)


def _function(vendor: int, each: Interface) -> str:
    match (each.cls, each.sub, each.proto):
        case (0x08, _, _):
            return "storage"
        case (
            (0x06, _, _) | (0xFF, 0x42, 0x01) | (0xFF, 0xFE, 0x02)
        ):  # PTP/MTP, Android debug bridge, Apple multiplexer
            return "phone"
        case (0xE0, 0x01, 0x01) | (0xE0, 0x01, 0x04):
            return "bluetooth"
        case (0xE0, 0x01, 0x03) | (0xEF, 0x04, 0x01) | (0x02, 0x02, 0xFF):  # RNDIS in its three guises
            return "network"
        case (0x02, sub, _) if sub in _NETWORK_CDC:
            return "network"
        case (0x02, 0x02, _):
            return "serial"
        case (0xFF, _, _) if vendor in _SERIAL_CHIPS:
            return "serial"
        case (0x03, 0x01, 0x01):
            return "keyboard"
        case (0x03, 0x01, 0x02):
            return "pointer"
        case _:
            return {0x01: "audio", 0x07: "printer", 0x0E: "video"}.get(each.cls, "")


def classify(descriptors: Descriptors | None, children: frozenset[str] = frozenset()) -> str:
    """Device class as in ``protocol.events``. ``children`` are functions seen through drivers (``network``,
    ``keyboard``, …).

    A keyboard beside storage, network, phone or serial is the signature of BadUSB tools. What names several
    functions counts as the most dangerous one.
    """
    if descriptors is None:
        return "other"
    classes = {each.cls for each in descriptors.interfaces}
    can = functions(descriptors) | children
    if classes == {0x09}:
        return "hub"
    if "keyboard" in can and can & {"storage", "network", "phone", "serial"}:
        return "badusb"
    if "storage" in can:
        return "storage"
    # An iPhone always offers its tethering interface, so only the phone says something about it.
    if "phone" in can and descriptors.vendor == _APPLE:
        return "phone"
    for name in ("network", "phone", "bluetooth"):
        if name in can:
            return name
    if classes == {0x03} or (
        can & {"keyboard", "pointer"} and classes <= _BESIDE_INPUT and "serial" not in can
    ):
        return "input"
    for name in ("printer", "video", "audio"):
        if name in can:
            return name
    return "other"
