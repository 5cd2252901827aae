"""The ruleset text, libnftables in process, and the watch."""

from __future__ import annotations

import ipaddress
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux.firewall import LinuxFirewall, LinuxFirewallWatch
from agent.platform.linux.isolation_rules import LEVELS, render_isolation, render_release, solicited_node
from agent.platform.linux.isolation_rules import Path as Way
from agent.platform.linux.probes import LinuxNetwork
from agent.platform.linux.ruleset import Collector, Grant, merge, render, span, subtract
from agent.platform.network_ports import Hop
from policies.model import Destination
from tests.netns import Lan, lan

GOLDEN = Path(__file__).parent.parent / "golden"
COLLECTOR = Collector(("10.77.0.11", "fd77::11"), (7460, 7461, 7462))
GRANTS = [
    Grant(Destination("10.20.0.0/16")),
    Grant(Destination("10.30.0.0/24", 443, "tcp")),
    Grant(Destination("10.30.0.0/16", 0, "tcp")),
    Grant(Destination("10.31.0.0/16", 443, "tcp")),
    Grant(Destination("10.31.5.0/24", 443, "tcp")),
    Grant(Destination("10.30.0.5", 53, "any")),
    Grant(Destination("fd30::/64", 443, "tcp")),
    Grant(Destination("10.30.0.0/24", 0, "icmp")),
    Grant(Destination("fd30::/64", 0, "icmp")),
    Grant(Destination("203.0.113.0/24", 443, "tcp"), (1000, 1004)),
    Grant(Destination("2001:db8::/32", 0, "any"), (1004,)),
    Grant(Destination("203.0.113.9", 5060, "any"), (1000,)),
    Grant(Destination("203.0.113.9", 0, "icmp"), (1000,)),
]
WAY = Way(COLLECTOR, ("10.77.0.1", "fe80::1"), ("eth0", "wlan0"))
TEXTS = {
    "firewall-enforce.nft": render(GRANTS, "enforce", COLLECTOR),
    "firewall-observe-owned.nft": render(GRANTS[:2], "observe", COLLECTOR, owned=True),
    "firewall-empty.nft": render([], "enforce", Collector()),
    **{f"isolation-{level}.nft": render_isolation(WAY, level) for level in LEVELS},
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_golden(name: str) -> None:
    """After a wanted change: python -m tests.agent.platform.test_firewall writes them anew."""
    assert (GOLDEN / name).read_text() == TEXTS[name]


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "other") as made:
        yield made


@pytest.mark.needs("root", "netns", "nft")
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_golden_text_is_one_transaction_the_kernel_takes(net: Lan, name: str) -> None:
    def scenario() -> set[tuple[str, str]]:
        firewall = LinuxFirewall()
        firewall.apply(TEXTS[name].replace("wlan0", "lo"))
        return firewall.tables()

    found = net.run("pc", scenario)
    net.command("pc", "nft", "flush ruleset")
    assert {family for family, _ in found} >= {"inet"}


NETWORKS = st.builds(
    lambda base, size: str(ipaddress.ip_network((base, size), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(4, 32),
)
GRANTED = st.builds(
    Destination, NETWORKS, st.sampled_from([0, 53, 443]), st.sampled_from(["tcp", "udp", "icmp", "any"])
)


@given(st.lists(GRANTED, max_size=6), st.integers(0, 2**32 - 1), st.sampled_from([53, 443, 8080]))
def test_sets_allow_what_the_policy_allows_and_never_overlap(
    destinations: list[Destination], address: int, port: int
) -> None:
    text = render([Grant(one) for one in destinations], "enforce", Collector())
    areas = [
        one
        for line in text.splitlines()
        if "elements" in line
        for one in line.split("{")[1].split("}")[0].split(",")
    ]
    assert len(areas) == len(set(areas)) or destinations
    addresses = {address, *(span(one.network)[1][0] for one in destinations)}
    for target in addresses:
        wanted = any(
            span(one.network)[1][0] <= target <= span(one.network)[1][1]
            and one.protocol in ("tcp", "any")
            and one.port in (0, port)
            for one in destinations
        )
        hits = _hits(text, "tcp4", target, port)
        assert hits <= 1, "elements overlap: nft would refuse the set"
        assert bool(hits or _hits(text, "any4", target, 0)) == wanted


def _hits(text: str, name: str, target: int, port: int) -> int:
    lines = text.splitlines()
    elements = lines[lines.index(f"  set {name} {{") + 2]
    if "elements" not in elements:
        return 0
    found = 0
    for element in elements.split("{")[1].split("}")[0].split(","):
        where, _, ports = element.strip().partition(" . ")
        first, _, last = where.partition("-")
        low, high = int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last or first))
        found += low <= target <= high and ports in ("", "0-65535", str(port))
    return found


@pytest.mark.needs("root", "netns", "nft")
def test_overlapping_policies_load(net: Lan) -> None:
    many = [
        Destination(f"10.{a}.0.0/{size}", port, "tcp")
        for a in range(40)
        for size in (8, 16, 20)
        for port in (0, 443, 8080)
    ]

    def scenario() -> None:
        LinuxFirewall().apply(render([Grant(one) for one in many], "enforce", COLLECTOR))

    net.run("pc", scenario)
    net.command("pc", "nft", "flush ruleset")


RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda one: (one[0], one[0] + one[1])), max_size=6
)


@given(RANGES, RANGES)
def test_ranges_are_set_arithmetic(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def members(ranges: list[tuple[int, int]]) -> list[int]:
        return [number for low, high in ranges for number in range(low, high + 1)]

    left = members(subtract(merge(one), merge(other)))
    assert sorted(left) == sorted(set(members(one)) - set(members(other)))
    assert len(left) == len(set(left))


@pytest.mark.parametrize("network", ["", "10.0.0.0/33", "example.org", '10.0.0.0/8 } ; flush ruleset "'])
def test_what_is_no_network_never_reaches_the_filter(network: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - ipaddress raises no narrower one
        render([Grant(Destination(network))], "enforce", Collector())


def test_solicited_node_address() -> None:
    assert solicited_node("fe80::2aa:ff:fe28:9c5a") == "ff02::1:ff28:9c5a"


def test_release_takes_only_what_is_ours() -> None:
    assert (
        render_release({("inet", "sekisho_isolation"), ("inet", "other")})
        == "delete table inet sekisho_isolation\n"
    )
    assert render_release(set()) == ""


@pytest.mark.needs("root", "netns", "nft")
def test_a_wrong_text_changes_nothing_and_says_why(net: Lan) -> None:
    def scenario() -> None:
        firewall = LinuxFirewall()
        with pytest.raises(OSError, match="syntax error"):
            firewall.apply("add table inet a\nadd nonsense\n")
        assert firewall.tables() == set()
        assert firewall.listing("inet", "a") == ""
        firewall.close()

    net.run("pc", scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_watch_names_others_and_not_ourselves(net: Lan) -> None:
    def scenario() -> None:
        one, other, watch = LinuxFirewall(), LinuxFirewall(), LinuxFirewallWatch()
        one.apply("table inet mine { }")
        other.apply("table inet mine2 { }")
        assert watch.changed_by() == []
        net.command("pc", "nft", "add table inet theirs")
        assert select.select([watch.fileno()], [], [], 5)[0]
        (culprit,) = watch.changed_by()
        pid, _, name = culprit.partition(":")
        assert int(pid) > 0
        assert name == "nft"
        assert watch.changed_by() == []
        watch.close()

    net.run("pc", scenario)
    net.command("pc", "nft", "flush ruleset")


@pytest.mark.needs("root", "netns")
def test_routes_and_probes(net: Lan) -> None:
    def scenario() -> None:
        network = LinuxNetwork()
        assert network.interfaces() == ["eth0"]
        assert network.hop(net.ip4("other")) == Hop("eth0", net.ip4("other"))
        assert network.hop(net.ip6("other")) == Hop("eth0", net.ip6("other"))
        assert network.hop("192.0.2.1") is None
        net.command("pc", "ip", "route", "add", "default", "via", net.ip4("other"))
        net.command("pc", "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        assert network.hop("192.0.2.1") == Hop("eth0", net.ip4("other"))
        assert network.hop("2001:db8::1") == Hop("eth0", "fe80::1")
        assert network.escaped(("192.0.2.1", net.ip4("other"))) == ("192.0.2.1", net.ip4("other"))
        assert not network.reachable((net.ip4("other"),), 9, 100)

    net.run("pc", scenario)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for golden, text in TEXTS.items():
        (GOLDEN / golden).write_text(text)
