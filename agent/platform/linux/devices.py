"""USB devices: hot-plug from the kernel's uevent socket, state from sysfs, ``authorized`` to cut them.

The socket is read directly (kernel ``lib/kobject_uevent.c``): 0.8 MiB resident where pyudev takes 3.5, and no
udevd needed. Sources: Documentation/ABI/testing/sysfs-bus-usb, Documentation/usb/authorization.rst.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from agent.platform.linux import usb_descriptors
from agent.platform.ports import Device, DeviceChange, OverflowedError, UnsupportedError

BUS: Final = "bus/usb/devices"
_PORT: Final = re.compile(r"[0-9]{1,4}-[0-9]{1,3}(\.[0-9]{1,3}){0,7}")
_ROOT_HUB: Final = re.compile(r"usb[0-9]{1,4}")
_NETLINK_KOBJECT_UEVENT: Final = 15
_KERNEL_GROUP: Final = 1
_RECEIVE_BUFFER: Final = 1 << 20
_MAX_MESSAGE: Final = 16_384
_BATCH: Final = 512
"""Messages handled in one call, so that a storm of events cannot hold the main loop."""
_LIBUDEV: Final = b"libudev\0\xfe\xed\xca\xfe"
_SO_RCVBUFFORCE: Final = 33


def parse_uevent(data: bytes) -> dict[str, str] | None:
    """Read one uevent message: the kernel's own form, or libudev's (as the umockdev test bed sends). None
    if malformed.
    """
    if data.startswith(_LIBUDEV):
        offset = int.from_bytes(data[16:20], "little")
        parts = data[offset:].split(b"\0")
    else:
        head, *parts = data.split(b"\0")
        if b"@" not in head:
            return None
    found: dict[str, str] = {}
    for part in parts[:128]:
        key, equals, value = part.partition(b"=")
        if equals:
            found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found if "ACTION" in found and "DEVPATH" in found else None


def usb_port(devpath: str) -> str:
    """Name (``1-1.2``) of the USB device a kernel device path belongs to; empty if none."""
    return next((part for part in reversed(devpath.split("/")) if _PORT.fullmatch(part)), "")


class LinuxDeviceBus:
    """USB devices below ``sys``. Paths are ``bus/usb/devices/<port>``.

    A root hub (``bus/usb/devices/usb1``) stands for its ``authorized_default``: whether *new* devices on it
    start authorised.
    """

    def __init__(self, sys: Path) -> None:
        self._sys = sys
        self._socket: socket.socket | None = None
        self._functions: dict[str, tuple[str, frozenset[str]]] = {}
        """Port → identity and every function its drivers ever showed: a cut device must not look harmless
        again.
        """

    def fileno(self) -> int:
        """Descriptor of the uevent socket. Raises UnsupportedError where the kernel offers none."""
        return self._open().fileno()

    def devices(self) -> list[Device]:
        """Every USB device present, root hubs included."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._sys / BUS))
        except FileNotFoundError:  # no host controller (yet)
            return []
        found = (self._read(name) for name in names if _PORT.fullmatch(name) or _ROOT_HUB.fullmatch(name))
        return [device for device in found if device is not None]

    def changes(self) -> Iterable[DeviceChange]:
        """Changes since the last call, at most a batch. Raises OverflowedError after the kernel dropped
        some.
        """
        last: tuple[str, str] = ("", "")
        found: list[DeviceChange] = []
        for event in self._events():
            port = usb_port(event["DEVPATH"])
            action = self._action(event, port)
            if not port or not action or (action == "change" and (action, port) == last):
                continue
            last = (action, port)
            path = f"{BUS}/{port}"
            if action == "remove":
                self._functions.pop(port, None)
                found.append(DeviceChange("remove", path, None))
            elif device := self._read(port):
                found.append(DeviceChange("add" if action == "add" else "change", path, device))
        return found

    def authorize(self, path: str, *, allowed: bool) -> None:
        """Write ``authorized`` (for a root hub ``authorized_default``) and read it back.

        Raises OSError when the kernel refuses or the value does not stay, UnsupportedError for what is not a
        USB device.
        """
        folder, _, name = path.rpartition("/")
        if folder != BUS or not (_PORT.fullmatch(name) or _ROOT_HUB.fullmatch(name)):
            raise UnsupportedError(
                "device_not_usb", f"{path} is not a USB device", "only USB devices can be cut"
            )
        switch = self._switch(name)
        wanted = b"1" if allowed else b"0"
        fd = os.open(switch, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, wanted)
        finally:
            os.close(fd)
        if (now := switch.read_bytes().strip()) != wanted:
            raise OSError(errno.EIO, f"{switch.name} reads back {now.decode('ascii', 'replace')!r}", path)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            try:
                opened = socket.socket(socket.AF_NETLINK, kind, _NETLINK_KOBJECT_UEVENT)
                opened.bind((0, _KERNEL_GROUP))
            except OSError as error:
                raise UnsupportedError(
                    "uevent_unavailable", str(error), "the kernel needs NETLINK_KOBJECT_UEVENT"
                ) from error
            try:
                opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            except OSError:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket = opened
        return self._socket

    def _events(self) -> Iterator[dict[str, str]]:
        opened = self._open()
        for _ in range(_BATCH):
            try:
                data, _, flags, sender = opened.recvmsg(_MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise OverflowedError("device") from error
                raise
            if flags & socket.MSG_TRUNC:
                raise OverflowedError("device")
            # Port id 0 is the kernel; any process with CAP_NET_ADMIN could send to the group.
            if sender[0] == 0 and (event := parse_uevent(data)) is not None:
                yield event

    @staticmethod
    def _action(event: dict[str, str], port: str) -> str:
        """``add``/``remove`` of the device itself; whatever *appears* below it is a ``change`` of it."""
        action = event["ACTION"]
        if event["DEVPATH"].endswith("/" + port):
            return action if action in {"add", "remove"} else "change"
        return "" if action == "remove" else "change"

    def _switch(self, name: str) -> Path:
        return self._sys / BUS / name / ("authorized" if _PORT.fullmatch(name) else "authorized_default")

    def _read(self, name: str) -> Device | None:
        base = self._sys / BUS / name
        raw = _attribute(base / "descriptors", usb_descriptors.MAX_BYTES)
        if not raw:
            return None
        descriptors = usb_descriptors.parse(raw)
        serial = _text(base / "serial")
        identity = usb_descriptors.identity(descriptors, raw, serial, name)
        known, functions = self._functions.get(name, ("", frozenset()))
        functions = _driver_functions(base, name) | (functions if known == identity else frozenset())
        self._functions[name] = (identity, functions)
        return Device(
            path=f"{BUS}/{name}",
            device_class=usb_descriptors.classify(descriptors, functions),
            device_id=identity,
            vendor_id=_text(base / "idVendor") or (f"{descriptors.vendor:04x}" if descriptors else ""),
            product_id=_text(base / "idProduct") or (f"{descriptors.product:04x}" if descriptors else ""),
            serial=serial,
            label=" ".join(filter(None, (_text(base / "manufacturer"), _text(base / "product"))))[:256],
            interfaces=descriptors.codes()[:64] if descriptors else (),
            # "2" (only built-in ports) is closed for what a person plugs in.
            authorized=_text(self._switch(name)) in {"1", "-1"},
        )


def _driver_functions(base: Path, name: str) -> frozenset[str]:
    """Functions that only a bound driver shows: Wi-Fi with vendor-specific interfaces, MTP by its
    interface's name, …
    """
    found: set[str] = set()
    try:
        interfaces = [entry for entry in os.scandir(base) if entry.name.startswith(name + ":")]
    except OSError:
        return frozenset()
    for interface in interfaces[: usb_descriptors.MAX_INTERFACES]:
        if "mtp" in _text(Path(interface.path) / "interface").lower():
            found.add("phone")
        try:
            children = [entry.name for entry in os.scandir(interface.path)]
        except OSError:
            continue
        for child in children:
            if child in {"net", "ieee80211", "wwan"}:
                found.add("network")
            elif child == "bluetooth":
                found.add("bluetooth")
            elif child == "tty" or child.startswith("ttyUSB"):
                found.add("serial")
            elif re.fullmatch(r"host[0-9]+", child):
                found.add("storage")
            elif re.fullmatch(
                r"[0-9A-F]{4}:[0-9A-F]{4}:[0-9A-F]{4}\.[0-9A-F]{4}", child
            ) and usb_descriptors.is_keyboard(
                _attribute(Path(interface.path) / child / "report_descriptor", 4096)
            ):
                found.add("keyboard")
    return frozenset(found)


def _attribute(path: Path, limit: int) -> bytes:
    """Content of a sysfs attribute, at most ``limit`` bytes; empty when it is gone or unreadable."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(limit)
    except OSError:
        return b""


def _text(path: Path) -> str:
    """A sysfs attribute as text that is safe to store: printable, at most 256 characters."""
    text = _attribute(path, 1024).decode("utf-8", "replace").strip()
    return "".join(each for each in text if each.isprintable())[:256]
