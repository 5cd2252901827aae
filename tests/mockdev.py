"""USB devices that are not there: libumockdev by ctypes, with descriptions of the kinds the agent must tell
apart.

A testbed replaces /sys for the process that makes it and for its children, so a body that uses one runs in a
process of its own with the preload library: :func:`under_mock`. `python -m tests.mockdev module:function` is
that process.
"""

import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PRELOAD = "libumockdev-preload.so.0"
CONTROLLER = "/devices/pci0000:00/0000:00:14.0/usb1"
SYS = Path("/sys")

STORAGE, PTP, PRINTER = (8, 6, 0x50), (6, 1, 1), (7, 1, 2)
KEYBOARD, MOUSE, HID = (3, 1, 1), (3, 1, 2), (3, 0, 0)
RNDIS, CDC_DATA, ECM, ACM = (0xE0, 1, 3), (0x0A, 0, 0), (2, 6, 0), (2, 2, 1)
BLUETOOTH, VENDOR, HUB = (0xE0, 1, 1), (0xFF, 0xFF, 0xFF), (9, 0, 0)
Code = tuple[int, int, int]

KEYBOARD_REPORT = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295087501810195067508150025650507190029658100c0"
)
"""HID 1.11, appendix B.1 in substance: usage page Generic Desktop, usage Keyboard."""


class Usb(NamedTuple):
    """A device as it would be plugged in. `net` names a network adapter below its first interface."""

    vendor: int
    product: int
    interfaces: tuple[Code, ...]
    serial: str = ""
    maker: str = "Acme"
    name: str = "Device"
    net: str = ""
    usb3: bool = False


STICK = Usb(0x0951, 0x1666, (STORAGE,), serial="001CC0EC34F1", maker="Kingston", name="DataTraveler 3.0")
OTHER_STICK = Usb(0x0781, 0x5567, (STORAGE,), serial="4C530001", maker="SanDisk", name="Cruzer Blade")
NAMELESS_STICK = Usb(0x058F, 0x6387, (STORAGE,))
PHONE = Usb(0x18D1, 0x4EE1, (PTP,), serial="8A1X0", maker="Google", name="Pixel 8")
IPHONE = Usb(
    0x05AC, 0x12A8, (PTP, (0xFF, 0xFE, 2), (0xFF, 0xFD, 1)), serial="0000811000", maker="Apple", name="iPhone"
)
TETHER = Usb(0x18D1, 0x4EE3, (RNDIS, CDC_DATA), serial="8A1X0", maker="Google", name="Pixel 8", net="usb0")
ADAPTER = Usb(0x0B95, 0x1790, (ECM, CDC_DATA), serial="0000249B", maker="ASIX", name="AX88179", net="eth9")
WIFI = Usb(0x0BDA, 0x8179, (VENDOR,), serial="00E04C0001", maker="Realtek", name="802.11n NIC")
BLUETOOTH_DONGLE = Usb(0x0A12, 0x0001, (BLUETOOTH,), name="CSR8510 A10")
BAD_STORAGE = Usb(0x03EB, 0x2403, (KEYBOARD, STORAGE), name="Composite")
BAD_NETWORK = Usb(0x1D6B, 0x0104, (KEYBOARD, RNDIS, CDC_DATA), name="Gadget")
BAD_SERIAL = Usb(0x2341, 0x8036, (KEYBOARD, ACM), name="Leonardo")
KEYBOARD_DEVICE = Usb(0x046D, 0xC31C, (KEYBOARD, HID), maker="Logitech", name="Keyboard K120")
MOUSE_DEVICE = Usb(0x046D, 0xC077, (MOUSE,), maker="Logitech", name="M105")
HUB_DEVICE = Usb(0x05E3, 0x0608, (HUB,), maker="GenesysLogic", name="USB2.0 Hub")
PRINTER_DEVICE = Usb(0x04B8, 0x0001, (PRINTER,), serial="X1", maker="Epson", name="LP")


def descriptors(device: Usb) -> bytes:
    """The bytes of sysfs `descriptors`: device, one configuration, its interfaces with an endpoint each."""
    body = b""
    for number, code in enumerate(device.interfaces):
        body += bytes((9, 4, number, 0, 1, *code, 0))
        packet = 1024 if device.usb3 else 512
        body += bytes((7, 5, 0x81 + number, 2, packet & 0xFF, packet >> 8, 0))
        if device.usb3:
            body += bytes((6, 0x30, 15, 0, 0, 0))
    total = 9 + len(body)
    configuration = bytes(
        (9, 2, total & 0xFF, total >> 8, len(device.interfaces), 1, 0, 0x80, 112 if device.usb3 else 50)
    )
    speed = (0x00, 0x03) if device.usb3 else (0x00, 0x02)
    ids = device.vendor.to_bytes(2, "little") + device.product.to_bytes(2, "little")
    head = bytes((18, 1, *speed, 0, 0, 0, 9 if device.usb3 else 64)) + ids
    return head + bytes((0x00, 0x01, 1, 2, 3 if device.serial else 0, 1)) + configuration + body


class Bed:
    """A machine with one USB controller. Every method ends with the uevent the kernel would send."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libumockdev.so.0")
        self._lib.umockdev_testbed_new.restype = ctypes.c_void_p
        self._bed = ctypes.c_void_p(self._lib.umockdev_testbed_new())
        self._count = 0
        root = Usb(0x1D6B, 0x0002, (HUB,), maker="Linux", name="xHCI Host Controller")
        self._add(CONTROLLER, root, "authorized_default=1")

    def path(self, port: str) -> str:
        """Kernel path of a port: `1-2.3` hangs behind `1-2`."""
        bus, _, places = port.partition("-")
        parts = places.split(".")
        return "/".join([CONTROLLER, *(f"{bus}-{'.'.join(parts[: end + 1])}" for end in range(len(parts)))])

    def plug(self, port: str, device: Usb) -> None:
        """Plug a device in; its network adapter, if any, comes with it."""
        root = self.attribute("usb1", "authorized_default")
        self._add(self.path(port), device, f"authorized={root}")
        if device.net:
            self.adapter(port, device.net)

    def adapter(self, port: str, name: str) -> None:
        """A driver makes a network adapter of the first interface (Wi-Fi with vendor-specific interfaces,
        later).
        """
        self._describe(f"P: {self.path(port)}/{port}:1.0/net/{name}\nE: SUBSYSTEM=net\nE: INTERFACE={name}\n")

    def wireless(self, name: str) -> None:
        """A wireless adapter on the board; the interface itself is whatever has that name."""
        place = f"/devices/pci0000:00/0000:00:1c.0/net/{name}"
        self._describe(
            f"P: {place}\nE: SUBSYSTEM=net\nE: INTERFACE={name}\nE: DEVTYPE=wlan\nL: phy80211=../../ieee80211/phy0\n"
        )

    def hid(self, port: str, report: bytes) -> None:
        """The HID driver binds to the first interface."""
        child = f"{self.path(port)}/{port}:1.0/0003:1234:5678.0001"
        self._describe(f"P: {child}\nE: SUBSYSTEM=hid\nH: report_descriptor={report.hex()}\n")

    def unplug(self, port: str) -> None:
        """Pull a device out."""
        path = ("/sys" + self.path(port)).encode()
        self._lib.umockdev_testbed_uevent(self._bed, path, b"remove")
        self._lib.umockdev_testbed_remove_device(self._bed, path)

    def vanish(self, port: str) -> None:
        """Pull a device out and lose the event."""
        self._lib.umockdev_testbed_remove_device(self._bed, ("/sys" + self.path(port)).encode())

    def attribute(self, name: str, attribute: str) -> str:
        """A sysfs attribute of a device as everybody reads it."""
        return (SYS / "bus/usb/devices" / name / attribute).read_text().strip()

    def folder(self) -> str:
        """The testbed's folder: another process sees these devices with it in UMOCKDEV_DIR."""
        self._lib.umockdev_testbed_get_root_dir.restype = ctypes.c_char_p
        return str(self._lib.umockdev_testbed_get_root_dir(self._bed).decode())

    def real(self, port: str, attribute: str) -> Path:
        """Where the attribute's file really lies: for what the preload does not redirect."""
        return Path(f"{self.folder()}/sys{self.path(port)}/{attribute}")

    def authorized(self, port: str) -> bool:
        """Whether a device may be used."""
        return self.attribute(port, "authorized") == "1"

    def _add(self, path: str, device: Usb, switch: str) -> None:
        self._count += 1
        serial = f"A: serial={device.serial}\\n\n" if device.serial else ""
        self._describe(
            f"P: {path}\nN: bus/usb/001/{self._count:03}\n"
            "E: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n"
            f"A: idVendor={device.vendor:04x}\\n\nA: idProduct={device.product:04x}\\n\n"
            f"A: manufacturer={device.maker}\\n\nA: product={device.name}\\n\n{serial}A: {switch}\\n\n"
            f"H: descriptors={descriptors(device).hex().upper()}\n"
        )

    def _describe(self, text: str) -> None:
        error = ctypes.c_void_p()
        if not self._lib.umockdev_testbed_add_from_string(self._bed, text.encode(), ctypes.byref(error)):
            raise RuntimeError(f"umockdev refused\n{text}")


def under_mock(body: Callable[[Bed, Path], None], folder: Path) -> None:
    """Run a module-level function with a :class:`Bed` and a folder in a process under the preload. Fails as
    it failed.
    """
    command = [sys.executable, "-m", "tests.mockdev", f"{body.__module__}:{body.__qualname__}"]
    earlier = os.environ.get("LD_PRELOAD", "")
    environment = os.environ | {"LD_PRELOAD": f"{PRELOAD} {earlier}".strip(), "SEKISHO_TEST_DIR": str(folder)}
    place = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def _main() -> None:
    module, _, name = sys.argv[1].partition(":")
    getattr(importlib.import_module(module), name)(Bed(), Path(os.environ["SEKISHO_TEST_DIR"]))


if __name__ == "__main__":
    _main()
