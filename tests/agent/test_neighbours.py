"""The neighbours sensor on a real switch of namespaces; frames are made by scapy or by the kernel itself."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.platform import Platform
from agent.sensors.neighbours import NeighboursSensor
from protocol.events import AgentHealth, Event, NeighbourFlood, NeighbourSeen
from tests.agent.lan.frames import arp, cut_dhcp, dhcp, lldp, mdns, neighbour_solicitation
from tests.netns import Lan, lan, until

pytestmark = pytest.mark.needs("root", "netns")

ROGUE, RANDOM, PHONE = "00:00:5e:00:53:66", "06:00:5e:00:53:67", "00:00:5e:00:53:68"
SEGMENT = "10.77.0.0/24 -"
ROUNDS = 200


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "rogue") as made:
        yield made


class Pc:
    """The sensor of one PC, in the namespace of the calling process."""

    def __init__(self, state: Path, duty: tuple[str, ...] = (SEGMENT,)) -> None:
        self.sensor = NeighboursSensor(Platform(state=state, run=state))
        self.opened: list[Any] = list(self.sensor.open())
        if duty:
            self.sensor.watch(duty)

    def pump(self) -> list[Event]:
        ready, _, _ = select.select([fileno for fileno, _ in self.sensor.filenos()], [], [], 0)
        return [event for fileno in ready for event in self.sensor.read(fileno)]

    def until(self, wanted: Callable[[Any], object], *, timeout: float = 5) -> Any:
        """The first event that is wanted; what comes before is passed over."""

        def look() -> Event | None:
            return next((event for event in self.pump() if wanted(event)), None)

        return until(look, "the event", timeout)


@pytest.fixture
def on_pc(net: Lan, tmp_path: Path) -> Callable[..., Any]:
    def run(scenario: Callable[[Pc], Any], duty: tuple[str, ...] = (SEGMENT,)) -> Any:
        def inside() -> Any:
            pc = Pc(tmp_path, duty)
            try:
                return scenario(pc)
            finally:
                pc.sensor.close()

        return net.run("pc", inside)

    return run


def by(mac: str, why: str = "") -> Callable[[Any], bool]:
    return lambda event: isinstance(event, NeighbourSeen) and event.mac == mac and why in ("", event.why)


def send(net: Lan, frames: Iterable[bytes]) -> None:
    """Put frames on the wire from the rogue's place."""
    wire = list(frames)

    def inside() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("eth0", 0))
            for frame in wire:
                out.send(frame)

    net.run("rogue", inside)


def test_it_tells_of_its_own_pc_and_which_segment_that_is_on(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(pc: Pc) -> None:
        (own,) = pc.opened
        assert (own.why, own.segment, own.interface) == ("own", SEGMENT, "eth0")
        assert net.ip4("pc") in own.addresses
        assert pc.sensor.segments == (SEGMENT,)
        assert (pc.sensor.standby, len(list(pc.sensor.filenos()))) == (True, 2)
        pc.sensor.watch(("10.99.0.0/24 -",))
        assert pc.sensor.standby
        pc.sensor.watch((SEGMENT,))
        assert (pc.sensor.standby, len(list(pc.sensor.filenos()))) == (False, 3)
        pc.sensor.watch(())
        assert (pc.sensor.standby, len(list(pc.sensor.filenos()))) == (True, 2)

    on_pc(scenario, ())


def test_the_last_duty_holds_over_a_restart(on_pc: Callable[..., Any]) -> None:
    on_pc(lambda _pc: None)
    assert not on_pc(lambda pc: pc.sensor.standby, ())


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (lambda: arp(ROGUE, "10.77.0.66"), ("arp", "10.77.0.66", False)),
        (lambda: arp(ROGUE, "10.77.0.66", probe=True), ("arp", "10.77.0.66", False)),
        (lambda: dhcp(RANDOM, "tablet", [1, 3, 6]), ("dhcp", "", True)),
        (lambda: neighbour_solicitation(RANDOM, "fe80::66"), ("ndp", "fe80::66", True)),
        (lambda: mdns(PHONE, "10.77.0.68", "Sato-no-iPhone"), ("mdns", "10.77.0.68", False)),
    ],
    ids=["static address", "address probe", "DHCP, randomised MAC", "IPv6 only", "mDNS"],
)
def test_a_new_machine_is_seen_by_its_first_frame(
    on_pc: Callable[..., Any], net: Lan, frame: Callable[[], bytes], expected: tuple[str, str, bool]
) -> None:
    first = frame()

    def scenario(pc: Pc) -> None:
        send(net, [first, first])
        seen = pc.until(by(first[6:12].hex(":")))
        assert (seen.why, seen.via, seen.ip, seen.randomised) == ("new", *expected)
        assert (seen.segment, seen.interface) == (SEGMENT, "eth0")
        if seen.via == "dhcp":
            assert (seen.hostname, seen.fingerprint) == ("tablet", "1,3,6 MSFT 5.0")
        if seen.via == "mdns":
            assert seen.hostname == "Sato-no-iPhone"
        assert not [event for event in pc.pump() if by(seen.mac)(event)], "told twice"

    on_pc(scenario)


def test_a_real_kernel_that_only_speaks_ipv6_is_seen(on_pc: Callable[..., Any], net: Lan) -> None:
    """A second MAC on the rogue's wire comes up: its own duplicate detection and listener reports are its first frames."""

    def scenario(pc: Pc) -> None:
        net.command("rogue", "ip", "link", "add", "six", "link", "eth0", "address", RANDOM, "type", "macvlan")
        try:
            net.command("rogue", "ip", "link", "set", "six", "up")
            seen = pc.until(by(RANDOM))
            assert (seen.via, seen.why, seen.randomised) == ("ndp", "new", True)
            assert not any("." in address for address in seen.addresses)
        finally:
            net.command("rogue", "ip", "link", "del", "six")

    on_pc(scenario)


def test_a_copied_mac_is_told_by_fingerprint_or_name(on_pc: Callable[..., Any], net: Lan) -> None:
    windows, linux = dhcp(ROGUE, "zeimu-01", [1, 3, 6, 15]), dhcp(ROGUE, "zeimu-01", [1, 28, 2], "dhcpcd")
    renamed = dhcp(PHONE, "kali", [1, 3, 6, 15])

    def scenario(pc: Pc) -> None:
        send(net, [windows, windows])
        assert pc.until(by(ROGUE)).why == "new"
        send(net, [linux])
        copy = pc.until(by(ROGUE))
        assert (copy.why, copy.fingerprint) == ("copied", "1,28,2 dhcpcd")
        send(net, [mdns(PHONE, "10.77.0.68", "fukushi-07")])
        assert pc.until(by(PHONE)).why == "new"
        send(net, [windows, linux])  # both are known by now: nothing new
        send(net, [renamed])
        assert pc.until(lambda event: by(PHONE)(event) or by(ROGUE)(event)).why == "copied"
        assert not [event for event in pc.pump() if by(ROGUE)(event)]

    on_pc(scenario)


def test_a_copy_of_the_watchers_own_mac_is_told(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(pc: Pc) -> None:
        (own,) = pc.opened
        send(net, [arp(own.mac, "10.77.0.99")])
        assert pc.until(by(own.mac)).why == "copied"

    on_pc(scenario)


def test_the_switch_port_is_learned_by_the_child(on_pc: Callable[..., Any], net: Lan) -> None:
    net.command("switch", "sh", "-c", "ip link set br0 type bridge group_fwd_mask 16384")
    frame = lldp("sw-3f", "Gi1/0/7")

    def scenario(pc: Pc) -> None:
        pc.sensor._switches._due_s = 0.0
        assert not list(pc.sensor.tick())

        def heard() -> list[NeighbourSeen]:
            send(net, [frame])
            return [
                event for event in pc.pump() if isinstance(event, NeighbourSeen) and event.why == "switch"
            ]

        (seen,) = until(heard, "the switch", 30)
        assert (seen.switch, seen.port, seen.via, seen.interface) == ("sw-3f", "Gi1/0/7", "lldp", "eth0")
        assert seen.segment == SEGMENT

    on_pc(scenario)


def test_a_flood_of_forged_frames_is_one_event_and_bounded(on_pc: Callable[..., Any], net: Lan) -> None:
    half = 10_000
    forged = [
        arp(f"02:00:00:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}", "10.77.0.5") for n in range(half)
    ]
    shape = dhcp("02:ff:00:00:00:00", "x", [1])
    forged += [
        shape[:6] + (mac := bytes([2, 0xFF, 0, 0, n >> 8, n & 255])) + shape[12:70] + mac + shape[76:]
        for n in range(half)
    ]

    def scenario(pc: Pc) -> tuple[int, list[NeighbourFlood], int]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        news: list[Event] = []
        floods: list[NeighbourFlood] = []
        child = net.start("rogue", _flood, forged)
        deadline, next_tick = time.monotonic() + 20, time.monotonic() + 1
        ends = 0.0
        while time.monotonic() < (ends or deadline):
            news += pc.pump()
            if time.monotonic() >= next_tick:
                next_tick += 1
                floods += [event for event in pc.sensor.tick() if isinstance(event, NeighbourFlood)]
            if not ends and child_done(child):
                ends = time.monotonic() + 4
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return len(news), floods, grown

    told, floods, grown = on_pc(scenario)
    assert told <= 64
    (flood,) = floods
    assert flood.count + told >= 2 * half, "every frame is counted, looked at or not"
    assert flood.machines > 1000
    print(f"20,000 forged frames: {told} told, flood {flood}, {grown} KiB grown")
    assert grown < 8 * 1024


def _flood(frames: list[bytes]) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for frame in frames:
            out.send(frame)
    return "sent"


def child_done(child: Any) -> bool:
    try:
        return bool(child.hear(0.001))
    except TimeoutError:
        return False


def test_garbled_frames_are_refused_counted_and_end_nothing(on_pc: Callable[..., Any], net: Lan) -> None:
    good = arp(PHONE, "10.77.0.68")
    bad = [cut_dhcp(ROGUE), good[:14] + b"\0\7" + good[16:]]

    def scenario(pc: Pc) -> None:
        send(net, [*bad, good])
        assert pc.until(by(PHONE)).why == "new"
        (health,) = [event for event in pc.sensor.tick() if isinstance(event, AgentHealth)]
        assert (health.code, health.raised) == ("sensor_garbled.neighbours", True)
        assert health.detail == "malformed_body=1 truncated=1"
        assert not list(pc.sensor.tick())

    on_pc(scenario)


def test_first_frame_to_event_takes_milliseconds(on_pc: Callable[..., Any], net: Lan) -> None:
    macs = [f"00:00:5e:00:54:{number:02x}" for number in range(ROUNDS)]
    frames = [arp(mac, "10.77.0.66") for mac in macs]

    def rogue() -> Iterator[Any]:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("eth0", 0))
            for frame in frames:
                began = time.monotonic_ns()
                out.send(frame)
                yield began
                time.sleep(0.02)  # one at a time; fifty are below what counts as a flood

    def scenario(pc: Pc) -> list[float]:
        took = []
        child = net.start("rogue", rogue)
        for mac in macs[:50]:
            began = child.hear()
            pc.until(by(mac))
            took.append((time.monotonic_ns() - began) / 1e6)
        child.kill()
        return sorted(took)

    took = on_pc(scenario)
    print(f"first frame to event: p50 {took[len(took) // 2]:.2f} ms, worst of {len(took)} {took[-1]:.2f} ms")
    assert took[-1] < 1000
