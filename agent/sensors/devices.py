"""Devices that are plugged in and pulled out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from agent.platform.ports import Device, DeviceBus
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import DeviceAttached, DeviceBlocked, DeviceDetached, Event
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

DeviceEvent = TypeVar("DeviceEvent", DeviceAttached, DeviceDetached, DeviceBlocked)

_RANK: Final = (
    "badusb",
    "storage",
    "network",
    "phone",
    "bluetooth",
    "printer",
    "video",
    "audio",
    "other",
    "hub",
    "input",
)
"""Most to least dangerous: a device may show more of itself when its drivers are bound, never less."""


def device_event(kind: type[DeviceEvent], device: Device, time_us: int) -> DeviceEvent:
    """Build an event about a device, decision fields empty."""
    return kind(
        time_us=time_us,
        device_id=device.device_id,
        device_class=device.device_class,
        vendor_id=device.vendor_id,
        product_id=device.product_id,
        serial=device.serial,
        label=device.label,
        interfaces=device.interfaces,
        port=device.path.rpartition("/")[2],
    )


class DevicesSensor(Sensor):
    """USB hot-plug by the kernel's uevents; what is there at the start is reported too."""

    name: ClassVar[str] = "devices"
    control: ClassVar[Control] = "devices"
    emits: ClassVar[tuple[type[Event], ...]] = (DeviceAttached, DeviceDetached)
    doc: ClassVar[Text] = Text(
        "USB 機器の接続と取り外しを、カーネルの通知で検知します。機器はディスクリプターとシリアル番号のハッシュで識別し、"
        "記憶装置、スマートフォン、ネットワーク、Bluetooth、入力装置、BadUSB などに分類します。",
        "Sees USB devices come and go by the kernel's notifications, identifies them by a hash over descriptors and"
        " serial number, and classifies them: storage, phone, network, Bluetooth, input, BadUSB and others.",
    )
    limits: ClassVar[Text] = Text(
        "USB 以外の拡張（Thunderbolt/PCI、SD カードスロット、内蔵機器）は対象外です（SD カードの媒体は media で扱います）。"
        "機器は自らの名乗りを偽ることができ、キーボードだけを名乗る機器は遮断しません。シリアル番号のない機器は差込口を含めて識別します。",
        "Only USB: Thunderbolt/PCI, card readers on other buses and built-in parts are not seen (their media are, by"
        " the media sensor). A device can lie about what it is, and one that says it is only a keyboard is never"
        " stopped. Without a serial number the port is part of the identity.",
    )
    example: ClassVar[Event] = DeviceAttached(
        time_us=1_790_000_000_000_000,
        device_id="5f" * 32,
        device_class="storage",
        vendor_id="0951",
        product_id="1666",
        serial="001CC0EC34F1",
        label="Kingston DataTraveler 3.0",
        interfaces=("08:06:50",),
        port="1-1",
    )

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._bus: DeviceBus | None = None
        self._known: dict[str, Device] = {}

    def open(self) -> Iterable[Event]:
        self._bus = self.platform.device_bus()
        self._bus.fileno()  # listen before listing: nothing can fall between
        self._known = {}
        return self._reconcile()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return () if self._bus is None else ((self._bus.fileno(), POLLIN),)

    def read(self, fileno: int) -> Iterable[Event]:
        if self._bus is None:
            return []
        now = self.platform.now_us()
        events: list[Event] = []
        for change in self._bus.changes():
            if change.action == "remove":
                events += self._gone(change.path, now)
            elif change.device is not None:
                events += self._seen(change.device, now)
        return events

    def recover(self) -> Iterable[Event]:
        return self._reconcile()

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _reconcile(self) -> list[Event]:
        """Compare what is there with what was reported."""
        if self._bus is None:
            return []
        now = self.platform.now_us()
        # Root hubs are part of the PC, not something plugged in.
        there = {
            device.path: device for device in self._bus.devices() if "-" in device.path.rpartition("/")[2]
        }
        events: list[Event] = []
        for path in [path for path in self._known if path not in there]:
            events += self._gone(path, now)
        for device in there.values():
            events += self._seen(device, now)
        return events

    def _seen(self, device: Device, now: int) -> list[Event]:
        before = self._known.get(device.path)
        if before is None or before.device_id != device.device_id:
            events = self._gone(device.path, now)
            self._known[device.path] = device
            return [*events, device_event(DeviceAttached, device, now)]
        if _RANK.index(device.device_class) < _RANK.index(before.device_class):
            # Drivers showed what the descriptors had kept back: judged anew.
            self._known[device.path] = device
            return [device_event(DeviceAttached, device, now)]
        return []

    def _gone(self, path: str, now: int) -> list[Event]:
        device = self._known.pop(path, None)
        return [] if device is None else [device_event(DeviceDetached, device, now)]
