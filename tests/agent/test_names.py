"""Names: who asked, what for, and that connections are told by name; bounded, and deaf to forged answers."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connection_folds import Folder, by_person, by_question, service_of
from agent.connection_names import NAMES, QUESTIONS, SHORTEST_S, WAIT_S, WAITING, NameMemory
from agent.enforcers.firewall import FirewallEnforcer
from agent.platform import Platform
from agent.platform.link_ports import Answer
from agent.platform.ports import ProcessInfo
from agent.sensors.connections import ConnectionsSensor
from agent.sensors.names import NamesSensor
from policies.model import Citation, Destination, Permit, Scope, Subject
from protocol.events import ConnectionOpened, DnsResolved
from tests.agent.firewall_lab import view
from tests.agent.platform.test_name_log import message, question, record
from tests.netns import Lan, lan, own_cgroup, until

SERVER = "10.2.0.53"
WHO = ProcessInfo(pid=7, exe="/usr/bin/firefox", uid=1004, user="sato")


class Script:
    """A log that says what a test puts into it."""

    def __init__(self) -> None:
        self.coming: list[Answer] = []

    def filenos(self) -> tuple[int, ...]:
        return ()

    def answers(self) -> list[Answer]:
        found, self.coming = self.coming, []
        return found

    def lost(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing to close."""


def answer(query: str, *addresses: str, port: int = 4000, ttl: int = 60, server: str = SERVER) -> Answer:
    return Answer(
        server=server,
        port=port,
        protocol="udp",
        query=query,
        query_type="A",
        rcode="noerror",
        answers=addresses,
        addresses=tuple((one, ttl) for one in addresses),
    )


@pytest.fixture
def memory() -> tuple[NameMemory, Script, list[float]]:
    now = [1000.0]
    names = NameMemory(lambda: now[0])
    names.log = log = Script()
    return names, log, now


Lab = tuple[NameMemory, Script, list[float]]


def test_a_name_is_known_once_question_and_answer_met(memory: Lab) -> None:
    names, log, _ = memory
    log.coming = [answer("files.example", "203.0.113.7")]
    assert names.name_of("203.0.113.7") == "", "the packet filter's log comes later"
    names.asked((SERVER, 4000, "udp"), WHO)
    assert names.name_of("203.0.113.7") == "files.example"
    assert names.asker(answer("files.example")) == WHO


def test_answers_nobody_asked_for_teach_nothing(memory: Lab) -> None:
    names, log, now = memory
    names.asked((SERVER, 4000, "udp"), WHO)
    log.coming = [
        answer("bank.example", "203.0.113.66", port=4001),
        answer("b.example", "203.0.113.66", server="10.9.9.9"),
    ]
    assert names.name_of("203.0.113.66") == ""
    now[0] += WAIT_S
    assert names.name_of("203.0.113.66") == ""
    names.asked((SERVER, 4001, "udp"), WHO)
    assert names.name_of("203.0.113.66") == "", "too late: it was thrown away"


def test_names_hold_as_long_as_programs_keep_them(memory: Lab) -> None:
    names, log, now = memory
    names.asked((SERVER, 4000, "udp"), WHO)
    log.coming = [
        answer("short.example", "203.0.113.7", ttl=1),
        answer("long.example", "203.0.113.8", ttl=90_000),
    ]
    assert names.name_of("203.0.113.7") == "short.example"
    now[0] += SHORTEST_S
    assert (names.name_of("203.0.113.7"), names.name_of("203.0.113.8")) == ("", "long.example")
    now[0] += 3600
    assert names.name_of("203.0.113.8") == ""


def test_memory_is_bounded(memory: Lab) -> None:
    names, log, _ = memory
    for number in range(QUESTIONS + 100):
        names.asked((SERVER, number, "udp"), WHO)
    for number in range(NAMES + 100):
        log.coming = [
            answer("x.example", f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", port=QUESTIONS)
        ]
        names.name_of("")
    log.coming = [answer("y.example", "10.99.0.1", port=60_000) for _ in range(3 * WAITING)]
    names.name_of("")
    assert len(names._questions) == QUESTIONS
    assert len(names._names) == NAMES
    assert len(names._waiting) <= WAITING
    assert len(names._heard) <= WAITING
    assert names.unheard > 0


def test_addresses_of_a_permitted_name(memory: Lab) -> None:
    names, log, now = memory
    names.asked((SERVER, 4000, "udp"), WHO)
    names.asked(("10.9.9.9", 4000, "udp"), WHO)
    log.coming = [
        answer("www.files.example", "203.0.113.7"),
        answer("files.example", "203.0.113.8"),
        answer("xfiles.example", "203.0.113.9"),
        answer("www.files.example", "203.0.113.66", server="10.9.9.9"),
    ]
    names.settle()
    assert names.addresses_of("*.files.example", (SERVER,)) == ["203.0.113.7"]
    assert names.addresses_of("files.example", (SERVER,)) == ["203.0.113.8"]
    assert names.addresses_of("*.files.example", (SERVER, "10.9.9.9")) == ["203.0.113.66", "203.0.113.7"]
    assert names.learnt == 4
    log.coming = [answer("www.files.example", "203.0.113.7")]
    names.settle()
    assert names.learnt == 4, "nothing new"
    log.coming = [answer("other.example", "203.0.113.7")]
    names.settle()
    assert (names.learnt, names.addresses_of("*.files.example", (SERVER,))) == (5, [])
    now[0] += SHORTEST_S
    assert names.addresses_of("files.example", (SERVER,)) == []


@pytest.mark.parametrize(
    ("protocol", "port", "service"),
    [
        ("tcp", 443, "web"),
        ("udp", 443, "web"),
        ("tcp", 587, "mail"),
        ("udp", 53, "dns"),
        ("tcp", 445, "file"),
        ("tcp", 3389, "remote"),
        ("tcp", 5905, "remote"),
        ("tcp", 9, "other"),
        ("icmp", 8, ""),
    ],
)
def test_services(protocol: str, port: int, service: str) -> None:
    assert service_of(protocol, port) == service


LOOKUPS = st.builds(
    DnsResolved,
    time_us=st.just(1),
    query=st.sampled_from(["a", "b"]),
    uid=st.integers(0, 1),
    rcode=st.just("noerror"),
)


@given(st.lists(st.one_of(LOOKUPS, st.none()), max_size=60))
def test_folding_look_ups_loses_nothing(steps: list[DnsResolved | None]) -> None:
    """None is the end of a window."""
    folder: Folder[DnsResolved] = Folder(by_question)
    given_, told = Counter[bytes](), Counter[bytes]()
    for step in [*steps, None, None]:
        due = folder.flush() if step is None else folder.fold(step)
        if step is not None:
            given_[msgspec.msgpack.encode(step)] += 1
        for event in due:
            told[msgspec.msgpack.encode(msgspec.structs.replace(event, count=1))] += event.count
    assert given_ == told


def test_allowed_connections_are_folded_by_person() -> None:
    folder: Folder[ConnectionOpened] = Folder(by_person)

    def opened(**facts: Any) -> ConnectionOpened:
        return ConnectionOpened(time_us=1, action="allowed", dest_ip="203.0.113.7", dest_port=443, **facts)

    told = [folder.fold(opened(pid=pid, uid=1004, exe="/usr/bin/firefox")) for pid in range(100)]
    assert [len(one) for one in told] == [1] + [0] * 99
    assert len(folder.fold(opened(uid=1005, exe="/usr/bin/firefox"))) == 1
    assert len(folder.fold(opened(uid=1004, exe="/usr/bin/curl"))) == 1
    (rest,) = folder.flush()
    assert rest.count == 99


# -- on a real kernel -------------------------------------------------------------------------------------------------------

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
        (group / "cgroup.procs").write_text("0")
        os.environ["SEKISHO_CGROUP"] = str(group)
        platform = Platform(state=tmp_path, run=tmp_path, root=tmp_path)
        (tmp_path / "etc").mkdir(exist_ok=True)
        server = net.ip4("friend") if trusted else "10.9.9.9"
        (tmp_path / "etc/resolv.conf").write_text(f"nameserver {server}\n")
        firewall = FirewallEnforcer(platform)
        firewall.apply(view(net, "enforce", allow=(Destination(net.ip4("friend")),), permits=permits))
        connections, names = ConnectionsSensor(platform), NamesSensor(platform)
        list(connections.open())
        list(names.open())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            with pytest.raises(PermissionError):
                one.sendto(b"x", (net.ip4("other"), 443))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.settimeout(5)
                asker.sendto(question("files.example"), (net.ip4("friend"), 53))
                asker.recv(512)
            ((fileno, _),) = connections.filenos()
            told: list[Any] = []

            def learnt() -> bool:
                told.extend(connections.read(fileno))
                names.read(0)
                return platform.names.learnt > 0

            until(learnt, "the name to be learnt")
            firewall.tick()
            if works:
                one.sendto(b"x", (net.ip4("other"), 443))

                def recorded() -> bool:
                    told.extend(connections.read(fileno))
                    return any(seen.dest_port == 443 and seen.action == "allowed" for seen in told)

                until(recorded, "the record")
                assert told[-1].dest_name == "files.example"
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
        (group / "cgroup.procs").write_text("0")
        os.environ["SEKISHO_CGROUP"] = str(group)
        platform = Platform(state=tmp_path, run=tmp_path)
        FirewallEnforcer(platform).apply(view(net, mode, allow=(Destination(net.ip4("friend")),)))
        connections, names = ConnectionsSensor(platform), NamesSensor(platform)
        list(connections.open())
        list(names.open())
        user = pwd.getpwnam("nobody").pw_uid
        command = [
            "/usr/bin/python3",
            "-S",
            "-c",
            CLIENT,
            net.ip4("friend"),
            net.ip4("other"),
            question("files.example").hex(),
        ]
        told: list[Any] = []
        looked_up: list[Any] = []
        with subprocess.Popen(command, user=user, env={}, cwd="/", stderr=subprocess.DEVNULL) as program:
            program.wait()

            def both() -> bool:
                for fileno, _ in connections.filenos():
                    told.extend(connections.read(fileno))
                looked_up.extend(names.tick())
                return any(one.dest_port == 443 for one in told) and bool(looked_up)

            until(both, "connection and look-up")
        (event,) = [one for one in told if one.dest_port == 443]
        (look_up,) = looked_up
        connections.close()
        names.close()
        return event, look_up, program.pid

    with lan("pc", "friend", "other") as net, own_cgroup() as group:
        net.start("friend", name_server, net).hear()
        event, look_up, pid = net.run("pc", scenario, net, group)
    assert (event.dest_name, event.service, event.user, event.pid) == ("files.example", "web", "nobody", pid)
    assert (look_up.query, look_up.answers, look_up.server) == (
        "files.example",
        (net.ip4("other"),),
        net.ip4("friend"),
    )
    assert (look_up.user, look_up.pid, look_up.rcode) == ("nobody", pid, "noerror")
