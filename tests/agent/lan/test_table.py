"""The neighbour table and the flood detector as state machines; segments out of links."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.lan.flood import AGAIN_S, MOST_NEWS, QUIET_S, TELL_S, WINDOW_S, Flood
from agent.lan.frames import Sighting
from agent.lan.segments import segments_of
from agent.lan.table import ADDRESSES, VARIANTS, NeighbourTable
from agent.lan.table import AGAIN_S as TOLD_AGAIN_S
from agent.platform.link_ports import Gateway, Link, LinkState
from policies.machines import normal_mac, plain_name

OWN, ONE, TWO = "00:00:5e:00:53:01", "00:00:5e:00:53:02", "00:00:5e:00:53:03"


def whys(table: NeighbourTable, *seen: Sighting, now_s: float = 0.0) -> list[str]:
    return [change.why if (change := table.take(one, now_s)) else "" for one in seen]


def test_what_is_new_is_told_once() -> None:
    table = NeighbourTable(OWN)
    steps = [
        (Sighting(ONE, "arp", "10.0.0.2"), "new"),
        (Sighting(ONE, "arp", "10.0.0.2"), ""),
        (Sighting(ONE, "ndp", "fe80::2"), "address"),
        (Sighting(ONE, "dhcp", "10.0.0.2", "pc-a", "1,3 MSFT"), "fingerprint"),
        (Sighting(ONE, "dhcp", "", "pc-a", "1,3 MSFT"), ""),
        (Sighting(ONE, "mdns", "10.0.0.2", "PC-A.local"), ""),
        (Sighting(ONE, "dhcp", "", "pc-a", "v6:23,24"), ""),
        (Sighting(ONE, "dhcp", "", "pc-a", "1,28 dhcpcd"), "copied"),
        (Sighting(ONE, "mdns", "10.0.0.2", "kali"), "copied"),
        (Sighting(TWO, "mdns", "10.0.0.3", "kali"), "new"),
        (Sighting(OWN, "arp", "10.0.0.9"), "copied"),
    ]
    assert whys(table, *(seen for seen, _ in steps)) == [why for _, why in steps]


def test_firmware_that_boots_from_the_network_is_not_another_machine() -> None:
    table = NeighbourTable(OWN)
    boots = [
        Sighting(ONE, "dhcp", "", "", "1,3,43 PXEClient:Arch:00007"),
        Sighting(ONE, "dhcp", "", "", "1,3 MSFT 5.0"),
    ]
    assert "copied" not in whys(table, *boots)


def test_who_is_still_there_is_told_again_and_a_copy_as_one() -> None:
    table = NeighbourTable(OWN)
    arp, dhcp = Sighting(ONE, "arp", "10.0.0.2"), Sighting(TWO, "dhcp", "", "a", "1 A")
    whys(table, arp, dhcp, Sighting(TWO, "dhcp", "", "b", "1 A"), Sighting(OWN, "arp"))
    assert whys(table, arp, dhcp, now_s=TOLD_AGAIN_S - 1) == ["", ""]
    assert whys(table, arp, dhcp, Sighting(OWN, "arp"), now_s=TOLD_AGAIN_S) == ["again", "copied", "copied"]
    assert whys(table, arp, dhcp, now_s=TOLD_AGAIN_S + 1) == ["", ""]


def test_the_machine_silent_longest_is_given_up() -> None:
    table = NeighbourTable(OWN, most=2)
    assert whys(table, Sighting(ONE, "arp"), Sighting(TWO, "arp"), Sighting(ONE, "arp")) == ["new", "new", ""]
    assert whys(table, Sighting(OWN, "arp"), Sighting(ONE, "arp"), Sighting(TWO, "arp")) == [
        "copied",
        "",
        "new",
    ]


SIGHTINGS = st.builds(
    Sighting,
    st.sampled_from([OWN, *(f"02:00:00:00:00:{n:02x}" for n in range(30))]),
    st.sampled_from(["arp", "dhcp"]),
    st.sampled_from(["", *(f"10.0.0.{n}" for n in range(30))]),
    st.sampled_from(["", *(f"name{n}" for n in range(8))]),
    st.sampled_from(["", *(f"{n} x" for n in range(8))]),
)


@given(st.lists(st.tuples(SIGHTINGS, st.floats(0, 20)), max_size=200))
def test_memory_is_bounded_and_nothing_new_goes_untold_without_a_flood(
    steps: list[tuple[Sighting, float]],
) -> None:
    table, now, known, told = NeighbourTable(OWN, most=10), 0.0, set(), 0
    for seen, passed in steps:
        now += passed
        before = table.flood._count
        change = table.take(seen, now)
        told += change is not None
        if seen.mac not in table._machines:
            assert table.flood._count > before
        elif seen.mac not in known:
            assert change is not None
        known = set(table._machines)
        assert len(table) <= 10
        for one in table._machines.values():
            assert len(one.addresses) <= ADDRESSES
            assert len(one.variants) <= VARIANTS
        table.flood.tick(now)


# -- floods ----------------------------------------------------------------------------------------------------------


def news(flood: Flood, count: int, now_s: float, mac: str = "") -> int:
    return sum(flood.admits("arp", mac or f"m{n}", now_s, machine=True) for n in range(count))


def test_a_busy_morning_is_no_flood() -> None:
    flood = Flood()
    for second in range(0, 100, 10):
        assert news(flood, MOST_NEWS, second) == MOST_NEWS
        assert flood.tick(second) is None


def test_a_flood_is_told_once_with_its_counts_and_ends() -> None:
    flood = Flood()
    assert news(flood, 5000, 0.0) == MOST_NEWS
    flood.left_out("", "", 300, 1.0)
    assert flood.tick(TELL_S - 0.1) is None
    told = flood.tick(TELL_S)
    assert told is not None
    assert (told.via, told.count, told.machines, told.mac) == (
        "arp",
        5000 - MOST_NEWS + 300,
        5000 - MOST_NEWS,
        "",
    )
    news(flood, 100, 4.0)
    assert flood.tick(5.0) is None
    assert flood.tick(4.0 + QUIET_S) is None
    assert news(flood, 10, 2 * WINDOW_S + 5) == 10


def test_one_that_does_not_end_is_told_again_and_names_its_sender() -> None:
    flood, told = Flood(), []
    for second in range(int(AGAIN_S) + 10):
        news(flood, 50, second, mac=ONE)
        told.append(flood.tick(second))
    first, second_ = [one for one in told if one]
    assert (first.mac, second_.mac) == (ONE, ONE)
    assert first.count + second_.count > 0.9 * AGAIN_S * 50


def test_a_trickle_after_a_flood_does_not_keep_it_shut() -> None:
    """Else a forger could hide a machine behind one frame every few seconds."""
    flood = Flood()
    news(flood, 1000, 0.0)
    for second in range(9, 100, 9):
        admitted = news(flood, 1, second)
    assert admitted == 1


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 30)), max_size=60))
def test_never_more_news_than_the_limit_and_everything_else_is_counted(
    steps: list[tuple[int, float]],
) -> None:
    flood, now, offered, admitted, counted = Flood(), 0.0, 0, 0, 0
    windows: dict[float, int] = {}
    for count, passed in steps:
        now += passed
        taken = news(flood, count, now)
        offered, admitted = offered + count, admitted + taken
        windows[flood._window_s] = windows.get(flood._window_s, 0) + taken
        counted += flood._count + 0
        flood._forget()
    assert admitted + counted == offered
    assert all(taken <= MOST_NEWS for taken in windows.values())


# -- segments --------------------------------------------------------------------------------------------------------


def link(name: str, *addresses: str, **more: Any) -> Link:
    return Link(name=name, **{"link_type": "wired", "mac": ONE, "addresses": addresses, **more})


@pytest.mark.parametrize(
    ("links", "gateways", "ids"),
    [
        ([link("eth0", "10.1.2.9/24")], [Gateway("eth0", "10.1.2.1")], [f"10.1.2.0/24 {TWO}"]),
        ([link("eth0", "fd00::9/64", "10.1.2.9/24")], [Gateway("eth0", "10.1.2.1")], [f"10.1.2.0/24 {TWO}"]),
        ([link("eth0", "fd00::9/64")], [Gateway("eth0", "fe80::1", version=6)], [f"fd00::/64 {TWO}"]),
        ([link("eth0", "10.1.2.9/24")], [], ["10.1.2.0/24 -"]),
        ([link("eth0", "10.1.2.9/24")], [Gateway("eth0", "10.1.2.254")], [""]),
        ([link("eth0")], [], []),
        ([link("eth0", "10.1.2.9/24", up=False)], [], []),
        ([link("eth0", "10.1.2.9/24", running=False)], [], []),
        ([link("eth0", "10.1.2.9/24", master="br0")], [], []),
        ([link("docker0", "172.17.0.1/16", link_type="bridge")], [], []),
        ([link("br0", "10.1.2.9/24", link_type="bridge")], [Gateway("br0", "10.1.2.1")], [f"10.1.2.0/24 {TWO}"]),
        ([link("wg0", "10.9.0.2/24", link_type="vpn")], [Gateway("wg0", "10.9.0.1")], []),
        ([link(f"eth{n}", f"10.1.{n}.9/24") for n in range(9)], [Gateway("eth8", "10.1.8.1")], [f"10.1.8.0/24 {TWO}", "10.1.0.0/24 -", "10.1.1.0/24 -", "10.1.2.0/24 -"]),
    ],
)  # fmt: skip
def test_segments_are_named_by_network_and_gateway(
    links: list[Link], gateways: list[Gateway], ids: list[str]
) -> None:
    state = LinkState(links=tuple(links), gateways=tuple(gateways))
    found = segments_of(state, lambda _interface, address: "" if address.endswith(".254") else TWO)
    assert [one.id for one in found] == ids


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("ZEIMU-01.city.example", "zeimu-01"),
        ("iPhone-2", "iphone"),
        ("a" * 20, "a" * 15),
        ("x-10", "x-10"),
        ("", ""),
    ],
)
def test_names_are_compared_as_every_protocol_has_them(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_macs_are_read_as_people_write_them() -> None:
    for text in ("00-00-5E-00-53-01", "0000.5e00.5301", "00:00:5e:00:53:01", " 00005E005301 "):
        assert normal_mac(text) == OWN
    for text in ("", "00:00:5e:00:53", "gg:00:5e:00:53:01"):
        with pytest.raises(ValueError, match="not a MAC"):
            normal_mac(text)
