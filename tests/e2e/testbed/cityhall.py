"""The whole city hall, switched on and cabled; no Sekisho in it yet (see ``installation``)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.testbed.machine import Failed, Machine
from tests.e2e.testbed.network import (
    INTERNET,
    LGWAN,
    MYNUMBER,
    SEGMENTS,
    SERVERS,
    Segment,
    Switch,
    address,
    cable,
)

COLLECTOR_V4, COLLECTOR_V6 = SERVERS.v4(10), SERVERS.v6(10)
OUTSIDE_V4, OUTSIDE_V6 = "198.51.100.7", "2001:db8:ffff::7"
CLOUD_V4, CLOUD_V6 = "203.0.113.20", "2001:db8:eeee::20"
"""The one outside service that PCs may use (think of the prefectural security cloud)."""
PLACES: dict[str, tuple[Segment, int]] = {
    "mynumber-01": (MYNUMBER, 11),
    "lgwan-01": (LGWAN, 11),
    "internet-01": (INTERNET, 11),
}


class CityHall:
    """Machines by name: PCs of three zones, ``collector``, ``gateway``, ``switch``, ``outside``, ``rogue``."""

    def __init__(self, pcs: Sequence[str] = tuple(PLACES)) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self._build(pcs)
        except BaseException:
            self._stack.close()
            raise

    def _machine(self, name: str) -> Machine:
        return self._stack.enter_context(Machine(name))

    def _build(self, pcs: Sequence[str]) -> None:
        self.switch = Switch(self._machine("switch"))
        self.gateway, self.outside = self._machine("gateway"), self._machine("outside")
        self._wire_gateway()
        self.collector = self._machine("collector")
        self.switch.join(self.collector, SERVERS, 10)
        self.pcs = {name: self._machine(name) for name in pcs}
        for name, machine in self.pcs.items():
            segment, host = PLACES[name]
            self.switch.join(machine, segment, host)
            machine.run(["useradd", "--create-home", "--shell", "/bin/bash", "tanaka"])
        self.rogue = self._machine("rogue")
        self.switch.join(self.rogue, LGWAN, 66)
        self.serve(self.outside, 53, 80, 443)
        self.serve(self.rogue, 80)

    def _wire_gateway(self) -> None:
        for segment in SEGMENTS:
            self.switch.plug(self.gateway, f"lan-{segment.name}", segment)
            address(self.gateway, f"lan-{segment.name}", f"{segment.v4(1)}/24", f"{segment.v6(1)}/64")
        cable(self.gateway, "wan", self.outside, "eth0")
        address(
            self.gateway,
            "wan",
            "198.51.100.1/24",
            "203.0.113.1/24",
            "2001:db8:ffff::1/64",
            "2001:db8:eeee::1/64",
        )
        address(
            self.outside, "eth0", f"{OUTSIDE_V4}/24", f"{CLOUD_V4}/24", f"{OUTSIDE_V6}/64", f"{CLOUD_V6}/64"
        )
        self.outside.run(["ip", "route", "add", "10.10.0.0/16", "via", "198.51.100.1"])
        self.outside.run(["ip", "-6", "route", "add", "fd10::/16", "via", "2001:db8:ffff::1"])
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.gateway.run(["sysctl", "-qw", f"{key}=1"])

    def serve(self, machine: Machine, *ports: int) -> None:
        """Start the answering machine on some ports."""
        script = Path(__file__).with_name("outside.py")
        argv = [sys.executable, "-S", str(script), *map(str, ports)]
        server = self._stack.enter_context(machine.spawn(argv, stdout=subprocess.PIPE))
        self._stack.callback(server.kill)
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            raise Failed(f"{machine.name}: the answering machine did not start on {ports}")

    def close(self) -> None:
        """Switch everything off."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
