"""The LANs of this PC: captures, the gateways' MACs, and the child that listens for a switch's name."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import msgspec

import agent
from agent.platform.lan_ports import SwitchPort
from agent.platform.linux.capture import PacketCapture
from agent.platform.linux.netlink import NETLINK_ROUTE, NetlinkSocket, attribute, attributes
from protocol.refusal import UNREADABLE

_NEWNEIGH, _GETNEIGH = 28, 30
_CREATE = 0x400
_DST, _LLADDR = 1, 2
_USE = 1
_LONGEST_ANSWER = 4096


class LinuxLan:
    """Implements ``lan_ports.Lan`` for the caller's network namespace."""

    def capture(self, interface: str) -> PacketCapture:
        """Open a capture."""
        return PacketCapture(interface)

    def gateway_mac(self, interface: str, address: str) -> str:
        """Look into the kernel's neighbour table (rtnetlink(7)); ``NTF_USE`` has it resolve what is not there."""
        target = ipaddress.ip_address(address)
        family = socket.AF_INET if target.version == 4 else socket.AF_INET6
        try:
            index = socket.if_nametoindex(interface)
            netlink = NetlinkSocket(NETLINK_ROUTE)
        except OSError:
            return ""
        try:
            head = struct.pack("=BBHiHBB", family, 0, 0, index, 0, 0, 0)
            return _lladdr(netlink, head + attribute(_DST, target.packed)) or _resolve(
                netlink,
                struct.pack("=BBHiHBB", family, 0, 0, index, 0, _USE, 0) + attribute(_DST, target.packed),
            )
        finally:
            netlink.close()

    def listen(self, interface: str, seconds: float) -> ChildListener:
        """Start the child."""
        return ChildListener(interface, seconds)


def _lladdr(netlink: NetlinkSocket, body: bytes) -> str:
    try:
        answer = netlink.request(_GETNEIGH, 0, body)
    except OSError:
        return ""
    found = [
        attributes(message.body[12:]).get(_LLADDR, b"") for message in answer if message.type == _NEWNEIGH
    ]
    return found[0].hex(":") if found and len(found[0]) == 6 else ""


def _resolve(netlink: NetlinkSocket, body: bytes) -> str:
    """Ask for the resolution; its answer is there the next time."""
    try:
        netlink.request(_NEWNEIGH, 0x4 | _CREATE, body)
    except OSError:
        return ""  # an old kernel, or no way there: the segment has no gateway yet
    return ""


class ChildListener:
    """Implements ``lan_ports.SwitchListener`` over ``lldp_child``."""

    def __init__(self, interface: str, seconds: float) -> None:
        roots = [str(Path(agent.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-P", "-m", "agent.platform.linux.lldp_child", interface, str(seconds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots)), "HOME": "/nonexistent"},
        )
        if self._process.stdout is None:
            raise OSError("the listening process has no output")
        self._output = self._process.stdout

    def fileno(self) -> int:
        """End of the pipe."""
        return self._output.fileno()

    def result(self) -> SwitchPort | None:
        """Read the answer; what is no answer is none. To be called once the descriptor is readable."""
        raw = os.read(self._output.fileno(), _LONGEST_ANSWER)
        self.close()
        try:
            return msgspec.json.decode(raw, type=SwitchPort)
        except UNREADABLE:
            return None

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._output.close()
            self._process = None
