"""Operating-system access behind small Protocols (``ports``); OS imports live only below this package."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agent.platform.ports import UnsupportedError

if TYPE_CHECKING:
    from agent.platform import execution_ports, ports
    from agent.platform.linux.gate_channel import GateChannel


@dataclass
class Platform:
    """This PC. Roots are parameters so that tests and the testbed can point them elsewhere.

    Each port is made on first use and raises :class:`UnsupportedError` where this PC cannot do it.
    """

    state: Path = Path("/var/lib/sekisho-agent")
    """Persistent files (keys, spool, bundle, isolation); 0700."""
    run: Path = Path("/run/sekisho-agent")
    """Status and sockets; gone after a boot."""
    root: Path = Path("/")
    """File system root."""
    sys: Path = field(default_factory=lambda: Path(os.environ.get("SEKISHO_SYSFS", "/sys")))
    proc: Path = Path("/proc")

    def now_us(self) -> int:
        """UTC µs by the PC's clock."""
        return time.time_ns() // 1000

    @cached_property
    def processes(self) -> ports.Processes:
        """Process look-ups, with the memory of short-lived ones."""
        _linux_only()
        from agent.platform.linux.processes import LinuxProcesses

        return LinuxProcesses(self.proc, self.root)

    def device_bus(self) -> ports.DeviceBus:
        """The device bus; one for all, so that what drivers showed of a device is remembered for all."""
        return self._device_bus

    @cached_property
    def _device_bus(self) -> ports.DeviceBus:
        _linux_only()
        from agent.platform.linux.devices import LinuxDeviceBus

        return LinuxDeviceBus(self.sys)

    def mounts(self) -> ports.Mounts:
        """The mount table; one for all, so that a medium is looked at once."""
        return self._mounts

    @cached_property
    def _mounts(self) -> ports.Mounts:
        _linux_only()
        from agent.platform.linux.mounts import LinuxMounts

        return LinuxMounts(self.proc, self.sys, self.root, self.state)

    @cached_property
    def packages(self) -> ports.Packages:
        """Installed software."""
        _linux_only()
        from agent.platform.linux.packages import LinuxPackages

        return LinuxPackages(self.root)

    def software_watch(self) -> ports.SoftwareWatch:
        """Open the watch on package databases and user places."""
        _linux_only()
        from agent.platform.linux.software_watch import LinuxSoftwareWatch

        return LinuxSoftwareWatch(self.root)

    @cached_property
    def execution_gate(self) -> execution_ports.ExecutionGate:
        """The execution gate."""
        _linux_only()
        from agent.platform.linux.gate_link import GateLink

        return GateLink(self, self._execution_channel)

    @property
    def execution_log(self) -> execution_ports.ExecutionLog:
        """What the execution gate answered."""
        return self._execution_channel

    @cached_property
    def _execution_channel(self) -> GateChannel:
        _linux_only()
        from agent.platform.linux.gate_channel import GateChannel

        return GateChannel()

    @cached_property
    def firewall(self) -> ports.Firewall:
        """The packet filter."""
        _linux_only()
        from agent.platform.linux.firewall import LinuxFirewall

        return LinuxFirewall()

    def firewall_watch(self) -> ports.FirewallWatch:
        """Watch who changes the packet filter."""
        _linux_only()
        from agent.platform.linux.firewall import LinuxFirewallWatch

        return LinuxFirewallWatch()

    @cached_property
    def network(self) -> ports.Network:
        """Interfaces, routes, probes."""
        _linux_only()
        from agent.platform.linux.probes import LinuxNetwork

        return LinuxNetwork()

    def packet_log(self, group: int) -> ports.PacketLog:
        """Open an NFLOG group."""
        _linux_only()
        from agent.platform.linux.nflog import NetfilterLog

        return NetfilterLog(group)

    @cached_property
    def sockets(self) -> ports.Sockets:
        """Socket look-up and destruction."""
        _linux_only()
        from agent.platform.linux.sockets import LinuxSockets

        return LinuxSockets(self.processes, self.proc)


def _linux_only() -> None:
    if sys.platform != "linux":
        raise UnsupportedError(
            "platform", f"no implementation for {sys.platform}", "this release enforces on Linux"
        )
