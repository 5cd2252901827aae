"""Answers of name servers: built here after RFC 1035, mutated, noise; and a real server's over the line."""

from __future__ import annotations

import random
import select
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.link_ports import Answer
from agent.platform.linux.dns_packets import MAX_ANSWERS, MalformedError, parse_packet, read_name
from agent.platform.linux.name_log import LinuxNameLog
from tests.netns import Lan, lan, until


def name(text: str) -> bytes:
    return b"".join(bytes([len(one)]) + one.encode() for one in text.split(".")) + b"\0"


def question(text: str, kind: int = 1, number: int = 7) -> bytes:
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + name(text) + struct.pack(">HH", kind, 1)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c", ttl: int = 300) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def message(text: str, *records: bytes, kind: int = 1, flags: int = 0x8180) -> bytes:
    head = struct.pack(">HHHHHH", 7, flags, 1, len(records), 0, 0)
    return head + name(text) + struct.pack(">HH", kind, 1) + b"".join(records)


def udp4(body: bytes, port: int = 40_000, source: str = "10.2.0.53") -> bytes:
    datagram = struct.pack(">HHHH", 53, port, 8 + len(body), 0) + body
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0)
    return head + socket.inet_aton(source) + socket.inet_aton("10.2.0.11") + datagram


def udp6(body: bytes) -> bytes:
    datagram = struct.pack(">HHHH", 53, 40_000, 8 + len(body), 0) + body
    ends = socket.inet_pton(10, "fd10:2::53") + socket.inet_pton(10, "fd10:2::b")
    return struct.pack(">IHBB", 6 << 28, len(datagram), 17, 64) + ends + datagram


def tcp4(stream: bytes) -> bytes:
    segment = struct.pack(">HHIIBBHHH", 53, 40_000, 1, 1, 0x50, 0x18, 0, 0, 0) + stream
    return udp4(b"")[:9] + b"\x06" + udp4(b"")[10:20] + segment


PLAIN = message("Files.Example", record(1, bytes([203, 0, 113, 7])))


def test_an_address() -> None:
    assert parse_packet(udp4(PLAIN)) == Answer(
        server="10.2.0.53",
        port=40_000,
        protocol="udp",
        query="files.example",
        query_type="A",
        rcode="noerror",
        answers=("203.0.113.7",),
        addresses=(("203.0.113.7", 300),),
    )


def test_ipv6_and_an_alias() -> None:
    alias = record(5, name("cdn.example"))
    address = record(28, socket.inet_pton(10, "2001:db8::7"), owner=name("cdn.example"), ttl=2**31)
    answer = parse_packet(udp6(message("www.files.example", alias, address, kind=28)))
    assert answer is not None
    assert (answer.server, answer.query, answer.query_type) == ("fd10:2::53", "www.files.example", "AAAA")
    assert answer.answers == ("cdn.example", "2001:db8::7")
    assert answer.addresses == (("2001:db8::7", 7 * 86_400),), "nothing holds for years"


def test_tcp_in_one_segment() -> None:
    answer = parse_packet(tcp4(len(PLAIN).to_bytes(2, "big") + PLAIN))
    assert answer is not None
    assert (answer.protocol, answer.addresses) == ("tcp", (("203.0.113.7", 300),))
    assert parse_packet(tcp4(len(PLAIN).to_bytes(2, "big") + PLAIN[:20])) is None
    assert parse_packet(tcp4(b"")) is None


@pytest.mark.parametrize(
    ("flags", "rcode"), [(0x8183, "nxdomain"), (0x8182, "servfail"), (0x8185, "refused"), (0x8184, "other")]
)
def test_what_became_of_it(flags: int, rcode: str) -> None:
    answer = parse_packet(udp4(message("nothing.example", flags=flags)))
    assert answer is not None
    assert (answer.rcode, answer.answers) == (rcode, ())


def test_mail_and_unknown_types() -> None:
    mail = parse_packet(
        udp4(message("city.example", record(15, b"\0\x0a" + name("mx.city.example")), kind=15))
    )
    assert mail is not None
    assert (mail.query_type, mail.answers) == ("MX", ("mx.city.example",))
    odd = parse_packet(udp4(message("city.example", record(999, b"x"), kind=999)))
    assert odd is not None
    assert (odd.query_type, odd.answers) == ("TYPE999", ())


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        udp4(b""),
        udp4(question("files.example")),
        udp4(PLAIN[:11]),
        udp4(PLAIN[:4] + b"\0\2" + PLAIN[6:]),
        udp4(PLAIN).replace(b"\0\x35\x9c\x40", b"\0\x36\x9c\x40"),
        udp4(PLAIN[:2] + b"\xa8\0" + PLAIN[4:]),
    ],
)
def test_what_is_no_answer_is_nothing(packet: bytes) -> None:
    assert parse_packet(packet) is None


def test_many_records_are_cut() -> None:
    answer = parse_packet(
        udp4(message("many.example", *(record(1, bytes([10, 0, 0, at])) for at in range(60))))
    )
    assert answer is not None
    assert len(answer.answers) == MAX_ANSWERS


def test_unprintable_names_are_escaped() -> None:
    assert read_name(b"\x05a\x00\x1b.\\\x00", 0) == ("a\\000\\027\\046\\092", 7)


@pytest.mark.parametrize(
    "data", [b"\xc0\x00", b"\xc0\x02\x00", b"\x01a\xc0\x02", b"\x40abc", b"\x05ab", (b"\x3f" + b"a" * 63) * 5]
)
def test_names_that_never_end_are_refused(data: bytes) -> None:
    with pytest.raises((MalformedError, IndexError)):
        read_name(data, 0)


@given(st.binary(max_size=400))
def test_noise_is_nothing_or_an_answer(data: bytes) -> None:
    for packet in (data, udp4(data), udp6(data), tcp4(data), udp4(PLAIN[:12] + data)):
        found = parse_packet(packet)
        assert found is None or len(found.query) <= 253


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_mutations_are_nothing_or_an_answer(seed: int, changes: int) -> None:
    rng = random.Random(seed)
    packet = bytearray(
        udp4(message("a.b.c.example", record(5, b"\xc0\x0c"), record(1, b"\1\2\3\4"), record(28, bytes(16))))
    )
    for _ in range(changes):
        packet[rng.randrange(len(packet))] = rng.randrange(256)
    found = parse_packet(bytes(packet))
    assert found is None or (len(found.answers) <= MAX_ANSWERS and found.query_type)


# -- a real server ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "friend") as made:
        yield made


@pytest.fixture
def server(net: Lan) -> Iterator[None]:
    """A dnsmasq that knows two names."""
    zone = f"/run/netns/{net.netns('friend')}"
    given = [
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--pid-file=",
    ]
    known = [
        "--address=/files.example/203.0.113.7",
        "--address=/files.example/2001:db8::7",
        "--local=/example/",
    ]
    with subprocess.Popen(
        ["nsenter", f"--net={zone}", "dnsmasq", *given, *known], stderr=subprocess.DEVNULL
    ) as process:
        try:
            net.run("pc", lambda: until(lambda: ask(net.ip4("friend"), "files.example"), "the name server"))
            yield
        finally:
            process.kill()


def ask(address: str, text: str, kind: int = 1, *, tcp: bool = False) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as one:
        one.settimeout(0.5)
        try:
            one.connect((address, 53))
            asked = question(text, kind)
            one.send(len(asked).to_bytes(2, "big") + asked if tcp else asked)
            return one.recv(4096)
        except OSError:
            return b""


def took(log: LinuxNameLog, found: list[Answer], count: int) -> None:
    """Wait until so many answers were read."""

    def enough() -> bool:
        found.extend(log.answers())
        return len(found) >= count

    until(enough, f"{count} answers")


@pytest.mark.needs("root", "netns", "dnsmasq")
def test_a_real_servers_answers_are_read(net: Lan, server: None) -> None:
    """Over IPv4 and IPv6, UDP and TCP; nothing else gets through the filter, and nothing of loopback."""

    def scenario() -> None:
        log = LinuxNameLog()
        found: list[Answer] = []
        for address in (net.ip4("friend"), net.ip6("friend")):
            for tcp in (False, True):
                assert ask(address, "files.example", 1, tcp=tcp)
                assert ask(address, "files.example", 28, tcp=tcp)
                assert ask(address, "nothing.example", tcp=tcp)
                took(log, found, len(found) + 3)
        assert len(found) == 12
        assert {(one.server, one.protocol) for one in found} == {
            (address, protocol)
            for address in (net.ip4("friend"), net.ip6("friend"))
            for protocol in ("udp", "tcp")
        }
        assert {one.answers for one in found if one.query_type == "A" and one.rcode == "noerror"} == {
            ("203.0.113.7",)
        }
        assert {one.answers for one in found if one.query_type == "AAAA"} == {("2001:db8::7",)}
        assert {one.query for one in found if one.rcode == "nxdomain"} == {"nothing.example"}
        assert log.lost() == 0
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        ):
            near.bind(("127.0.0.1", 53))
            far.bind(("127.0.0.1", 0))
            near.sendto(PLAIN, far.getsockname())
            assert far.recv(512) == PLAIN
        assert select.select(log.filenos(), [], [], 0.1)[0] == []
        log.close()

    net.run("pc", scenario)


@pytest.mark.needs("root", "netns")
def test_a_flood_is_counted_and_cut_into_turns(net: Lan) -> None:
    def flood(port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((net.ip4("friend"), 53))
            for _ in range(20_000):
                one.sendto(PLAIN, (net.ip4("pc"), port))

    def scenario() -> tuple[int, int]:
        log = LinuxNameLog()
        child = net.start("friend", flood, 40_000)
        child.hear(60)
        turns = [len(found) for found in iter(log.answers, [])]
        assert max(turns) <= 512
        lost = log.lost()
        log.close()
        return sum(turns), lost

    kept, lost = net.run("pc", scenario)
    assert kept + lost == 20_000
    assert lost > 0, "a flood larger than the buffer loses some, and says so"
