"""Waits for one LLDP or CDP frame, dissects it with scapy, prints what it says and ends.

``python -m agent.platform.linux.lldp_child INTERFACE SECONDS``. A process of its own because scapy takes 50 MiB and reads
hostile bytes: it is only imported when a frame is there, and dissects as ``nobody``, under resource limits, with no
descriptor but the pipe. No answer within the time means that no switch names itself.
"""

from __future__ import annotations

import contextlib
import select
import sys
import time
from typing import Any

import msgspec

from agent.platform.lan_ports import SwitchPort
from agent.platform.linux import confine
from agent.platform.linux.capture import NAMES_SWITCH, PacketCapture

MEMORY, CPU_S, FILES = 512 << 20, 10, 32
_LLDP_AT, _LLDP = 12, b"\x88\xcc"
_LONGEST = 256
_AT_ONCE = 16


def main(argv: list[str]) -> None:
    """Listen on ``argv[0]`` for ``argv[1]`` seconds."""
    interface, seconds = argv[0], float(argv[1])
    confine.end_with_parent()
    confine.limit_all(memory=MEMORY, cpu_s=CPU_S, files=FILES)
    capture = PacketCapture(interface, NAMES_SWITCH, buffer=64 << 10)
    deadline = time.monotonic() + seconds
    import_done = False
    while (left := deadline - time.monotonic()) > 0:
        select.select([capture.fileno()], [], [], left)
        for frame in capture.frames(_AT_ONCE):
            if not import_done:
                _import_scapy()
                confine.no_new_rights()
                confine.become_nobody()
                import_done = True
            if found := read_switch(frame):
                sys.stdout.buffer.write(msgspec.json.encode(found))
                return


def read_switch(frame: bytes) -> SwitchPort | None:
    """Dissect an LLDP or CDP frame; None for one that names no switch, or that cannot be read."""
    with contextlib.suppress(Exception):  # scapy meets forged frames with whatever Python raises
        found = _lldp(frame) if frame[_LLDP_AT : _LLDP_AT + 2] == _LLDP else _cdp(frame)
        return found if found.switch and found.port else None
    return None


def _lldp(frame: bytes) -> SwitchPort:
    from scapy.config import conf
    from scapy.contrib import lldp
    from scapy.layers.l2 import Ether

    conf.contribs["LLDP"].strict_mode_disable()  # switches are not as strict as the standard
    packet = Ether(frame)
    chassis, port = packet[lldp.LLDPDUChassisID], packet[lldp.LLDPDUPortID]
    name = packet.getlayer(lldp.LLDPDUSystemName)
    management = packet.getlayer(lldp.LLDPDUManagementAddress)
    return SwitchPort(
        via="lldp",
        switch=_text(name.system_name) if name else _identity(chassis),
        port=_identity(port),
        mac=str(packet.src),
        ip=_inet(management.management_address) if management else "",
    )


def _cdp(frame: bytes) -> SwitchPort:
    from scapy.contrib import cdp
    from scapy.layers.l2 import Dot3

    packet = Dot3(frame)
    device, port = packet[cdp.CDPMsgDeviceID], packet[cdp.CDPMsgPortID]
    return SwitchPort(via="cdp", switch=_text(device.val), port=_text(port.iface), mac=str(packet.src))


def _identity(part: Any) -> str:
    """A chassis or port id: a MAC, an address or text, by its subtype."""
    value = part.id
    return (
        value.hex(":")
        if isinstance(value, bytes) and part.subtype in (3, 4) and len(value) == 6
        else _text(value)
    )


def _inet(value: Any) -> str:
    import ipaddress

    return str(ipaddress.ip_address(value)) if isinstance(value, bytes) else _text(value)


def _text(value: Any) -> str:
    """What the switch calls something, as printable text."""
    raw = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(char for char in raw if char.isprintable())[:_LONGEST]


def _import_scapy() -> None:
    """As root, since the agent's environment may be closed to others."""
    sys.dont_write_bytecode = True
    import scapy.contrib.cdp
    import scapy.contrib.lldp
    import scapy.layers.l2  # noqa: F401


if __name__ == "__main__":
    main(sys.argv[1:])
