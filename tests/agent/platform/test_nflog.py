"""Parsers of what the kernel sends, fed with captures made here, mutations and noise; and the real group."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.firewall import LinuxFirewall, parse_changes
from agent.platform.linux.netlink import attribute, attributes, messages
from agent.platform.linux.nflog import NetfilterLog, parse_packet, parse_payload
from agent.platform.linux.sockets import parse_diag
from agent.platform.ports import OverflowedError, Packet, UnsupportedError
from protocol.refusal import RefusedError
from tests.netns import Lan, lan, until

V4 = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
V6 = struct.pack(
    ">IHBB16s16s", 6 << 28, 8, 17, 64, socket.inet_pton(10, "fd77::1"), socket.inet_pton(10, "fd77::2")
)


def test_tcp_over_ipv4() -> None:
    assert parse_payload(V4 + struct.pack(">HH", 1234, 443)) == (6, "10.0.0.1", 1234, "10.0.0.2", 443)


def test_udp_over_ipv6() -> None:
    assert parse_payload(V6 + struct.pack(">HH", 1234, 53)) == (17, "fd77::1", 1234, "fd77::2", 53)


def test_ipv6_extension_headers_are_walked() -> None:
    head = V6[:6] + b"\0" + V6[7:]
    hop_by_hop = bytes([60, 0]) + bytes(6)
    options = bytes([6, 1]) + bytes(14)
    packet = head + hop_by_hop + options + struct.pack(">HH", 9, 443)
    assert parse_payload(packet)[0::4] == (6, 443)


def test_later_fragments_have_no_ports() -> None:
    fragment = V4[:6] + struct.pack(">H", 100) + V4[8:]
    assert parse_payload(fragment + b"\xff" * 8)[2::2] == (0, 0)
    six = V6[:6] + bytes([44]) + V6[7:] + bytes([17, 0]) + struct.pack(">HI", 0x0800, 1)
    assert parse_payload(six + b"\xff" * 8) == (17, "fd77::1", 0, "fd77::2", 0)


def test_icmp_has_type_and_identifier() -> None:
    icmp = V4[:9] + b"\x01" + V4[10:]
    assert parse_payload(icmp + bytes([8, 0, 0, 0, 0, 7, 0, 1])) == (1, "10.0.0.1", 7, "10.0.0.2", 8)


@given(st.binary(max_size=200))
def test_any_payload_is_read_somehow(data: bytes) -> None:
    number, source, source_port, target, target_port = parse_payload(data)
    assert 0 <= number < 256
    assert 0 <= source_port < 65536
    assert 0 <= target_port < 65536
    assert bool(source) == bool(target)


@given(st.binary(max_size=300))
def test_noise_is_refused_by_name_or_read(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert isinstance(parse_packet(data), Packet)
    with contextlib.suppress(RefusedError):
        assert all(message.type >= 0 for message in messages(data))
    with contextlib.suppress(RefusedError):
        attributes(data)
    assert isinstance(parse_changes(data), list)
    found = parse_diag(data, 6)
    assert found is None or found.protocol == 6


REAL = b"".join(
    [
        b"\x02\0\x1d\x24",
        attribute(1, struct.pack(">HBB", 0x0800, 3, 0)),
        attribute(2, struct.pack(">I", 77)),
        attribute(9, V4 + struct.pack(">HH", 1234, 443)),
        attribute(10, b"sekisho-deny\0"),
        attribute(11, struct.pack(">I", 1004)),
    ]
)


def test_whole_message() -> None:
    assert parse_packet(REAL) == Packet(
        prefix="sekisho-deny",
        protocol="tcp",
        src_ip="10.0.0.1",
        src_port=1234,
        dest_ip="10.0.0.2",
        dest_port=443,
        uid=1004,
        mark=77,
    )


@given(st.integers(0, len(REAL) - 1), st.integers(0, 255), st.integers(0, len(REAL)))
def test_mutations_are_refused_by_name_or_read(position: int, value: int, cut: int) -> None:
    changed = REAL[:position] + bytes([value]) + REAL[position + 1 :]
    for data in (changed, REAL[:cut]):
        with contextlib.suppress(RefusedError):
            assert isinstance(parse_packet(data), Packet)


# -- the real thing --------------------------------------------------------------------------------------------------

RULES = """
table inet t {
  chain c {
    type filter hook output priority 0;
    udp dport 9 log prefix "one" group 7 queue-threshold %d drop
  }
}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "other") as made:
        yield made


def _flood(address: str, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for _ in range(count):
            with contextlib.suppress(PermissionError):
                one.sendto(b"x", (address, 9))


@pytest.mark.needs("root", "netns", "nft")
@pytest.mark.parametrize("threshold", [1, 50])
def test_every_packet_arrives(net: Lan, threshold: int) -> None:
    def scenario() -> list[Packet]:
        LinuxFirewall().apply(RULES % threshold)
        log = NetfilterLog(7)
        _flood(net.ip4("other"), 20)
        found: list[Packet] = []

        def all_there() -> bool:
            found.extend(log.packets())
            return len(found) == 20

        until(all_there, "20 packets", 3)
        log.close()
        return found

    found = net.run("pc", scenario)
    net.command("pc", "nft", "flush ruleset")
    assert {(one.prefix, one.protocol, one.dest_ip, one.dest_port, one.uid) for one in found} == {
        ("one", "udp", net.ip4("other"), 9, 0)
    }


def read_to_the_end(log: NetfilterLog) -> None:
    while list(log.packets()):
        pass


@pytest.mark.needs("root", "netns", "nft")
def test_overflow_is_said_and_reading_goes_on(net: Lan) -> None:
    def scenario() -> int:
        LinuxFirewall().apply(RULES % 1)
        log = NetfilterLog(7)
        _flood(net.ip4("other"), 30_000)
        with pytest.raises(OverflowedError):
            read_to_the_end(log)
        read_to_the_end(log)
        _flood(net.ip4("other"), 1)
        found = until(lambda: list(log.packets()), "a packet after the overflow")
        log.close()
        return len(found)

    assert net.run("pc", scenario) == 1
    net.command("pc", "nft", "flush ruleset")


@pytest.mark.needs("root", "netns")
def test_second_reader_is_refused_by_name(net: Lan) -> None:
    def scenario() -> None:
        first = NetfilterLog(7)
        with pytest.raises(UnsupportedError, match="nflog_busy"):
            NetfilterLog(7)
        first.close()

    net.run("pc", scenario)
