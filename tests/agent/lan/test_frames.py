"""Decoders of frames against what scapy makes, mutations of it, and noise."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.lan.frames import Sighting, is_randomised, read_frame
from agent.lan.names import dhcp6_facts, dhcp_facts, mdns_hostname
from protocol.refusal import RefusedError
from tests.agent.lan.frames import arp, dhcp, mdns, mutated, neighbour_solicitation

MAC, OTHER = "00:00:5e:00:53:66", "02:00:5e:00:53:67"


Packet = Any
Made = dict[str, tuple[Packet, tuple[str, ...] | None]]
"""What it is → the packet, and what a sighting of it tells; None = nothing."""


def ether() -> Packet:
    from scapy.layers.l2 import Ether

    return Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")


def ipv6_frames() -> Made:
    from scapy.layers.dhcp6 import DHCP6_Solicit, DHCP6OptClientFQDN, DHCP6OptOptReq
    from scapy.layers.inet import UDP
    from scapy.layers.inet6 import (
        ICMPv6MLReport2,
        ICMPv6ND_NA,
        ICMPv6ND_RA,
        ICMPv6ND_RS,
        IPv6,
        IPv6ExtHdrHopByHop,
        RouterAlert,
    )

    six = IPv6(src="fe80::66", dst="ff02::1")
    report = IPv6(src="::", dst="ff02::16") / IPv6ExtHdrHopByHop(options=RouterAlert()) / ICMPv6MLReport2()
    asked = DHCP6_Solicit() / DHCP6OptOptReq(reqopts=[23, 24]) / DHCP6OptClientFQDN(fqdn="zeimu-01.example")
    return {
        "router solicitation": (ether() / six / ICMPv6ND_RS(), ("ndp", "fe80::66")),
        "router": (ether() / six / ICMPv6ND_RA(), ("ndp", "fe80::66")),
        "advertisement": (ether() / six / ICMPv6ND_NA(tgt="fd00::9"), ("ndp", "fd00::9")),
        "listener report": (ether() / report, ("ndp", "")),
        "dhcpv6": (
            ether() / six / UDP(sport=546, dport=547) / asked,
            ("dhcp", "fe80::66", "zeimu-01", "v6:23,24"),
        ),
    }


def mdns_frames() -> Made:
    from scapy.layers.dns import DNS, DNSQR, DNSRR
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6

    port = UDP(sport=5353, dport=5353)
    question = DNS(qr=0, qd=[DNSQR(qname="_ipp._tcp.local")], an=[])
    services = [
        DNSRR(rrname="_ipp._tcp.local", type="PTR", rdata="x"),
        DNSRR(rrname="p1.local", type="AAAA", rdata="::9"),
    ]
    answer = IPv6(src="fe80::66", dst="ff02::1") / port / DNS(qr=1, qd=[], an=services)
    return {
        "mdns question": (ether() / IP(src="10.0.0.9") / port / question, ("mdns", "10.0.0.9")),
        "mdns answer": (ether() / answer, ("mdns", "fe80::66", "p1")),
    }


def other_frames() -> Made:
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import ARP, Dot1Q, Ether

    return {
        "gratuitous": (ether() / ARP(op=2, hwsrc=MAC, psrc="10.0.0.9", pdst="10.0.0.9"), ("arp", "10.0.0.9")),
        "for another": (ether() / ARP(hwsrc=OTHER, psrc="10.0.0.9", pdst="10.0.0.1"), ("arp", "")),
        "fragment": (ether() / IP(src="10.0.0.9", frag=9) / b"12345678", None),
        "tcp": (ether() / IP(src="10.0.0.9") / TCP(), None),
        "vlan": (Ether(src=MAC) / Dot1Q() / ARP(), None),
    }


SAMPLES = {
    name: (bytes(packet), Sighting(MAC, *told) if told else None)
    for name, (packet, told) in (ipv6_frames() | mdns_frames() | other_frames()).items()
}
ANNOUNCED = SAMPLES["gratuitous"][0]
FRAMES = [
    *(frame for frame, _ in SAMPLES.values()),
    arp(MAC, "10.0.0.9"),
    dhcp(MAC, "zeimu-01", [1, 3]),
    neighbour_solicitation(MAC, "fe80::9"),
    mdns(MAC, "10.0.0.9", "x"),
]


@pytest.mark.parametrize("name", SAMPLES)
def test_what_scapy_makes_is_read(name: str) -> None:
    frame, told = SAMPLES[name]
    assert read_frame(frame) == told


def test_a_lease_asked_for_another_machine_tells_nothing_about_the_sender_but_that_it_is_there() -> None:
    frame = dhcp(OTHER, "zeimu-01", [1, 3])
    assert read_frame(frame[:6] + bytes.fromhex(MAC.replace(":", "")) + frame[12:]) == Sighting(MAC, "dhcp")


def test_names_of_strangers_hold_no_control_characters() -> None:
    told = read_frame(dhcp(MAC, "a\x1b[2Jb\r\n", [1]))
    assert told is not None
    assert told.hostname == "a[2Jb"


def test_randomised_macs_are_told_apart() -> None:
    assert [is_randomised(mac) for mac in (MAC, OTHER, "da:00:00:00:00:01")] == [False, True, True]


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b"", "truncated"),
        (ANNOUNCED[:30], "truncated"),
        (ANNOUNCED[:6] + b"\x01" + ANNOUNCED[7:], "bad_value"),
        (ANNOUNCED[:6] + bytes(6) + ANNOUNCED[12:], "bad_value"),
        (ANNOUNCED[:16] + b"\x86\xdd" + ANNOUNCED[18:], "malformed_body"),
        (SAMPLES["tcp"][0][:14] + b"\x41" + SAMPLES["tcp"][0][15:], "malformed_body"),
    ],
)
def test_what_cannot_be_is_refused_by_name(frame: bytes, name: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read_frame(frame)
    assert refused.value.name == name


def test_a_name_that_points_at_itself_or_forward_is_refused() -> None:
    head = b"\0\0\x84\0\0\0\0\1\0\0\0\0"
    for pointer in (b"\xc0\x0c", b"\xc0\x20"):
        with pytest.raises(RefusedError, match="malformed_body"):
            mdns_hostname(head + pointer + bytes(10))
    assert mdns_hostname(head + b"\1a\xc0\x0c" + bytes(10)) == ""


def _either(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        told = read_frame(data)
        assert told is None or (
            len(told.mac) == 17 and len(told.hostname) <= 256 and len(told.fingerprint) <= 256
        )
    for decode in (lambda: dhcp_facts(data, MAC), lambda: dhcp6_facts(data), lambda: mdns_hostname(data)):
        with contextlib.suppress(RefusedError):
            decode()


@given(st.binary(max_size=1600))
def test_noise_is_read_or_refused_by_name(data: bytes) -> None:
    _either(data)


@settings(max_examples=500)
@given(mutated(FRAMES, longest=1600, most=12))
def test_mutations_are_read_or_refused_by_name(frame: bytes) -> None:
    _either(frame)
