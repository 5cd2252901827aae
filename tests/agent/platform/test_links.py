"""What the kernel says of links, read: rtnetlink messages, sysfs, resolv.conf, nl80211; noise; and a real namespace."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.link_ports import Gateway, LinkType, Radio
from agent.platform.linux import route_messages as rt
from agent.platform.linux.link_kinds import is_real, link_type
from agent.platform.linux.links import LinuxLinks
from agent.platform.linux.netlink import Message, attribute
from agent.platform.linux.resolvers import MAX_SERVERS, parse_resolv_conf, read_resolvers
from agent.platform.linux.wireless import Radios, mac_text, parse_interface, printable
from protocol.refusal import RefusedError
from tests.agent.links.lab import hardware, ip, platform
from tests.netns import Lan, lan

# -- messages ---------------------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def link(*parts: bytes, flags: int = 0x10043, arp: int = 1, index: int = 3) -> bytes:
    return rt.LINK_HEAD.pack(0, 0, arp, index, flags, 0) + b"".join(parts)


def route(
    prefix: int, *parts: bytes, family: int = 2, table: int = 254, kind: int = 1, flags: int = 0
) -> bytes:
    return struct.pack("=BBBBBBBBI", family, prefix, 0, 0, table, 0, 0, kind, flags) + b"".join(parts)


GATEWAY = attribute(5, bytes([10, 1, 0, 1])) + attribute(4, number(3))


def test_a_link() -> None:
    info = attribute(18, attribute(1, b"wireguard\0"))
    parts = (
        attribute(3, b"wg0\0"),
        attribute(1, bytes.fromhex("020000000001")),
        attribute(10, number(9)),
        info,
    )
    assert rt.parse_link(link(*parts)) == rt.RawLink(
        3, "wg0", "02:00:00:00:00:01", "wireguard", 1, True, True, True, 9, 0
    )
    down = rt.parse_link(link(*parts, attribute(5, number(2)), flags=0))
    assert down is not None
    assert (down.up, down.carrier, down.below) == (False, False, 2)
    elsewhere = rt.parse_link(link(*parts, attribute(5, number(2)), attribute(37, number(0))))
    assert elsewhere is not None
    assert elsewhere.below == 0, "its other end is in another namespace"
    assert rt.parse_link(link(flags=0x49)) is None, "loopback"


def test_an_address() -> None:
    head = struct.pack("=BBBBI", 2, 24, 0, 0, 3)
    assert rt.parse_address(head + attribute(1, bytes([10, 1, 0, 5]))) == (3, "10.1.0.5/24")
    both = attribute(1, bytes([10, 9, 9, 9])) + attribute(2, bytes([10, 1, 0, 5]))
    assert rt.parse_address(head + both) == (3, "10.1.0.5/24"), "the near end"
    on_link = struct.pack("=BBBBI", 10, 64, 0, 253, 3) + attribute(1, b"\xfe\x80" + bytes(14))
    assert rt.parse_address(on_link) is None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (route(0, GATEWAY, attribute(6, number(100))), [rt.RawRoute(3, "10.1.0.1", 100, 4, 0)]),
        (route(1, GATEWAY), [rt.RawRoute(3, "10.1.0.1", 0, 4, 1)]),
        (route(3, GATEWAY, family=10), [rt.RawRoute(3, "10.1.0.1", 0, 6, 3)]),
        (route(0, attribute(4, number(7))), [rt.RawRoute(7, "", 0, 4, 0)]),
        (route(0, attribute(18, b"\x0a\0" + b"\xfe\x80" + bytes(13) + b"\1") + attribute(4, number(7))), [rt.RawRoute(7, "fe80::1", 0, 4, 0)]),
        (route(24, GATEWAY), []),
        (route(0, GATEWAY, kind=7), []),
        (route(0, GATEWAY, table=255), []),
        (route(0, GATEWAY, attribute(15, number(255)), table=0), []),
        (route(0, GATEWAY, attribute(15, number(51820)), table=0), [rt.RawRoute(3, "10.1.0.1", 0, 4, 0)]),
        (route(0, GATEWAY, flags=0x200), []),
    ],
)  # fmt: skip
def test_default_routes(body: bytes, found: list[rt.RawRoute]) -> None:
    assert list(rt.parse_routes(body)) == found


def test_a_route_of_several_hops() -> None:
    hop = attribute(5, bytes([10, 1, 0, 1]))
    hops = struct.pack("=HBBi", 8 + len(hop), 0, 0, 3) + hop + struct.pack("=HBBi", 8, 0, 0, 4)
    assert list(rt.parse_routes(route(0, attribute(9, hops)))) == [
        rt.RawRoute(3, "10.1.0.1", 0, 4, 0),
        rt.RawRoute(4, "", 0, 4, 0),
    ]


def test_routes_to_single_networks_are_no_reason_to_look() -> None:
    assert not rt.is_about_lines(Message(rt.NEWROUTE, 0, route(24, GATEWAY)))
    assert rt.is_about_lines(Message(rt.DELROUTE, 0, route(0, GATEWAY)))
    assert rt.is_about_lines(Message(rt.NEWADDR, 0, b""))
    assert not rt.is_about_lines(Message(28, 0, b""))


@given(st.binary(max_size=200))
def test_noise_is_refused_by_name_or_read(data: bytes) -> None:
    for parse in (
        rt.parse_link,
        rt.parse_address,
        rt.parse_forwarding,
        parse_interface,
        lambda one: list(rt.parse_routes(one)),
    ):
        with contextlib.suppress(RefusedError):
            parse(data)


# -- what sort of line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "info", "arp", "port", "kind"),
    [
        ("eth0", "", 1, False, "wired"),
        ("eth0", "veth", 1, False, "wired"),
        ("veth1", "veth", 1, True, "other"),
        ("wg0", "wireguard", 65534, False, "vpn"),
        ("tun0", "tun", 65534, False, "vpn"),
        ("tap0", "tun", 1, True, "other"),
        ("br0", "bridge", 1, False, "bridge"),
        ("dummy0", "dummy", 1, False, "other"),
        ("ppp0", "ppp", 512, False, "modem"),
        ("wlan0", "", 1, False, "wireless"),
        ("wlp2s0", "", 1, False, "wireless"),
        ("usb0", "", 1, False, "tether"),
        ("usb1", "", 1, False, "modem"),
        ("wwan0", "", 65534, False, "modem"),
        ("bnep0", "", 1, False, "bluetooth"),
        ("dock0", "", 1, False, "wired"),
        ("eth0.10", "vlan", 1, False, "wired"),
        ("can0", "", 280, False, "other"),
    ],
)
def test_sorts_of_lines(
    tmp_path: Path, name: str, *, info: str, arp: int, port: bool, kind: LinkType
) -> None:
    lab = platform(tmp_path)
    hardware(lab, "wlan0", "iwlwifi", wireless=True)
    hardware(lab, "wlp2s0", "ath11k_pci", devtype="wlan")
    hardware(lab, "usb0", "rndis_host")
    hardware(lab, "usb1", "qmi_wwan")
    hardware(lab, "wwan0", "mhi_net", devtype="wwan")
    hardware(lab, "bnep0", devtype="bluetooth")
    hardware(lab, "dock0", "ax88179_178a")
    assert link_type(lab.sys, name, info, arp, port=port) == kind
    assert is_real(lab.sys, "dock0", "wired")
    assert not is_real(lab.sys, "veth1", "other")


# -- name servers ---------------------------------------------------------------------------------------------------------------


def test_resolv_conf() -> None:
    text = "# nameserver 9.9.9.9\nsearch city.example\nnameserver 10.1.0.53 # first\nnameserver  fe80::1%eth0\nnameserver x\nnameserver\n"
    assert parse_resolv_conf(text) == ("10.1.0.53", "fe80::1")
    assert len(parse_resolv_conf("".join(f"nameserver 10.0.0.{at}\n" for at in range(50)))) == MAX_SERVERS


@given(st.text(max_size=300))
def test_any_resolv_conf_is_read(text: str) -> None:
    assert len(parse_resolv_conf(text)) <= MAX_SERVERS


def test_servers_behind_a_forwarder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    resolve = tmp_path / "run/systemd/resolve"
    resolve.mkdir(parents=True)
    assert read_resolvers(tmp_path) == ()
    (resolve / "stub-resolv.conf").write_text("nameserver 127.0.0.53\n")
    (tmp_path / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert read_resolvers(tmp_path) == ("127.0.0.53",)
    (resolve / "resolv.conf").write_text("nameserver 10.1.0.53\n")
    assert read_resolvers(tmp_path) == ("10.1.0.53",)


# -- wireless -------------------------------------------------------------------------------------------------------------------


def test_wireless_answers() -> None:
    station = struct.pack("=BBH", 7, 1, 0) + attribute(5, number(2)) + attribute(52, "庁内".encode())
    assert parse_interface(station) == ("庁内", 2)
    assert parse_interface(struct.pack("=BBH", 7, 1, 0)) == ("", 0)
    assert printable(b"a\x00\x1b[2J\xff" + b"x" * 40) == "a\ufffd\ufffd[2J\ufffd" + "x" * 25
    assert (mac_text(bytes.fromhex("021122334455")), mac_text(bytes(6)), mac_text(b"x")) == (
        "02:11:22:33:44:55",
        "",
        "",
    )


def test_without_a_wireless_stack_radios_are_silent_and_say_why() -> None:
    radios = Radios()
    assert radios.look(1) == Radio()
    assert radios.why_silent
    radios.close()


# -- a real namespace -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "other") as made:
        yield made


@pytest.mark.needs("root", "netns")
def test_what_iproute_makes_is_what_is_read(net: Lan, tmp_path: Path) -> None:
    def scenario() -> None:
        lab = platform(tmp_path)
        links = LinuxLinks(lab.sys, lab.root, Radios())
        before = links.state()
        assert [(one.name, one.link_type, one.running, one.addresses) for one in before.links] == [
            ("eth0", "wired", True, ("10.77.0.10/24", "fd77::10/64"))
        ]
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "add", "wg0", "type", "veth", "peer", "name", "port0")
        ip("link", "set", "port0", "master", "br0", "up")
        ip("link", "add", "link", "eth0", "name", "eth0.10", "type", "macvlan")
        ip("route", "add", "default", "via", net.ip4("other"), "metric", "200")
        ip("route", "add", "default", "via", net.ip4("other"), "metric", "50", "table", "77")
        ip("route", "add", "128.0.0.0/1", "dev", "eth0")
        ip("-6", "route", "add", "default", "via", net.ip6("other"))
        ip("route", "add", "10.99.0.0/16", "via", net.ip4("other"))
        state = links.state()
        known = {one.name: one for one in state.links}
        assert {name: one.link_type for name, one in known.items()} == {
            "eth0": "wired", "br0": "bridge", "port0": "other", "wg0": "wired", "eth0.10": "wired",
        }  # fmt: skip
        assert (known["port0"].master, known["eth0.10"].below, known["eth0"].below) == ("br0", "eth0", "")
        assert not known["br0"].up
        assert state.gateways == (
            Gateway("eth0", "", 0, 4),
            Gateway("eth0", net.ip4("other"), 50, 4),
            Gateway("eth0", net.ip6("other"), 1024, 6),
        )
        links.switch("br0", up=True)
        assert {one.name for one in links.state().links if one.up} >= {"br0"}
        links.switch("br0", up=False)
        assert not next(one for one in links.state().links if one.name == "br0").up
        with pytest.raises(OSError, match=r"No such device|no interface"):
            links.switch("nothing0", up=False)
        links.close()
        for name in ("br0", "wg0", "eth0.10"):
            ip("link", "del", name)

    net.run("pc", scenario)


@pytest.mark.needs("root", "netns")
def test_it_wakes_for_what_matters_only(net: Lan, tmp_path: Path) -> None:
    def scenario() -> None:
        lab = platform(tmp_path)
        (lab.root / "etc/resolv.conf").write_text("nameserver 10.1.0.53\n")
        links = LinuxLinks(lab.sys, lab.root, Radios())
        filenos = links.filenos()

        def woken() -> bool:
            """Whether anything of it says: look."""
            found = False
            while select.select(filenos, [], [], 0.2)[0]:
                found = links.changed() or found
            return found

        assert not woken()
        ip("addr", "add", "10.5.0.1/24", "dev", "eth0")
        assert woken()
        ip("addr", "del", "10.5.0.1/24", "dev", "eth0")
        assert woken()
        ip("route", "add", "10.98.0.0/16", "via", net.ip4("other"))
        assert not woken()
        ip("route", "del", "10.98.0.0/16")
        (lab.root / "etc/motd").write_text("x")
        assert not woken()
        (lab.root / "etc/resolv.conf").write_text("nameserver 10.1.0.54\n")
        assert woken()
        assert links.state().resolvers == ("10.1.0.54",)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"x", (net.ip4("other"), 9))
        assert not woken()
        links.close()

    net.run("pc", scenario)
