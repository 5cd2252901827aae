"""Devices and media on the PC."""

from __future__ import annotations

from typing import Annotated

from protocol.catalogue.base import ActorEvent, Event, Name, Path, Priority, field


class _DeviceEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    device_id: Annotated[Name, field("hash over descriptors and serial, the device's identity")] = ""
    device_class: Annotated[
        Name,
        field(
            "storage | phone | network | bluetooth | input | badusb | hub | printer | audio | video | other"
        ),
    ] = ""
    vendor_id: Annotated[Name, field("USB idVendor, four hex digits")] = ""
    product_id: Annotated[Name, field("USB idProduct, four hex digits")] = ""
    serial: Annotated[Name, field("serial number as the device says it")] = ""
    label: Annotated[Name, field("maker and product as the device says them")] = ""
    interfaces: Annotated[tuple[str, ...], field("interface classes cc:ss:pp in hex")] = ()
    port: Annotated[Name, field("bus path below sysfs, e.g. 1-1.2")] = ""


class DeviceAttached(_DeviceEvent, frozen=True, kw_only=True, tag="device.attached"):
    """A device was connected (or was there when the agent started)."""

    priority = Priority.NOTABLE
    ocsf = 5001


class DeviceDetached(_DeviceEvent, frozen=True, kw_only=True, tag="device.detached"):
    """A device was removed."""

    ocsf = 5001


class DeviceBlocked(_DeviceEvent, frozen=True, kw_only=True, tag="device.blocked"):
    """The PC refused a device (``action`` blocked) or failed to (``action`` failed)."""

    priority = Priority.VIOLATION
    ocsf = 5001

    method: Annotated[Name, field("how: usb_authorized | link_down")] = ""
    latency_us: Annotated[int, field("from seeing the device to the block read back", unit="µs")] = 0
    error: Annotated[Name, field("why the block did not take")] = ""


class _MediaEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    source: Annotated[Path, field("block device node")] = ""
    mountpoint: Annotated[Path, field("where it is mounted")] = ""
    fs_type: Annotated[Name, field("file system")] = ""
    read_only: Annotated[bool, field("mounted read-only")] = False
    removable: Annotated[bool, field("the kernel calls it removable, or it is unknown to the asset list")] = (
        False
    )
    media_id: Annotated[Name, field("hash over device serial, file system uuid and size")] = ""
    fs_uuid: Annotated[Name, field("file system uuid")] = ""
    label: Annotated[Name, field("file system label")] = ""
    size: Annotated[int, field("size of the block device", unit="bytes")] = 0
    serial: Annotated[Name, field("serial of the carrying device")] = ""


class MediaMounted(_MediaEvent, frozen=True, kw_only=True, tag="media.mounted"):
    """A removable or unknown block device was mounted."""

    priority = Priority.NOTABLE
    ocsf = 1001


class MediaUnmounted(_MediaEvent, frozen=True, kw_only=True, tag="media.unmounted"):
    """A removable or unknown block device was unmounted."""

    ocsf = 1001


class MediaBlocked(_MediaEvent, frozen=True, kw_only=True, tag="media.blocked"):
    """The PC took a medium away or made it read-only (``action`` blocked), or failed to."""

    priority = Priority.VIOLATION
    ocsf = 1001

    method: Annotated[Name, field("how: unmounted | detached | read_only")] = ""
    latency_us: Annotated[int, field("from the mount seen to the block read back", unit="µs")] = 0
    error: Annotated[Name, field("why the block did not take")] = ""


class MediaFileWritten(ActorEvent, frozen=True, kw_only=True, tag="media.file_written"):
    """A file was written to a removable or unknown medium, and its content was looked at on the PC.

    Only counts and masked ends leave the PC, never content (DESIGN §5).
    """

    priority = Priority.NOTABLE
    ocsf = 1001

    source: Annotated[Path, field("block device node")] = ""
    mountpoint: Annotated[Path, field("where it is mounted")] = ""
    media_id: Annotated[Name, field("the medium, as in media.mounted")] = ""
    fs_uuid: Annotated[Name, field("file system uuid")] = ""
    serial: Annotated[Name, field("serial of the carrying device")] = ""
    path: Annotated[Path, field("file, below the mount point", personal=True)] = ""
    file_size: Annotated[int, field("size of the file", unit="bytes")] = 0
    digest: Annotated[Name, field("SHA-256 of the file; empty = larger than the limit of the scan")] = ""
    my_numbers: Annotated[int, field("individual numbers found (check digit and context)")] = 0
    masked: Annotated[tuple[str, ...], field("last four digits of the first ones, the rest as *")] = ()
    labels: Annotated[tuple[str, ...], field("confidentiality labels found, as the policy names them")] = ()
    place: Annotated[Name, field("confidential place the file was copied from, if known")] = ""
    scan: Annotated[
        Name, field("complete | too_large | too_deep | too_slow | encrypted | unreadable | gone")
    ] = ""
