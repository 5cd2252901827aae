"""From one state of the links to the next: what is told, and that nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link_changes import MOST, Networks, changes
from agent.link_storms import MOST as STORM
from agent.link_storms import Calm
from agent.platform.link_ports import Gateway, Link, LinkState, LinkType, Radio
from protocol.events import LinkChanged

EMPTY = LinkState()


def link(name: str, kind: LinkType = "wired", *addresses: str, **facts: Any) -> Link:
    return Link(
        name=name, link_type=kind, addresses=addresses, **{"index": len(name) + ord(name[-1]), **facts}
    )


def state(*links: Link, **facts: Any) -> LinkState:
    return LinkState(links=links, **facts)


ETH = link("eth0", "wired", "10.1.0.5/24")
BARE = link("eth0", "wired")
WLAN = link("wlan0", "wireless", radio=Radio("guest", "02:11:22:33:44:55"))
OFFICE = state(ETH, gateways=(Gateway("eth0", "10.1.0.1"),), resolvers=("10.1.0.53",))


def told(old: LinkState, new: LinkState) -> list[tuple[str, str]]:
    return [(event.change, event.interface) for event in changes(old, new, 1)]


def with_links(*links: Link, **facts: Any) -> LinkState:
    return state(ETH, *links, **{"gateways": OFFICE.gateways, "resolvers": OFFICE.resolvers, **facts})


def test_everything_there_at_the_start_is_told() -> None:
    assert told(EMPTY, OFFICE) == [("up", "eth0"), ("gateway", "eth0"), ("resolver", "")]
    (up, gateway, resolver) = changes(EMPTY, OFFICE, 7)
    assert up == LinkChanged(
        time_us=7, change="up", interface="eth0", link_type="wired", addresses=("10.1.0.5/24",),
        gateway="10.1.0.1", resolvers=("10.1.0.53",), networks=1,
    )  # fmt: skip
    assert (gateway.gateway, gateway.previous) == ("10.1.0.1", "")
    assert (resolver.resolvers, resolver.previous) == (("10.1.0.53",), "")


@pytest.mark.parametrize(
    ("kind", "up", "down"),
    [
        ("wireless", "wireless_up", "wireless_down"),
        ("tether", "tethering", "down"),
        ("modem", "tethering", "down"),
        ("bluetooth", "tethering", "down"),
        ("wired", "up", "down"),
        ("other", None, None),
    ],
)
def test_links_come_and_go(kind: LinkType, up: str | None, down: str | None) -> None:
    new = link("x0", kind)
    assert told(OFFICE, with_links(new)) == ([(up, "x0")] if up else [])
    assert told(with_links(new), OFFICE) == ([(down, "x0")] if down else [])
    idle = link("x0", kind, running=False)
    assert told(OFFICE, with_links(idle)) == []
    assert told(with_links(idle), with_links(new)) == ([(up, "x0")] if up else [])


def test_wireless_says_which_network() -> None:
    (event,) = changes(OFFICE, with_links(WLAN), 1)
    assert (event.ssid, event.bssid, event.link_type) == ("guest", "02:11:22:33:44:55", "wireless")
    other = link("wlan0", "wireless", radio=Radio("elsewhere"))
    assert told(with_links(WLAN), with_links(other)) == [("wireless_up", "wlan0")]
    roamed = link("wlan0", "wireless", radio=Radio("guest", "02:11:22:33:44:66"))
    assert told(with_links(WLAN), with_links(roamed)) == []


def test_an_adapter_put_in_again_is_another_one() -> None:
    assert told(with_links(WLAN), with_links(link("wlan0", "wireless", index=99))) == [
        ("wireless_down", "wlan0"),
        ("wireless_up", "wlan0"),
    ]


def test_a_tunnel_is_one_once_something_can_be_sent_through_it() -> None:
    assert told(OFFICE, with_links(link("wg0", "vpn"))) == []
    up = with_links(link("wg0", "vpn", "10.99.0.2/32"))
    assert told(OFFICE, up) == [("vpn_up", "wg0")]
    assert told(up, OFFICE) == [("vpn_down", "wg0"), ("single_network", "eth0")]
    routed = with_links(link("wg0", "vpn"), gateways=(Gateway("wg0", metric=0), *OFFICE.gateways))
    assert told(OFFICE, routed) == [("vpn_up", "wg0"), ("gateway", "wg0")]
    assert changes(OFFICE, routed, 1)[1].gateway == "dev wg0"


def test_second_network_is_who_came_last() -> None:
    second = with_links(link("eth1", "wired", "192.168.7.5/24"))
    assert told(OFFICE, second) == [("up", "eth1"), ("second_network", "eth1")]
    assert changes(OFFICE, second, 1)[1].networks == 2
    assert told(second, OFFICE) == [("down", "eth1"), ("single_network", "eth0")]
    # the link that was there is never called the second one, even if it has no way out
    moved = state(ETH, link("eth1", "wired", "192.168.7.5/24"), gateways=(Gateway("eth1", "192.168.7.1"),))
    assert ("second_network", "eth1") in told(state(ETH), moved)
    assert ("second_network", "eth0") in told(EMPTY, moved)


def test_two_links_in_one_network_are_one() -> None:
    assert told(OFFICE, with_links(link("wlan0", "wireless", "10.1.0.9/24"))) == [("wireless_up", "wlan0")]


def test_a_new_lease_is_no_second_network() -> None:
    moved = state(link("eth0", "wired", "10.3.0.5/24"))
    assert told(state(ETH), state(BARE)) == []
    assert told(state(BARE), moved) == []
    assert told(state(ETH), moved) == []


def test_virtual_machines_and_containers_are_no_networks() -> None:
    docker = link("docker0", "bridge", "172.17.0.1/16", real=False)
    inside = link("veth1", "other", real=False, master="docker0")
    assert told(OFFICE, with_links(docker, inside, forwarding=True)) == []


def test_bridging_names_the_port_that_joins() -> None:
    bridge = link("br0", "bridge", "10.1.0.5/24", real=False)
    alone = state(bridge, link("eth0", "wired", master="br0"))
    both = state(bridge, link("eth0", "wired", master="br0"), link("wlan0", "wireless", master="br0"))
    tap = state(bridge, link("eth0", "wired", master="br0"), link("tap0", "other", master="br0", real=False))
    assert ("bridging", "wlan0") in told(alone, both)
    assert ("bridging", "tap0") in told(alone, tap)
    assert "bridging" not in {change for change, _ in told(EMPTY, alone)}
    assert told(both, both) == []


def test_hotspot_by_radio_or_by_passing_packets_on() -> None:
    point = link("wlan0", "wireless", radio=Radio("mine", "", access_point=True))
    assert told(OFFICE, with_links(point)) == [("hotspot", "wlan0")]
    second = link("eth1", "wired", "192.168.7.1/24")
    assert told(with_links(second), with_links(second, forwarding=True)) == [("hotspot", "eth1")]
    assert told(OFFICE, with_links(forwarding=True)) == []


def test_gateways_changed_added_lost_and_preferred() -> None:
    one, two = Gateway("eth0", "10.1.0.1"), Gateway("eth0", "10.1.0.66", 50)
    was = state(ETH, gateways=(one,))
    (event,) = changes(was, state(ETH, gateways=(two,)), 1)
    assert (event.change, event.gateway, event.previous, event.interface) == (
        "gateway",
        "10.1.0.66",
        "10.1.0.1",
        "eth0",
    )
    (event,) = changes(was, state(ETH, gateways=(one, two)), 1)
    assert event.gateway == "10.1.0.66", "one that waits its turn is told as well"
    (event,) = changes(state(ETH, gateways=(one, two)), state(ETH, gateways=(two, one)), 1)
    assert (event.gateway, event.previous) == ("10.1.0.66", "10.1.0.1")
    (event,) = changes(was, state(ETH), 1)
    assert (event.gateway, event.previous) == ("", "10.1.0.1")


def test_other_name_servers_whatever_their_order() -> None:
    def servers(*names: str) -> LinkState:
        return state(ETH, resolvers=names)

    assert told(servers("a", "b"), servers("b", "a")) == []
    (event,) = changes(servers("a", "b"), servers("c"), 1)
    assert (event.change, event.resolvers, event.previous) == ("resolver", ("c",), "a, b")


# -- for any states -------------------------------------------------------------------------------------------------------

KINDS: tuple[LinkType, ...] = ("wired", "wireless", "tether", "vpn", "bridge", "bluetooth", "modem", "other")
NAMES = ("a0", "b0", "c0", "d0")
LINKS = st.builds(
    Link,
    name=st.sampled_from(NAMES),
    link_type=st.sampled_from(KINDS),
    index=st.integers(1, 2),
    up=st.booleans(),
    running=st.booleans(),
    real=st.booleans(),
    master=st.sampled_from(("", "", *NAMES)),
    addresses=st.lists(
        st.sampled_from(("10.1.0.5/24", "10.1.0.9/24", "10.2.0.5/24", "fd00::1/64")), max_size=2
    ).map(tuple),
    radio=st.builds(Radio, st.sampled_from(("", "city")), st.just(""), st.booleans()),
)
STATES = st.builds(
    LinkState,
    links=st.lists(LINKS, max_size=4, unique_by=lambda one: one.name).map(tuple),
    gateways=st.lists(
        st.builds(Gateway, st.sampled_from(NAMES), st.sampled_from(("", "10.1.0.1", "10.2.0.1"))),
        max_size=3,
        unique=True,
    ).map(tuple),
    resolvers=st.lists(st.sampled_from(("a", "b")), max_size=2).map(tuple),
    forwarding=st.booleans(),
)
CAME = {"wireless_up", "vpn_up", "tethering", "up", "hotspot"}
WENT = {"wireless_down", "vpn_down", "down"}


@given(STATES)
def test_nothing_is_told_of_what_stays(one: LinkState) -> None:
    assert changes(one, one, 1) == []


@given(st.lists(STATES, max_size=6))
def test_whoever_follows_the_changes_knows_what_is_there(steps: list[LinkState]) -> None:
    """Replaying what was told gives the links, the gateways, and the name servers of the last state."""
    links: set[str] = set()
    resolvers: set[str] = set()
    before = EMPTY
    for after in steps:
        for event in changes(before, after, 1):
            if event.change in WENT:
                links.discard(event.interface)
            if event.change in CAME:
                links.add(event.interface)
            if event.change == "resolver":
                resolvers = set(event.resolvers)
            if event.change == "gateway" and event.gateway:
                assert event.gateway in {one.address or f"dev {one.interface}" for one in after.gateways}
            assert event.change != "second_network" or event.networks > 1
            assert event.networks == len(Networks(after).groups)
        before = after
    afresh = {event.interface for event in changes(EMPTY, before, 1) if event.change in CAME}
    assert links == afresh
    assert resolvers == set(before.resolvers)


@given(STATES)
def test_nobody_is_in_two_networks(one: LinkState) -> None:
    groups = Networks(one).groups
    assert sum(len(names) for names in groups) == len(set().union(*groups))


def test_a_step_is_bounded() -> None:
    many = state(*(link(f"w{number}", "wireless", index=number) for number in range(1000)))
    assert len(changes(EMPTY, many, 1)) == MOST


# -- a line that comes and goes ---------------------------------------------------------------------------------------------


def test_a_loose_cable_is_told_a_few_times_and_then_by_its_outcome() -> None:
    calm, told = Calm(), []
    out, known = state(BARE, resolvers=("a",)), state(ETH, gateways=OFFICE.gateways, resolvers=("a",))
    gone = state(link("eth0", running=False), resolvers=("a",))
    at = out
    for step in [known, gone] * 500:
        told += calm.pass_on(changes(at, step, 1), at)
        at = step
    assert len(told) <= STORM + 2
    after = calm.settle(at, 2)
    assert ("down", "eth0") in {(event.change, event.interface) for event in [*told, *after]}
    assert calm.settle(at, 3) == []
    assert next(event.change for event in calm.pass_on(changes(at, known, 4), at)) == "up"


def test_what_may_have_to_be_stopped_is_always_told() -> None:
    calm, told = Calm(), []
    for _ in range(200):
        for before, after in ((OFFICE, with_links(WLAN)), (with_links(WLAN), OFFICE)):
            told += calm.pass_on(changes(before, after, 1), before)
    assert sum(event.change == "wireless_up" for event in told) == 200


@given(st.lists(STATES, max_size=8))
def test_nothing_is_held_back_in_quiet_times(steps: list[LinkState]) -> None:
    calm, before = Calm(), EMPTY
    for after in steps:
        events = changes(before, after, 1)
        calm.settle(after, 1)
        assert len(events) > STORM or calm.pass_on(events, before) == events
        calm.settle(after, 1)
        before = after
