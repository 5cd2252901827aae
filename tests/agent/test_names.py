"""Names: who asked, what for, and that connections are told by name; bounded, and deaf to forged answers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connection_folds import Folder, by_person, by_question, service_of
from agent.connection_names import NAMES, QUESTIONS, SHORTEST_S, WAIT_S, WAITING, NameMemory
from agent.platform.link_ports import Answer
from agent.platform.ports import ProcessInfo
from protocol.events import ConnectionOpened, DnsResolved

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
