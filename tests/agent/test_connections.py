"""Connections seen, stopped and attributed on a real kernel, by short-lived programs too."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connection_folds import Folder, by_process
from agent.enforcers.firewall import FirewallEnforcer
from agent.platform import Platform
from agent.platform.ports import OverflowedError
from agent.sensors.connections import ConnectionsSensor
from policies.model import Destination
from protocol.events import ConnectionBlocked, ConnectionOpened, Event
from tests.agent.firewall_lab import view
from tests.netns import Lan, lan, own_cgroup, short_lived_client, until

KINDS = ("tcp", "udp", "connected", "icmp")
ROUNDS = int(os.environ.get("SEKISHO_ROUNDS", "25"))  # 200 for the figures in the documentation


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "friend", "other") as made:
        yield made


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("client")
    for place in (folder, *folder.parents[:3]):
        place.chmod(0o755)
    return short_lived_client(folder)


class Pc:
    """Sensor and firewall in the namespace and cgroup of the test's PC."""

    def __init__(self, net: Lan, group: Path, state: Path, mode: str) -> None:
        (group / "cgroup.procs").write_text("0")
        os.environ["SEKISHO_CGROUP"] = str(group)
        platform = Platform(state=state, run=state)
        self.firewall = FirewallEnforcer(platform)
        self.firewall.apply(view(net, mode, allow=(Destination(net.ip4("friend")),)))
        self.sensor = ConnectionsSensor(platform)
        assert list(self.sensor.open()) == []
        ((self.fileno, _),) = self.sensor.filenos()

    def events(self, count: int = 1, timeout: float = 5) -> list[Any]:
        found: list[Event] = []
        deadline = time.monotonic() + timeout
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            if select.select([self.fileno], [], [], left)[0]:
                found += self.sensor.read(self.fileno)
        return found


@pytest.fixture
def on_pc(net: Lan, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    def run(scenario: Callable[[Pc], Any], mode: str = "enforce") -> Any:
        with own_cgroup() as group:
            return net.run("pc", lambda: scenario(Pc(net, group, tmp_path, mode)))

    yield run
    net.command("pc", "nft", "flush ruleset")


@pytest.mark.needs("root", "netns", "nft", "bpf")
@pytest.mark.parametrize("six", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_short_lived_program_is_found(
    on_pc: Callable[..., Any], net: Lan, client: list[str], kind: str, six: bool
) -> None:
    address = net.ip6("other") if six else net.ip4("other")
    protocol = {"connected": "udp"}.get(kind, "icmpv6" if six and kind == "icmp" else kind)

    def scenario(pc: Pc) -> Counter[str]:
        seen: Counter[str] = Counter()
        latencies = []
        for _ in range(ROUNDS):
            with subprocess.Popen([*client, kind, address, "9"], stderr=subprocess.DEVNULL) as program:
                (event, *_) = pc.events()
                program.wait()
            assert isinstance(event, ConnectionBlocked)
            assert (event.action, event.dest_ip, event.protocol) == ("blocked", address, protocol)
            assert event.pid in (program.pid, 0), "never somebody else"
            seen[event.attribution if event.pid else "none"] += 1
            assert event.exe == client[0] or event.exe.startswith("[")
            latencies.append(event.latency_us)
        print(
            f"{kind:>9} {protocol:>6} {'v6' if six else 'v4'}: {dict(seen)}, event p50 {sorted(latencies)[ROUNDS // 2]} µs"
        )
        return seen

    assert on_pc(scenario)["none"] == 0


@pytest.mark.needs("root", "netns", "nft", "bpf")
def test_programs_at_the_same_time_are_told_apart(
    on_pc: Callable[..., Any], net: Lan, client: list[str]
) -> None:
    """All are gone before the first packet is read; same user, same destination, same port."""

    def scenario(pc: Pc) -> None:
        programs = [
            subprocess.Popen([*client, kind, net.ip4("other"), "9"], stderr=subprocess.DEVNULL)
            for kind in ("udp", "connected", "icmp")
            for _ in range(20)
        ]
        for program in programs:
            program.wait()
        events = pc.events(60)
        assert sorted(event.pid for event in events) == sorted(program.pid for program in programs)
        assert {event.attribution for event in events} == {"bpf"}

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_who_where_and_as_whom(on_pc: Callable[..., Any], net: Lan, client: list[str]) -> None:
    user = pwd.getpwnam("nobody")

    def scenario(pc: Pc) -> None:
        command = [*client, "tcp", net.ip4("other"), "443"]
        with subprocess.Popen(command, user=user.pw_uid, stderr=subprocess.DEVNULL) as program:
            (event,) = pc.events()
            assert program.wait() != 0
        assert (event.pid, event.uid, event.user) == (program.pid, user.pw_uid, "nobody")
        assert event.exe == os.path.realpath(client[0]) or "python" in event.exe
        assert event.cmdline.endswith("tcp 10.77.0.12 443")
        assert event.ppid == os.getpid()
        assert (event.dest_ip, event.dest_port, event.src_ip) == (net.ip4("other"), 443, net.ip4("pc"))
        assert event.latency_us > 0

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_connect_does_not_hang(on_pc: Callable[..., Any], net: Lan) -> None:
    """Dropped, attributed, destroyed: the program hears of it at once, not after minutes of SYN retransmission."""

    def caller() -> Iterator[Any]:
        yield "ready"
        for address in (net.ip4("other"), net.ip6("other")):
            started = time.perf_counter()
            try:
                socket.create_connection((address, 443), timeout=5)
            except ConnectionAbortedError:
                yield time.perf_counter() - started

    def scenario(pc: Pc) -> list[float]:
        child, took = net.start("pc", caller), []
        child.hear()
        for _ in range(2):
            pc.events()
            took.append(child.hear())
        child.kill()
        return took

    took = on_pc(scenario)
    print("connect() refused after", [f"{one * 1000:.2f} ms" for one in took])
    assert max(took) < 0.5


@pytest.mark.needs("root", "netns", "nft")
def test_observed_and_allowed_are_opened_once_per_connection(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(pc: Pc) -> None:
        for host, action in (("other", "observed"), ("friend", "allowed")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                for _ in range(5):
                    one.sendto(b"x", (net.ip4(host), 9))
                (event,) = pc.events()
                assert isinstance(event, ConnectionOpened)
                assert (event.action, event.pid, event.exe) == (
                    action,
                    os.getpid(),
                    os.path.realpath(sys.executable),
                )
                assert (event.dest_ip, event.dest_port, event.count) == (net.ip4(host), 9, 1)
        assert pc.events(timeout=0.3) == []

    on_pc(scenario, "observe")


@pytest.mark.needs("root", "netns", "nft")
def test_marks_of_others_survive(on_pc: Callable[..., Any], net: Lan) -> None:
    """Policy routing uses packet marks; ours are borrowed for the log and given back."""
    rules = "table inet m { chain c { type filter hook postrouting priority 0; udp dport 9 meta mark 0x%x counter; }; }"

    def scenario(pc: Pc) -> None:
        for mark in (0, 0x51):
            net.command("pc", "nft", rules % mark)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                one.sendto(b"x", (net.ip4("friend"), 9))
            assert "counter packets 1 " in net.command("pc", "nft", "list", "table", "inet", "m").stdout
            net.command("pc", "nft", "delete", "table", "inet", "m")

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_repeats_are_folded(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(pc: Pc) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for _ in range(30):
                with pytest.raises(PermissionError):
                    one.sendto(b"x", (net.ip4("other"), 9))
        (first,) = pc.events()
        (rest,) = cast("list[ConnectionBlocked]", list(pc.sensor.tick()))
        assert (first.count, rest.count) == (1, 29)
        assert list(pc.sensor.tick()) == []

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_overflow_is_raised_by_name(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(pc: Pc) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for _ in range(30_000):
                with contextlib.suppress(PermissionError):
                    one.sendto(b"x", (net.ip4("other"), 9))
        with pytest.raises(OverflowedError):
            until(lambda: not list(pc.sensor.read(pc.fileno)), "the overflow")

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_without_bpf_it_says_how_it_was_found(net: Lan, tmp_path: Path, client: list[str]) -> None:
    def scenario() -> tuple[str, int, int]:
        os.environ["SEKISHO_CGROUP"] = "/proc"  # no cgroup: the program cannot be attached
        platform = Platform(state=tmp_path, run=tmp_path)
        FirewallEnforcer(platform).apply(view(net, "enforce"))
        sensor = ConnectionsSensor(platform)
        sensor.open()
        ((fileno, _),) = sensor.filenos()
        with subprocess.Popen([*client, "tcp", net.ip4("other"), "9"], stderr=subprocess.DEVNULL) as program:
            (event,) = until(lambda: list(sensor.read(fileno)), "the event")
        assert isinstance(event, ConnectionBlocked)
        return event.attribution, event.pid, program.pid

    how, pid, wanted = net.run("pc", scenario)
    net.command("pc", "nft", "flush ruleset")
    assert (how, pid) == ("sock_diag", wanted)


EVENTS = st.builds(
    ConnectionBlocked,
    time_us=st.just(1),
    pid=st.integers(1, 3),
    dest_ip=st.sampled_from(["a", "b"]),
    dest_port=st.integers(1, 2),
)


@given(st.lists(st.one_of(EVENTS, st.none()), max_size=60))
def test_folding_loses_nothing_and_reports_the_first_at_once(steps: list[ConnectionBlocked | None]) -> None:
    """None is a tick."""
    folder: Folder[ConnectionBlocked] = Folder(by_process)
    given_, told = Counter[bytes](), Counter[bytes]()
    told_before: set[bytes] = set()
    for step in steps:
        if step is None:
            due = folder.flush()
        else:
            key = msgspec.msgpack.encode(step)
            given_[key] += 1
            due = folder.fold(step)
            assert due or key in told_before
        for event in due:
            key = msgspec.msgpack.encode(msgspec.structs.replace(event, count=1))
            told[key] += event.count
            told_before.add(key)
    for event in folder.flush():
        told[msgspec.msgpack.encode(msgspec.structs.replace(event, count=1))] += event.count
    assert given_ == told


def test_folding_is_bounded() -> None:
    folder: Folder[ConnectionBlocked] = Folder(by_process)
    for turn in range(10_000):
        folder.fold(ConnectionBlocked(time_us=1, pid=turn // 2))
    assert len(folder._first) <= 4096
    assert len(folder._repeats) <= 4096
