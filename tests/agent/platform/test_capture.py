"""The filter in the kernel, and the child that lets a switch name itself."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given

from agent.lan.switches import DAILY_S, FIRST_S, GRACE_S, LISTEN_S, SwitchFinder
from agent.platform.lan_ports import SwitchPort
from agent.platform.linux import capture
from agent.platform.linux.capture import PacketCapture
from agent.platform.linux.lan import LinuxLan
from agent.platform.linux.lldp_child import read_switch
from tests.agent.lan.frames import SWITCH, cdp, lldp, mutated
from tests.netns import Lan, lan, until

NEEDS = pytest.mark.needs("root", "netns")
MACHINES = (
    "arp or (ip6 and (ip6[6] == 58 and ip6[40] >= 133 and ip6[40] <= 136)) or (ip6 and ip6[6] == 0 and ip6[40] == 58)"
    " or (udp and (port 67 or port 68 or port 546 or port 547 or port 5353))"
)


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "other") as made:
        yield made


def send(*frames: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for frame in frames:
            out.send(frame)


@NEEDS
def test_the_kernel_lets_only_through_what_shows_machines(net: Lan) -> None:
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
    from scapy.layers.l2 import ARP, Ether

    broadcast = Ether(src=SWITCH, dst="ff:ff:ff:ff:ff:ff")
    shows = [
        bytes(broadcast / ARP()),
        bytes(broadcast / IPv6() / ICMPv6ND_NS()),
        bytes(broadcast / IP() / UDP(dport=67)),
    ]
    hides = [
        bytes(broadcast / IP() / UDP(sport=9, dport=53)),
        bytes(broadcast / IP() / TCP(dport=67)),
        bytes(broadcast / IP() / ICMP()),
        bytes(broadcast / IPv6() / ICMPv6EchoRequest()),
    ]

    def inside() -> tuple[list[bytes], list[bytes]]:
        one = PacketCapture("eth0")
        send(shows[0])  # its own frames do not come back
        net.run("other", send, *hides, *shows)
        got: list[bytes] = []

        def all_there() -> bool:
            got.extend(one.frames(99))
            return sum(frame[6:12] == shows[0][6:12] for frame in got) >= len(shows)

        until(all_there, "the frames")
        one.close()
        return [frame for frame in got if frame[6:12] == shows[0][6:12]], got

    mine, _every = net.run("pc", inside)
    assert [frame[: len(sent)] for frame, sent in zip(mine, shows, strict=True)] == shows


@NEEDS
def test_what_the_kernel_dropped_is_counted_once(net: Lan) -> None:
    frame = bytes(6) + bytes.fromhex(SWITCH.replace(":", "")) + b"\x08\x06" + bytes(46)

    def inside() -> tuple[int, int, int]:
        one = PacketCapture("eth0", buffer=4096)
        net.run("other", send, *[b"\xff" * 6 + frame[6:]] * 500)
        return sum(1 for _ in one.frames(500)), one.lost(), one.lost()

    read, lost, again = net.run("pc", inside)
    assert lost
    assert read + lost >= 500
    assert again == 0


@NEEDS
def test_an_interface_that_goes_down_or_away_is_told_by_name() -> None:
    def inside(net: Lan) -> str:
        with pytest.raises(OSError, match="No such device"):
            PacketCapture("eth9")
        one = PacketCapture("eth0")
        net.command("pc", "ip", "link", "set", "eth0", "down")
        assert list(one.frames(9)) == []
        net.command("pc", "ip", "link", "set", "eth0", "up")
        return "done"

    with lan("pc") as net:
        assert net.run("pc", inside, net) == "done"


@NEEDS
def test_the_kernel_finds_out_a_gateways_mac(net: Lan) -> None:
    def inside() -> str:
        found = LinuxLan()
        assert found.gateway_mac("eth0", "10.77.0.200") == ""
        assert found.gateway_mac("eth9", "10.77.0.1") == ""
        return until(
            lambda: (
                found.gateway_mac("eth0", net.ip6("other")) and found.gateway_mac("eth0", net.ip4("other"))
            ),
            "a MAC",
        )

    shown = net.command("other", "ip", "-o", "link", "show", "eth0").stdout.partition("link/ether ")[2][:17]
    until(lambda: net.run("pc", inside) == shown, "the MAC")


@pytest.mark.needs("tcpdump")
@pytest.mark.parametrize(
    ("program", "expression"),
    [
        (
            capture.SHOWS_MACHINES,
            MACHINES,
        ),
        (capture.NAMES_SWITCH, "ether proto 0x88cc or ether dst 01:00:0c:cc:cc:cc"),
    ],
)
def test_the_shipped_programs_are_what_tcpdump_makes(program: str, expression: str) -> None:
    argv = ["tcpdump", "-s", "1514", "-y", "EN10MB", "-ddd", expression]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")
    assert program.split(",") == lines[1 : int(lines[0]) + 1]


# -- the switch names itself -----------------------------------------------------------------------------------------


def test_lldp_and_cdp_are_dissected() -> None:
    assert read_switch(lldp()) == SwitchPort(via="lldp", switch="sw-3f", port="Gi1/0/7", mac=SWITCH)
    assert read_switch(cdp()) == SwitchPort(via="cdp", switch="sw-cdp", port="FastEthernet0/3", mac=SWITCH)


@given(mutated([lldp(), cdp()], longest=200, most=8))
def test_forged_frames_name_a_switch_or_nothing(frame: bytes) -> None:
    found = read_switch(frame)
    assert found is None or (found.switch and found.port and len(found.switch) <= 256)


def test_the_resident_agent_never_loads_what_the_child_does() -> None:
    code = (
        "import sys, agent.runtime, agent.sensors, agent.platform.linux.lan; agent.sensors.discover();"
        "print({name.partition('.')[0] for name in sys.modules} & {'scapy'}, 'agent.platform.linux.lldp_child' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set() False"


@NEEDS
def test_the_child_hears_a_real_frame_and_ends(net: Lan) -> None:
    """The bridge passes link-local groups on only where it is told to, as a switch never does."""
    switch = net.netns("switch")
    argv = [
        "ip",
        "netns",
        "exec",
        switch,
        "sh",
        "-c",
        "echo 16384 > /sys/class/net/br0/bridge/group_fwd_mask",
    ]
    subprocess.run(argv, check=True, timeout=20)
    frame = lldp("sw-真", "Gi1/0/7")

    def inside() -> tuple[SwitchPort | None, float]:
        child = LinuxLan().listen("eth0", 20)
        began = time.monotonic()
        while not select.select([child.fileno()], [], [], 0.05)[0]:
            net.run("other", send, lldp("\x00", "?"), frame)
            assert time.monotonic() - began < 20
        return child.result(), time.monotonic() - began

    found, took = net.run("pc", inside)
    print(f"LLDP child: heard and dissected {took:.2f} s after its start")
    assert found == SwitchPort(via="lldp", switch="sw-真", port="Gi1/0/7", mac=SWITCH)


@NEEDS
def test_a_child_that_hears_nothing_ends_by_itself_and_one_that_is_closed_at_once(net: Lan) -> None:
    def inside() -> None:
        child = LinuxLan().listen("eth0", 0.1)
        assert select.select([child.fileno()], [], [], 20)[0]
        assert child.result() is None
        child = LinuxLan().listen("eth0", 60)
        child.close()
        child.close()
        child = LinuxLan().listen("eth9", 60)  # no such interface: it fails, and that is no answer
        assert select.select([child.fileno()], [], [], 20)[0]
        assert child.result() is None

    net.run("pc", inside)


class _FakeLan:
    """Counts children; the contract of ``SwitchListener`` without a process."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = 0
        self.fails = False

    def listen(self, interface: str, seconds: float) -> _FakeChild:
        assert seconds == LISTEN_S
        if self.fails:
            raise OSError("no process")
        self.asked.append(interface)
        return _FakeChild(self)


class _FakeChild:
    def __init__(self, made_by: _FakeLan) -> None:
        self._lan = made_by

    def fileno(self) -> int:
        return 7

    def result(self) -> SwitchPort | None:
        return SwitchPort(via="lldp", switch="s", port="p")

    def close(self) -> None:
        self._lan.closed += 1


def test_one_child_at_a_time_soon_and_daily() -> None:
    fake = _FakeLan()
    finder = SwitchFinder(fake)  # type: ignore[arg-type]
    finder.ask(["eth0", "eth1"], 0.0)
    finder.tick(FIRST_S - 1)
    assert (fake.asked, finder.filenos()) == ([], [])
    finder.tick(FIRST_S)
    assert (fake.asked, finder.filenos()) == (["eth0"], [7])
    assert [name for name, _ in finder.heard()] == ["eth0"]
    assert fake.asked == ["eth0", "eth1"]
    finder.tick(time.monotonic() + LISTEN_S + GRACE_S + 1)  # it hangs
    assert (fake.closed, finder.filenos()) == (1, [])
    finder.tick(FIRST_S + DAILY_S + time.monotonic())
    assert fake.asked == ["eth0", "eth1", "eth0"]
    finder.close()
    fake.fails = True
    with contextlib.suppress(OSError):
        finder.ask(["eth0"], 0.0)
        finder.tick(FIRST_S)
    assert finder.filenos() == []
