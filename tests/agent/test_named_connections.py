"""Look-ups and connections on a real kernel: told by name, and let through where a permit names the destination."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers.firewall import FirewallEnforcer
from agent.platform import Platform
from agent.sensors.connections import ConnectionsSensor
from agent.sensors.names import NamesSensor
from policies.model import Citation, Destination, Permit, Scope, Subject
from tests.agent.firewall_lab import view
from tests.agent.platform.test_name_log import message, question, record
from tests.netns import Lan, lan, own_cgroup, until

CLIENT = """
import socket, sys
server, target, asked = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(5)
one.sendto(asked, (server, 53))
one.recv(512)
two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    two.sendto(b"x", (target, 443))
except PermissionError:
    pass
"""


def name_server(net: Lan) -> Iterator[str]:
    """Answer every question: files.example is the PC's neighbour."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((net.ip4("friend"), 53))
        yield "ready"
        while True:
            _, sender = one.recvfrom(512)
            one.sendto(message("files.example", record(1, socket.inet_aton(net.ip4("other")))), sender)


def by_name(*, users: tuple[str, ...] = (), **subject: Any) -> Permit:
    return Permit(
        id="P1",
        kind="destination",
        subject=Subject(name="files.example", **subject),
        scope=Scope(users=users),
        from_us=0,
        until_us=2**62,
        article=Citation("nagoya", "第54条第1項"),
    )


class Sensing:
    """Connections and names of a PC whose processes are in ``group``."""

    def __init__(self, platform: Platform, group: Path) -> None:
        (group / "cgroup.procs").write_text("0")
        os.environ["SEKISHO_CGROUP"] = str(group)
        self.connections, self.names = ConnectionsSensor(platform), NamesSensor(platform)
        self.told: list[Any] = []
        self.looked_up: list[Any] = []

    def open(self) -> None:
        """To be called with the filter's rules in place."""
        list(self.connections.open())
        list(self.names.open())

    def turn(self) -> None:
        """Hear what there is."""
        for fileno, _ in self.connections.filenos():
            self.told.extend(self.connections.read(fileno))
        self.looked_up.extend(self.names.tick())

    def has_reached(self) -> bool:
        """Whether an allowed connection has been told."""
        self.turn()
        return any(seen.dest_port == 443 and seen.action == "allowed" for seen in self.told)

    def close(self) -> None:
        self.connections.close()
        self.names.close()


def look_up(server: str) -> None:
    """Ask for files.example."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        asker.sendto(question("files.example"), (server, 53))
        asker.recv(512)


@pytest.mark.needs("root", "netns", "nft", "bpf")
@pytest.mark.parametrize(
    ("permits", "trusted", "works"),
    [
        ((by_name(),), True, True),
        ((by_name(port=443, protocol="udp"),), True, True),
        ((by_name(port=444),), True, False),
        ((by_name(network="10.77.0.0/24"),), True, True),
        ((by_name(network="203.0.113.0/24"),), True, False),
        ((by_name(users=("nobody-here",)),), True, False),
        ((by_name(),), False, False),
        ((), True, False),
    ],
)
def test_a_destination_permitted_by_name(
    tmp_path: Path, permits: tuple[Permit, ...], *, trusted: bool, works: bool
) -> None:
    """Refused until the name was looked up at a trusted server, then let through."""

    def scenario(net: Lan, group: Path) -> None:
        platform = Platform(state=tmp_path, run=tmp_path, root=tmp_path)
        (tmp_path / "etc").mkdir(exist_ok=True)
        server = net.ip4("friend") if trusted else "10.9.9.9"
        (tmp_path / "etc/resolv.conf").write_text(f"nameserver {server}\n")
        pc, firewall = Sensing(platform, group), FirewallEnforcer(platform)
        firewall.apply(view(net, "enforce", allow=(Destination(net.ip4("friend")),), permits=permits))
        pc.open()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            with pytest.raises(PermissionError):
                one.sendto(b"x", (net.ip4("other"), 443))
            look_up(net.ip4("friend"))

            def learnt() -> bool:
                pc.turn()
                return platform.names.learnt > 0

            until(learnt, "the name to be learnt")
            firewall.tick()
            if works:
                one.sendto(b"x", (net.ip4("other"), 443))
                until(pc.has_reached, "the record")
                assert pc.told[-1].dest_name == "files.example"
            else:
                with pytest.raises(PermissionError):
                    one.sendto(b"x", (net.ip4("other"), 443))
        firewall.clean()

    with lan("pc", "friend", "other") as net, own_cgroup() as group:
        net.start("friend", name_server, net).hear()
        net.run("pc", scenario, net, group)


@pytest.mark.needs("root", "netns", "nft", "bpf")
@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_who_asked_and_where_it_went_by_name(tmp_path: Path, mode: str) -> None:
    """A program asks, connects, and is gone; the connection is told by name, the question with its asker."""

    def scenario(net: Lan, group: Path) -> tuple[Any, Any, int]:
        platform = Platform(state=tmp_path, run=tmp_path)
        pc = Sensing(platform, group)
        FirewallEnforcer(platform).apply(view(net, mode, allow=(Destination(net.ip4("friend")),)))
        pc.open()
        user = pwd.getpwnam("nobody").pw_uid
        words = [net.ip4("friend"), net.ip4("other"), question("files.example").hex()]
        command = ["/usr/bin/python3", "-S", "-c", CLIENT, *words]
        with subprocess.Popen(command, user=user, env={}, cwd="/", stderr=subprocess.DEVNULL) as program:
            program.wait()

            def both() -> bool:
                pc.turn()
                return any(one.dest_port == 443 for one in pc.told) and bool(pc.looked_up)

            until(both, "connection and look-up")
        (event,) = [one for one in pc.told if one.dest_port == 443]
        (asked,) = pc.looked_up
        pc.close()
        return event, asked, program.pid

    with lan("pc", "friend", "other") as net, own_cgroup() as group:
        net.start("friend", name_server, net).hear()
        event, asked, pid = net.run("pc", scenario, net, group)
    assert (event.dest_name, event.service, event.user, event.pid) == ("files.example", "web", "nobody", pid)
    assert (asked.query, asked.answers, asked.server) == (
        "files.example",
        (net.ip4("other"),),
        net.ip4("friend"),
    )
    assert (asked.user, asked.pid, asked.rcode) == ("nobody", pid, "noerror")
