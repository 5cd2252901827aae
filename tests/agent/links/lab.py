"""A PC with lines it should not have: real interfaces in a namespace, and a sysfs that says what sort they are.

This kernel has neither wireless nor USB. So ``wlan0`` is a real veth, and what the kernel would say of it (its place in sysfs,
its network by nl80211) comes from a folder and from :class:`Air`.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.enforcers import Outcome
from agent.enforcers.links import LinksEnforcer
from agent.identity import Identity, Target
from agent.judge import decide
from agent.platform import Platform
from agent.platform.link_ports import Links, Radio
from agent.platform.linux.links import LinuxLinks
from agent.sensors.links import LinksSensor
from policies.compile import compile_file
from policies.model import (
    Assignment,
    Bundle,
    FailMode,
    Mode,
    Permit,
    Setting,
    Zone,
)
from policies.ordinance import load_ordinances
from policies.shipped import shipped_directory
from policies.view import PolicyView
from protocol.events import Event, LinkBlocked, LinkChanged
from protocol.keys import fingerprint
from protocol.trust import sign_root
from tests.agent.isolation_lab import City
from tests.agent.strict_policy import FAR_US
from tests.netns import Lan

_TUNSETIFF, _TUN_NO_HEADER = 0x400454CA, 0x1001
_ORDINANCES = load_ordinances(shipped_directory("ordinances"))
RULES = tuple(
    compile_file(shipped_directory("rules") / f"{name}.yml", _ORDINANCES)
    for name in (
        "wireless_on_confidential_network", "second_network", "bridging_pc", "tethering", "vpn_link", "hotspot",
        "gateway_changed", "gateway_changed_mynumber", "resolver_changed", "link_block_failed",
    )
)  # fmt: skip
"""The shipped rules about links."""
WLAN4, AP4 = "192.168.66.5", "192.168.66.1"


class Air:
    """Stands for nl80211: interface number → network it is in."""

    def __init__(self) -> None:
        self.networks: dict[str, Radio] = {}

    def look(self, index: int) -> Radio:
        return self.networks.get(socket.if_indextoname(index), Radio())

    def close(self) -> None:
        """Nothing to close."""


class LabPlatform(Platform):
    """A platform whose wireless is in the :class:`Air`."""

    air = Air()

    def links(self) -> Links:
        return LinuxLinks(self.sys, self.root, self.air)


def platform(folder: Path) -> LabPlatform:
    """Roots below ``folder``: sysfs, files, state."""
    for name in ("sys/class/net", "etc", "state", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lab = LabPlatform(state=folder / "state", run=folder / "run", root=folder, sys=folder / "sys")
    lab.air = Air()
    return lab


def hardware(
    lab: Platform, name: str, driver: str = "", *, wireless: bool = False, devtype: str = ""
) -> None:
    """Say in sysfs what is behind an interface."""
    place = lab.sys / "class/net" / name
    (place / "device").mkdir(parents=True, exist_ok=True)
    if driver:
        (place / "device/driver").symlink_to(f"../../../bus/usb/drivers/{driver}")
    if wireless:
        (place / "phy80211").mkdir()
    if devtype:
        (place / "uevent").write_text(f"DEVTYPE={devtype}\nINTERFACE={name}\n")


def city(net: Lan) -> City:
    """The city whose collector is on the net."""
    return City((net.ip4("collector"), net.ip6("collector")))


def enrol(lab: Platform, city: City) -> None:
    """Let the PC know a collector."""
    target = Target(city.root.collector_key, fingerprint(city.root.root_key))
    Identity.load_or_make(lab.state).pin(sign_root(city.root, city.root_key), target)


def ip(*words: str) -> None:
    """Run ip(8) in this namespace."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


def ip_batch(lines: list[str]) -> None:
    """Run many commands of ip(8)."""
    given = "".join(f"{line}\n" for line in lines)
    subprocess.run(["ip", "-batch", "-"], input=given, check=True, capture_output=True, text=True, timeout=60)


def is_up(lab: Platform, name: str) -> bool:
    """Whether an interface is switched on."""
    links = lab.links()
    try:
        return next(link.up for link in links.state().links if link.name == name)
    finally:
        links.close()


@contextlib.contextmanager
def tunnel(name: str, address: str) -> Iterator[None]:
    """A tun device, connected as long as it is held."""
    with Path("/dev/net/tun").open("r+b", buffering=0) as device:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _TUN_NO_HEADER))
        ip("addr", "add", address, "dev", name)
        ip("link", "set", name, "up")
        yield


def wlan(
    net: Lan, name: str = "wlan0", here: str = WLAN4, there: str = AP4, mac: str = "00:e0:4c:00:00:01"
) -> None:
    """Join pc and rogue by another line, both ends up."""
    for word in ("pc", "rogue"):
        net.command(word, "ip", "link", "del", name if word == "pc" else f"ap-{name}", check=False)
    net.command("pc", "ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", f"ap-{name}")
    net.command("pc", "ip", "link", "set", f"ap-{name}", "netns", net.netns("rogue"))
    net.command("rogue", "ip", "addr", "add", f"{there}/24", "dev", f"ap-{name}")
    net.command("rogue", "ip", "link", "set", f"ap-{name}", "up")
    net.command("pc", "ip", "addr", "add", f"{here}/24", "dev", name)


def policy(
    *permits: Permit, mode: Mode = "enforce", fail: FailMode = "open", name: str = "mynumber", **zone: Any
) -> PolicyView:
    """The shipped rules for a PC of a zone."""
    bundle = Bundle(
        city="test",
        generation=1,
        issued_us=0,
        expires_us=FAR_US,
        ordinances=("nagoya", "meguro", "baseline"),
        rules=RULES,
        permits=permits,
        zones=(Zone(name=name, title_ja="z", title_en="z", **zone),),
        settings={"links": {"*": Setting(mode, fail)}},
        assignments={"pc": Assignment(name)},
    )
    return PolicyView(bundle, "0" * 64, "pc")


class Pc:
    """Sensor and enforcer of one PC, with the judge between them as the agent has it."""

    def __init__(self, lab: Platform, view: PolicyView) -> None:
        self.lab, self.view = lab, view
        self.enforcer = LinksEnforcer(lab)
        self.enforcer.apply(view)
        self.told: list[Event] = []
        self.sensor = LinksSensor(lab)
        self.judge(self.sensor.open())
        self.judge(self.enforcer.tick())

    def judge(self, events: Any) -> None:
        for event in events:
            _, verdict, _ = decide(self.view, event, self.lab.now_us())
            outcome: Outcome | None = self.enforcer.stop(event, verdict)
            self.told.append(event)
            if outcome is not None and outcome.record is not None:
                self.told.append(outcome.record)

    def wait(self, change: str, timeout: float = 10) -> LinkChanged:
        """Let the loop run until a change is told."""
        deadline = time.monotonic() + timeout
        while True:
            found = [one for one in self.told if isinstance(one, LinkChanged) and one.change == change]
            if found:
                return found[-1]
            left = deadline - time.monotonic()
            assert left > 0, f"{change} was not told: {[getattr(one, 'change', one) for one in self.told]}"
            self.turn(left)

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 10) -> None:
        """Let the loop run until something holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}"
            self.turn(0.1)

    def turn(self, timeout: float) -> None:
        """One turn of the loop."""
        filenos = [fileno for fileno, _ in self.sensor.filenos()]
        for fileno in select.select(filenos, [], [], timeout)[0]:
            self.judge(self.sensor.read(fileno))

    def settle(self) -> None:
        """Let everything that is under way arrive."""
        while True:
            before = len(self.told)
            self.turn(0.1)
            if len(self.told) == before:
                return

    @property
    def blocked(self) -> list[LinkBlocked]:
        return [one for one in self.told if isinstance(one, LinkBlocked)]


def serve() -> Iterator[str]:
    """Echo UDP at 53 and accept TCP at 7461, for ever."""
    poller, open_ = select.poll(), {}
    for kind, port in ((socket.SOCK_STREAM, 7461), (socket.SOCK_DGRAM, 53)):
        one = socket.socket(socket.AF_INET6, kind)
        one.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            one.listen(16)
        open_[one.fileno()] = one
        poller.register(one, select.POLLIN)
    yield "ready"
    kept = []
    while True:
        for fileno, _ in poller.poll():
            if open_[fileno].type == socket.SOCK_STREAM:
                kept.append(open_[fileno].accept())
            else:
                data, sender = open_[fileno].recvfrom(100)
                with contextlib.suppress(OSError):
                    open_[fileno].sendto(data, sender)


def reaches(address: str, timeout: float = 0.3) -> bool:
    """Whether a datagram comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(timeout)
        try:
            one.sendto(b"x", (address, 53))
            return one.recv(9) == b"x"
        except OSError:
            return False
