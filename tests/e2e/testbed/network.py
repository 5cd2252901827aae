"""Cables, switches and addresses of the city hall. Documentation address ranges only (RFC 5737, RFC 3849)."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import dataclass

from tests.e2e.testbed.machine import Failed, Machine

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Segment:
    """A LAN: ``10.10.N.0/24`` and ``fd10:N::/64``; the gateway is ``.1``."""

    name: str
    number: int

    def v4(self, host: int) -> str:
        """IPv4 address of a host number."""
        return f"10.10.{self.number}.{host}"

    def v6(self, host: int) -> str:
        """IPv6 address of a host number."""
        return f"fd10:{self.number:x}::{host:x}"


SERVERS = Segment("servers", 0)
MYNUMBER = Segment("mynumber", 1)
LGWAN = Segment("lgwan", 2)
INTERNET = Segment("internet", 3)
SEGMENTS = (SERVERS, MYNUMBER, LGWAN, INTERNET)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"ip {' '.join(words)}: {done.stderr}")


def cable(one: Machine, one_name: str, other: Machine, other_name: str) -> None:
    """Join two machines by a veth pair, both ends up."""
    number = next(_numbers)
    first, second = f"skA{number}", f"skB{number}"
    ends = ("netns", str(one.pid)), ("netns", str(other.pid))
    _ip("link", "add", "name", first, *ends[0], "type", "veth", "peer", "name", second, *ends[1])
    for machine, old, new in ((one, first, one_name), (other, second, other_name)):
        machine.run(["ip", "link", "set", old, "name", new, "up"])


def address(machine: Machine, device: str, *addresses: str) -> None:
    """Give a device its addresses (with prefix length); IPv6 without waiting for duplicate detection."""
    for entry in addresses:
        extra = ["nodad"] if ":" in entry else []
        machine.run(["ip", "addr", "add", entry, "dev", device, *extra])


class Switch:
    """One machine with a bridge per segment."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._ports = itertools.count(1)
        for segment in SEGMENTS:
            machine.run(["ip", "link", "add", f"br-{segment.name}", "type", "bridge"])
            machine.run(["ip", "link", "set", f"br-{segment.name}", "up"])

    def plug(self, machine: Machine, device: str, segment: Segment) -> str:
        """Cable a machine to a segment; returns the switch port."""
        port = f"port{next(self._ports)}"
        cable(machine, device, self.machine, port)
        self.machine.run(["ip", "link", "set", port, "master", f"br-{segment.name}"])
        return port

    def join(self, machine: Machine, segment: Segment, host: int) -> None:
        """Plug a machine in with address and default route."""
        self.plug(machine, "eth0", segment)
        address(machine, "eth0", f"{segment.v4(host)}/24", f"{segment.v6(host)}/64")
        machine.run(["ip", "route", "add", "default", "via", segment.v4(1)])
        machine.run(["ip", "-6", "route", "add", "default", "via", segment.v6(1)])
