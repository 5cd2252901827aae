"""Finding and ending sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.platform.linux.processes import LinuxProcesses
from agent.platform.linux.sockets import LinuxSockets
from agent.platform.ports import Packet, ProcessInfo
from tests.netns import Lan, lan, own_cgroup, until

pytestmark = pytest.mark.needs("root", "netns")


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "other") as made:
        yield made


def packet_of(one: socket.socket, protocol: str, dest: tuple[str, int], **changes: int) -> Packet:
    source = one.getsockname()
    facts = {
        "protocol": protocol,
        "src_ip": source[0],
        "src_port": source[1],
        "dest_ip": dest[0],
        "dest_port": dest[1],
    }
    return Packet(prefix="x", uid=0, **{**facts, **changes})


def bare(group: Path, *, stamps: bool = False) -> LinuxSockets:
    """Sockets of a PC; without ``stamps`` like one whose kernel has no BPF."""
    os.environ["SEKISHO_CGROUP"] = str(group) if stamps else "/proc"
    return LinuxSockets(LinuxProcesses())


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_owner_by_sock_diag(net: Lan, tmp_path: Path, protocol: str, six: bool) -> None:
    def scenario() -> tuple[ProcessInfo | None, str, int, str]:
        sockets = bare(tmp_path)
        host = net.ip6("other") if six else net.ip4("other")
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind | socket.SOCK_NONBLOCK) as one:
            one.connect_ex((host, 9))
            found, how = sockets.owner(packet_of(one, protocol, (host, 9)))
            return found, how, os.getpid(), sockets.why_no_stamps

    net.command(
        "other", "nft", "table inet t { chain i { type filter hook input priority 0; tcp dport 9 drop; }; }"
    )
    found, how, pid, why = net.run("pc", scenario)
    net.command("other", "nft", "flush ruleset")
    assert found is not None
    assert (found.pid, how) == (pid, "sock_diag")
    assert why, "the reason must be said"


def test_unconnected_udp_and_mapped_addresses(net: Lan, tmp_path: Path) -> None:
    def scenario() -> list[tuple[int, str]]:
        sockets = bare(tmp_path)
        found = []
        for family, place in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            with socket.socket(family, socket.SOCK_DGRAM) as one:
                one.bind((place, 0))
                packet = Packet(
                    prefix="x",
                    protocol="udp",
                    src_ip=net.ip4("pc"),
                    src_port=one.getsockname()[1],
                    dest_ip=net.ip4("other"),
                    dest_port=53,
                    uid=0,
                )
                info, how = sockets.owner(packet)
                found.append((info.pid if info else 0, how))
        return [*found, (os.getpid(), "sock_diag")]

    *found, wanted = net.run("pc", scenario)
    assert found == [wanted, wanted]


@pytest.mark.parametrize("six", [False, True])
def test_raw_socket_by_its_table(net: Lan, tmp_path: Path, six: bool) -> None:
    def scenario() -> tuple[int, str, int]:
        sockets = bare(tmp_path)
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1):
            packet = Packet(
                prefix="x",
                protocol="icmpv6" if six else "icmp",
                src_ip=net.ip6("pc") if six else net.ip4("pc"),
                src_port=7,
                dest_ip="::2" if six else "10.0.0.2",
                dest_port=8,
                uid=0,
            )
            info, how = sockets.owner(packet)
            return info.pid if info else 0, how, os.getpid()

    pid, how, wanted = net.run("pc", scenario)
    assert (pid, how) == (wanted, "sock_diag")


@pytest.mark.needs("bpf")
def test_who_holds_the_socket_now_counts_more_than_who_made_it(net: Lan) -> None:
    """A daemon makes a socket, forks, and the parent ends."""

    def scenario(group: Path) -> tuple[int, str, int]:
        (group / "cgroup.procs").write_text("0")
        sockets = bare(group, stamps=True)
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        reader, writer = os.pipe()
        first = os.fork()
        if first == 0:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.connect((net.ip4("other"), 53))
            if os.fork() == 0:
                line = f"{os.getpid()} {made.getsockname()[1]} {made.getsockopt(1, socket.SO_PRIORITY)}"
                os.write(writer, line.encode())
                signal.pause()
            os._exit(0)
        os.waitpid(first, 0)
        child, port, priority = map(int, os.read(reader, 100).split())
        from agent.platform.linux.bpf import jhash_key

        packet = Packet(
            prefix="x",
            protocol="udp",
            src_ip=net.ip4("pc"),
            src_port=port,
            dest_ip=net.ip4("other"),
            dest_port=53,
            uid=0,
            mark=jhash_key(priority),
        )
        try:
            info, how = sockets.owner(packet)
        finally:
            os.kill(child, 9)
        one.close()
        return info.pid if info else 0, how, child

    with own_cgroup() as group:
        pid, how, child = net.run("pc", scenario, group)
    assert (pid, how) == (child, "sock_diag")


@pytest.mark.needs("bpf")
def test_a_pid_that_was_given_again_is_not_taken_for_the_creator(tmp_path: Path) -> None:
    with own_cgroup() as group:
        sockets = bare(group, stamps=True)
        (tmp_path / "7").mkdir()
        fields = " ".join(["S", *["0"] * 18, "100", "0"])
        (tmp_path / "7" / "stat").write_text(f"7 (a (b) c) {fields}\n")
        from agent.platform.linux.bpf import Creator

        sockets._proc = tmp_path
        tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        assert sockets._is_alive(Creator(7, 0, "c", 100 * tick_ns, 1))
        assert not sockets._is_alive(Creator(7, 0, "c", 99 * tick_ns, 1))
        sockets.close()


def test_nobody_is_nobody(net: Lan, tmp_path: Path) -> None:
    def scenario() -> tuple[ProcessInfo | None, str]:
        gone = Packet(
            prefix="x", protocol="tcp", src_ip="10.1.1.1", src_port=1, dest_ip="10.1.1.2", dest_port=2, uid=0
        )
        return bare(tmp_path).owner(gone)

    assert net.run("pc", scenario) == (None, "none")


def test_destroy_wakes_a_hanging_connect(net: Lan, tmp_path: Path) -> None:
    def scenario() -> int:
        sockets = bare(tmp_path)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as one:
            one.connect_ex((net.ip4("other"), 9))
            assert sockets.destroy(packet_of(one, "tcp", (net.ip4("other"), 9)))
            return one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    net.command(
        "other", "nft", "table inet t { chain i { type filter hook input priority 0; tcp dport 9 drop; }; }"
    )
    assert net.run("pc", scenario) == 103
    net.command("other", "nft", "flush ruleset")


def test_500_sockets_end_at_once(net: Lan, tmp_path: Path) -> None:
    def serve() -> Iterator[str]:
        with socket.create_server(("", 9), backlog=600) as server:
            yield "ready"
            kept = []
            while True:
                kept.append(server.accept())

    def scenario() -> tuple[int, float]:
        import time

        sockets = bare(tmp_path)
        doomed = [socket.create_connection((net.ip4("other"), 9)) for _ in range(500)]
        started = time.perf_counter()
        ended = sockets.destroy_all_but(("10.99.0.1",))
        took = time.perf_counter() - started
        for one in doomed:
            with pytest.raises(ConnectionAbortedError):
                one.recv(1)
            one.close()
        return ended, took

    net.start("other", serve).hear()
    ended, took = net.run("pc", scenario)
    print(f"500 sockets ended in {took * 1000:.1f} ms")
    assert ended == 500
    assert took < 0.5


def test_zombie_sender_is_named_by_the_execution_gate(net: Lan) -> None:
    """What the gate remembered fills in the path of a process that is gone."""
    with own_cgroup() as group:

        def scenario() -> tuple[str, str]:
            processes = LinuxProcesses()
            os.environ["SEKISHO_CGROUP"] = str(group)
            sockets = LinuxSockets(processes)
            if sockets.why_no_stamps:
                return "/opt/tool", "[tool]"
            (group / "cgroup.procs").write_text("0")
            code = "import socket; print(socket.socket().getsockopt(1, 12), __import__('os').getpid())"
            names = []
            for remembered in (True, False):
                done = subprocess.run(["python3", "-S", "-c", code], capture_output=True, check=True)
                priority, pid = map(int, done.stdout.split())
                if remembered:
                    processes.remember(ProcessInfo(pid=pid, exe="/opt/tool", uid=0))
                from agent.platform.linux.bpf import jhash_key

                packet = Packet(
                    prefix="x",
                    protocol="udp",
                    src_ip=net.ip4("pc"),
                    src_port=1,
                    dest_ip=net.ip4("other"),
                    dest_port=2,
                    uid=0,
                    mark=jhash_key(priority),
                )
                info, how = sockets.owner(packet)
                assert how == "bpf"
                names.append(info.exe if info else "")
            return names[0], names[1]

        first, second = net.run("pc", scenario)
    assert first == "/opt/tool"
    assert second in {"[python3]", "[tool]"}


def test_waiting_helper_gives_up_by_name() -> None:
    with pytest.raises(TimeoutError, match="never"):
        until(lambda: False, "never", 0.01)
