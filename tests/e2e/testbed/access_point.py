"""A wireless network that the city does not run: a built-in adapter of a PC, and the rogue machine as access point.

This kernel has no wireless, so the adapter is a cable; that it is one is what sysfs (by umockdev, see ``usb_host``) says.
"""

from __future__ import annotations

from tests.e2e.testbed.machine import Machine
from tests.e2e.testbed.network import address, cable
from tests.e2e.testbed.usb_host import UsbHost

ADAPTER, MAC = "wlan0", "00:e0:4c:00:00:01"
PC_V4, POINT_V4 = "192.168.66.5", "192.168.66.1"


class AccessPoint:
    """Switched off until the PC joins."""

    def __init__(self, pc: Machine, usb: UsbHost, rogue: Machine) -> None:
        self._pc, self._rogue = pc, rogue
        usb.wireless(ADAPTER)
        cable(pc, ADAPTER, rogue, "ap0")
        pc.run(["ip", "link", "set", ADAPTER, "down", "address", MAC])
        address(rogue, "ap0", f"{POINT_V4}/24")
        address(pc, ADAPTER, f"{PC_V4}/24")

    def join(self) -> None:
        """The person at the PC chooses the network."""
        self._pc.run(["ip", "link", "set", ADAPTER, "up"])

    def leave(self) -> None:
        """The person leaves it again."""
        self._pc.run(["ip", "link", "set", ADAPTER, "down"])

    def reaches_pc(self) -> bool:
        """Whether whoever runs the access point gets through to the PC (which answers what the PC's filter lets in)."""
        return self._rogue.run(["ping", "-c1", "-W1", PC_V4], check=False).returncode == 0

    def is_joined(self) -> bool:
        """Whether the adapter is on."""
        flags = (
            self._pc.run(["ip", "-o", "link", "show", ADAPTER]).stdout.split("<")[1].split(">")[0].split(",")
        )
        return "UP" in flags
