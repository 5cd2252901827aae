"""Operating-system access behind small Protocols (``ports``); OS imports live only below this package."""

from __future__ import annotations

import os
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from agent.platform.ports import UnsupportedError

if TYPE_CHECKING:
    from agent.connection_names import NameMemory
    from agent.platform import (
        execution_ports,
        file_ports,
        lan_ports,
        link_ports,
        network_ports,
        ports,
        posture_ports,
    )
    from agent.platform.linux.gate_channel import GateChannel


class Platform(Struct, dict=True):
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

    def share_heap(self) -> None:
        """Keep the heap of threads together; before there are any."""
        if sys.platform == "linux":
            from agent.platform.linux import heap

            heap.one_arena()

    def trim_heap(self) -> None:
        """Give memory that is free back to the system; below a millisecond."""
        if sys.platform == "linux":
            from agent.platform.linux import heap

            heap.trim()

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

        return LinuxSoftwareWatch()

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
    def network(self) -> network_ports.Network:
        """Interfaces, routes, probes."""
        _linux_only()
        from agent.platform.linux.probes import LinuxNetwork

        return LinuxNetwork()

    def packet_log(self, group: int) -> ports.PacketLog:
        """Open an NFLOG group."""
        _linux_only()
        from agent.platform.linux.nflog import NetfilterLog

        return NetfilterLog(group)

    def logon_log(self) -> posture_ports.LogonLog:
        """Open the login records."""
        _linux_only()
        from agent.platform.linux.logon_log import LinuxLogonLog

        return LinuxLogonLog(self.root, self.state, self.processes, self.proc)

    def listeners(self) -> posture_ports.Listeners:
        """Listening sockets."""
        _linux_only()
        from agent.platform.linux.listeners import LinuxListeners

        return LinuxListeners(self.processes, self.proc)

    def posture_probe(self) -> posture_ports.PostureProbe:
        """What measures the PC's own protection."""
        _linux_only()
        from agent.platform.linux.posture_probe import LinuxPostureProbe

        return LinuxPostureProbe(self.root, self.proc, self.sys, lambda: self.firewall)

    @cached_property
    def who_is_there(self) -> posture_ports.WhoIsThere:
        """Who is logged on, with where they can be told something."""
        _linux_only()
        from agent.platform.linux.people_there import people_there

        return lambda: people_there(self.root)

    @cached_property
    def access_log(self) -> file_ports.AccessLog:
        """The use of files in confidential places; one for all, so that what is copied from there is known."""
        _linux_only()
        from agent.platform.linux.access_log import LinuxAccessLog

        return LinuxAccessLog(self.root, self.processes, self.proc)

    def media_writes(self) -> file_ports.MediaWrites:
        """Open the watch on files written to media."""
        _linux_only()
        from agent.platform.linux.media_writes import LinuxMediaWrites

        return LinuxMediaWrites(self._mounts, self.processes, self.proc)

    def lan(self) -> lan_ports.Lan:
        """Who else is on the LAN."""
        _linux_only()
        from agent.platform.linux.lan import LinuxLan

        return LinuxLan()

    def links(self) -> link_ports.Links:
        """Network links; each user watches for itself."""
        _linux_only()
        from agent.platform.linux.links import LinuxLinks
        from agent.platform.linux.wireless import Radios

        return LinuxLinks(self.sys, self.root, Radios())

    @cached_property
    def routes(self) -> link_ports.Routes:
        """Default routes."""
        _linux_only()
        from agent.platform.linux.routes import LinuxRoutes

        return LinuxRoutes()

    def name_log(self) -> link_ports.NameLog:
        """Open the log of name servers' answers."""
        _linux_only()
        from agent.platform.linux.name_log import LinuxNameLog

        return LinuxNameLog()

    @cached_property
    def names(self) -> NameMemory:
        """Names that addresses were looked up by; one for all, so that connections are told by name."""
        from agent.connection_names import NameMemory

        return NameMemory()

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
