"""Links on a real kernel: seen as they come, taken down where the policy says so, and given back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers.links import LinksEnforcer
from agent.identity import Identity, Target
from agent.platform.link_ports import Radio
from agent.platform.ports import OverflowedError
from agent.sensors.links import LinksSensor
from protocol.events import LinkChanged
from protocol.keys import fingerprint
from protocol.trust import sign_root
from tests.agent.isolation_lab import City
from tests.agent.link_lab import (
    AP4,
    Pc,
    hardware,
    ip,
    ip_batch,
    is_up,
    permit,
    platform,
    policy,
    reaches,
    serve,
    tunnel,
    wlan,
)
from tests.netns import Lan, lan, until

pytestmark = pytest.mark.needs("root", "netns")
MAC = "00:e0:4c:00:00:01"


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "collector", "rogue") as made:
        for host in ("collector", "rogue"):
            made.start(host, serve).hear()
        yield made


@pytest.fixture
def on_pc(net: Lan, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Run something on the PC, which has a line ``wlan0`` to the rogue, switched off."""
    wlan(net)

    def run(scenario: Callable[[Any], Any]) -> Any:
        lab = platform(tmp_path)
        hardware(lab, "eth0")
        hardware(lab, "wlan0", wireless=True)
        return net.run("pc", lambda: scenario(lab))

    yield run
    net.command("pc", "ip", "link", "set", "eth0", "up")
    net.command("pc", "ip", "addr", "replace", f"{net.ip6('pc')}/64", "dev", "eth0", "nodad")
    for family in ("-4", "-6"):
        net.command("pc", "ip", family, "route", "flush", "default", check=False)
    net.command("pc", "ip", "link", "del", "wlan0", check=False)


def enrol(lab: Any, net: Lan) -> None:
    """Let the PC know its collector."""
    city = City((net.ip4("collector"), net.ip6("collector")))
    target = Target(city.root.collector_key, fingerprint(city.root.root_key))
    Identity.load_or_make(lab.state).pin(sign_root(city.root, city.root_key), target)


def test_wireless_is_taken_down_and_traffic_over_it_fails(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> int:
        enrol(lab, net)
        ip("link", "set", "wlan0", "up")
        assert until(lambda: reaches(AP4), "the rogue to answer"), "before: the line works"
        ip("link", "set", "wlan0", "down")
        pc = Pc(lab, policy())
        lab.air.networks["wlan0"] = Radio("guest", "02:11:22:33:44:55")
        ip("link", "set", "wlan0", "up")
        event = pc.wait("wireless_up")
        assert (event.interface, event.link_type, event.ssid, event.mac) == (
            "wlan0",
            "wireless",
            "guest",
            MAC,
        )
        (record,) = pc.blocked
        assert (record.action, record.method, record.ssid, record.interface) == (
            "blocked",
            "link_down",
            "guest",
            "wlan0",
        )
        assert not is_up(lab, "wlan0")
        assert not reaches(AP4), "after: it does not"
        assert reaches(net.ip4("collector")), "the collector is always kept"
        return record.latency_us

    latency_us = on_pc(scenario)
    print(f"wireless seen to taken down and read back: {latency_us} µs")
    assert 0 < latency_us < 1_000_000


@pytest.mark.parametrize("subject", [{"ssid": "city"}, {"mac": "02:11:22:33:44:55"}, {"mac": MAC}])
def test_permitted_wireless_keeps_working(on_pc: Callable[..., Any], subject: dict[str, Any]) -> None:
    def scenario(lab: Any) -> None:
        pc = Pc(lab, policy(permit("wireless", **subject), joint="allowed"))
        lab.air.networks["wlan0"] = Radio("city", "02:11:22:33:44:55")
        ip("link", "set", "wlan0", "up")
        pc.wait("second_network")
        pc.settle()
        assert pc.blocked == []
        assert until(lambda: reaches(AP4), "the rogue to answer")

    on_pc(scenario)


def test_another_network_may_be_chosen_after_a_block(on_pc: Callable[..., Any]) -> None:
    def scenario(lab: Any) -> None:
        pc = Pc(lab, policy(permit("wireless", ssid="city"), joint="allowed"))
        for network, works in (("guest", False), ("guest", False), ("city", True)):
            pc.told.clear()
            lab.air.networks["wlan0"] = Radio(network)
            ip("link", "set", "wlan0", "up")
            pc.wait("wireless_up")
            pc.settle()
            assert (len(pc.blocked), is_up(lab, "wlan0")) == (not works, works), (
                "brought up again, judged again"
            )
        assert until(lambda: reaches(AP4), "the permitted network to work")
        assert pc.enforcer.observe()["taken_away"] == "none"

    on_pc(scenario)


def test_observing_changes_nothing(on_pc: Callable[..., Any]) -> None:
    def scenario(lab: Any) -> None:
        pc = Pc(lab, policy(mode="observe"))
        ip("link", "set", "wlan0", "up")
        pc.wait("wireless_up")
        pc.wait("second_network")
        pc.settle()
        assert pc.blocked == []
        assert is_up(lab, "wlan0")

    on_pc(scenario)


def test_the_way_to_the_collector_is_never_cut(on_pc: Callable[..., Any], net: Lan) -> None:
    """Here the forbidden wireless link is what leads to the collector: the block fails, and says why."""

    def scenario(lab: Any) -> None:
        enrol(lab, net)
        hardware(lab, "eth0", wireless=True)
        lab.air.networks["eth0"] = Radio("guest")
        pc = Pc(lab, policy(wireless="forbidden"))
        (record,) = pc.blocked
        assert (record.action, record.interface) == ("failed", "eth0")
        assert "way to the collector" in record.error
        assert is_up(lab, "eth0")
        assert reaches(net.ip4("collector"))
        for _ in range(60):
            pc.judge(pc.enforcer.tick())
        assert len(pc.blocked) == 1, "told once, not at every look"

    on_pc(scenario)


def test_the_last_way_is_kept_while_there_is_none(on_pc: Callable[..., Any], net: Lan) -> None:
    """The cable is out, so no route leads to the collector: what led there is kept, a stranger's line is not."""

    def scenario(lab: Any) -> None:
        enrol(lab, net)
        LinksEnforcer(lab).apply(policy())
        assert json.loads((lab.state / "links.json").read_text())["way"] == ["eth0"]
        ip("link", "set", "eth0", "down")
        pc = Pc(lab, policy())
        ip("link", "set", "wlan0", "up")
        pc.wait("wireless_up")
        assert [(one.interface, one.action) for one in pc.blocked] == [("wlan0", "blocked")]
        hardware(lab, "eth0", wireless=True)
        ip("link", "set", "eth0", "up")
        pc.until(lambda: any(one.interface == "eth0" for one in pc.blocked), "eth0 to be judged")
        assert pc.blocked[-1].action == "failed"
        assert is_up(lab, "eth0")

    on_pc(scenario)


def test_what_was_taken_down_comes_back_after_a_crash(on_pc: Callable[..., Any]) -> None:
    def scenario(lab: Any) -> None:
        ip("link", "set", "wlan0", "up")
        pc = Pc(lab, policy())
        assert [(one.interface, one.action) for one in pc.blocked] == [("wlan0", "blocked")]
        assert not is_up(lab, "wlan0")
        LinksEnforcer(lab).apply(policy())
        assert not is_up(lab, "wlan0"), "a new process keeps it down"
        LinksEnforcer(lab).clean()
        assert is_up(lab, "wlan0")
        assert until(lambda: reaches(AP4), "the line to work again")
        LinksEnforcer(lab).clean()
        assert json.loads((lab.state / "links.json").read_text()).get("held", {}) == {}

    on_pc(scenario)


@pytest.mark.parametrize("new", [{"mode": "observe"}, {"wireless": "allowed", "joint": "allowed"}])
def test_a_policy_that_allows_it_gives_it_back(on_pc: Callable[..., Any], new: dict[str, Any]) -> None:
    def scenario(lab: Any) -> None:
        ip("link", "set", "wlan0", "up")
        pc = Pc(lab, policy())
        assert not is_up(lab, "wlan0")
        pc.enforcer.apply(policy(**new))
        assert is_up(lab, "wlan0")
        assert until(lambda: reaches(AP4), "the line to work again")

    on_pc(scenario)


def test_a_link_somebody_else_took_down_stays_down(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        ip("link", "set", "wlan0", "up")
        Pc(lab, policy())
        net.command("pc", "ip", "link", "del", "wlan0")
        net.command("pc", "ip", "link", "add", "wlan0", "type", "veth", "peer", "name", "other-end")
        LinksEnforcer(lab).clean()
        assert not is_up(lab, "wlan0"), "another interface of the same name"

    on_pc(scenario)


@pytest.mark.parametrize(("name", "change"), [("lan1", "second_network"), ("usb0", "tethering")])
def test_other_lines_are_taken_down(on_pc: Callable[..., Any], net: Lan, name: str, change: str) -> None:
    def scenario(lab: Any) -> None:
        enrol(lab, net)
        hardware(lab, "usb0", "rndis_host")
        ip("link", "set", "wlan0", "name", name)
        pc = Pc(lab, policy())
        ip("link", "set", name, "up")
        assert pc.wait(change).interface == name
        pc.settle()
        assert [(one.interface, one.action) for one in pc.blocked] == [(name, "blocked")]
        assert not is_up(lab, name)
        assert not reaches(AP4)
        assert reaches(net.ip4("collector"))

    try:
        on_pc(scenario)
    finally:
        net.command("pc", "ip", "link", "del", name, check=False)


def test_a_tunnel_is_taken_down(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        enrol(lab, net)
        pc = Pc(lab, policy())
        with tunnel("tun7", "10.99.0.2/24"):
            assert pc.wait("vpn_up").interface == "tun7"
            assert [(one.interface, one.link_type, one.action) for one in pc.blocked] == [
                ("tun7", "vpn", "blocked")
            ]
            assert not is_up(lab, "tun7")

    on_pc(scenario)


def test_a_bridge_that_joins_the_city_network_is_parted(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        enrol(lab, net)
        pc = Pc(lab, policy())
        ip("link", "add", "br7", "type", "bridge")
        ip("link", "set", "br7", "up")
        ip("link", "add", "tap7", "type", "veth", "peer", "name", "tap8")
        ip("link", "set", "tap7", "master", "br7", "up")
        ip("link", "set", "wlan0", "master", "br7", "up")
        pc.wait("bridging")
        pc.settle()
        assert any(one.action == "blocked" and one.link_type in {"bridge", "wireless"} for one in pc.blocked)
        bridged = [link for link in lab.links().state().links if link.master == "br7" and link.up]
        assert len(bridged) < 2

    try:
        on_pc(scenario)
    finally:
        for name in ("br7", "tap7"):
            net.command("pc", "ip", "link", "del", name, check=False)


def test_gateway_and_name_servers(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        (lab.root / "etc/resolv.conf").write_text("nameserver 10.1.0.53\n")
        pc = Pc(lab, policy(name="lgwan", gateways=(net.ip4("collector"),), resolvers=("10.1.0.53",)))
        ip("route", "add", "default", "via", net.ip4("collector"))
        assert pc.wait("gateway").gateway == net.ip4("collector")
        pc.told.clear()
        ip("route", "replace", "default", "via", net.ip4("rogue"))
        event = pc.wait("gateway")
        assert (event.gateway, event.previous) == (net.ip4("rogue"), net.ip4("collector"))
        assert [hit.rule.id for hit in pc.view.match(event, pc.view.enrich(event, 1))] == ["gateway_changed"]
        pc.told.clear()
        (lab.root / "etc/new").write_text("nameserver 192.0.2.66\n")
        (lab.root / "etc/new").rename(lab.root / "etc/resolv.conf")
        event = pc.wait("resolver")
        assert (event.resolvers, event.previous) == (("192.0.2.66",), "10.1.0.53")
        assert [hit.rule.id for hit in pc.view.match(event, pc.view.enrich(event, 1))] == ["resolver_changed"]
        ip("route", "del", "default")

    on_pc(scenario)


def test_halves_of_all_addresses_stand_for_a_default_route(on_pc: Callable[..., Any], net: Lan) -> None:
    """VPN clients go before the default route without touching it."""

    def scenario(lab: Any) -> None:
        ip("route", "add", "default", "via", net.ip4("collector"))
        pc = Pc(lab, policy(mode="observe"))
        ip("route", "add", "0.0.0.0/1", "via", net.ip4("rogue"))
        pc.until(lambda: pc.wait("gateway").gateway == net.ip4("rogue"), "the half to be told")
        assert pc.wait("gateway").previous == net.ip4("collector")
        ip("route", "del", "0.0.0.0/1")
        ip("route", "del", "default")

    on_pc(scenario)


def test_passing_packets_on_is_a_hotspot(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        ip("link", "set", "wlan0", "up")
        pc = Pc(lab, policy(mode="observe"))
        pc.wait("second_network")
        net.command("pc", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        assert pc.wait("hotspot").interface == "wlan0"
        net.command("pc", "sysctl", "-qw", "net.ipv4.ip_forward=0")

    on_pc(scenario)


def test_after_a_loss_all_is_read_again(on_pc: Callable[..., Any]) -> None:
    places = [f"10.{number // 250}.{number % 250}.1/32 dev wlan0" for number in range(3000)]

    def scenario(lab: Any) -> None:
        sensor = LinksSensor(lab)
        list(sensor.open())
        for _ in range(4):
            ip_batch([f"addr add {place}" for place in places])
            ip_batch([f"addr del {place}" for place in reversed(places)])
        ip("link", "set", "wlan0", "up")
        ((fileno, _), *_) = sensor.filenos()
        with pytest.raises(OverflowedError):
            sensor.read(fileno)
        changes = [one.change for one in sensor.recover() if isinstance(one, LinkChanged)]
        assert "wireless_up" in changes

    on_pc(scenario)


@pytest.mark.parametrize("fail_first", [False, True])
def test_a_strange_gateway_loses_its_route_where_another_leads_on(
    on_pc: Callable[..., Any], net: Lan, *, fail_first: bool
) -> None:
    """In the individual-number zone. The collector's own way is by that link, so the link itself stays."""

    def scenario(lab: Any) -> None:
        enrol(lab, net)
        ip("link", "set", "wlan0", "down")
        pc = Pc(lab, policy(gateways=(net.ip4("collector"), net.ip6("collector"))))
        for six, right, wrong in (
            ([], net.ip4("collector"), net.ip4("rogue")),
            (["-6"], net.ip6("collector"), net.ip6("rogue")),
        ):
            pc.told.clear()
            if not fail_first:
                ip(*six, "route", "add", "default", "via", right, "metric", "2000")
                pc.wait("gateway")
            ip(*six, "route", "add", "default", "via", wrong, "metric", "50")
            pc.until(lambda: bool(pc.blocked), "the strange gateway")
            (record,) = pc.blocked
            assert (record.action, record.method) == ("blocked", "route_removed")
            shown = [one.address for one in lab.links().state().gateways]
            assert wrong not in shown
            assert reaches(net.ip4("collector"))
        LinksEnforcer(lab).clean()
        assert {one.address for one in lab.links().state().gateways} >= {net.ip4("rogue"), net.ip6("rogue")}
        for six in ([], ["-6"]):
            ip(*six, "route", "flush", "default")

    on_pc(scenario)


def test_the_only_gateway_to_the_collector_stays(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        city = City(("203.0.113.99",))
        target = Target(city.root.collector_key, fingerprint(city.root.root_key))
        Identity.load_or_make(lab.state).pin(sign_root(city.root, city.root_key), target)
        pc = Pc(lab, policy(gateways=(net.ip4("collector"),)))
        ip("route", "add", "default", "via", net.ip4("rogue"))
        pc.wait("gateway")
        (record,) = pc.blocked
        assert (record.action, record.error) == (
            "failed",
            f"{net.ip4('rogue')} is the only gateway to the collector",
        )
        assert [one.address for one in lab.links().state().gateways] == [net.ip4("rogue")]
        ip("route", "flush", "default")

    on_pc(scenario)
