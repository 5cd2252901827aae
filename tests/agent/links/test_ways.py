"""Where packets go on a real kernel: gateways, name servers, passing on; a strange gateway loses its route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.enforcers.links import LinksEnforcer
from agent.platform.ports import OverflowedError
from agent.sensors.links import LinksSensor
from protocol.events import LinkChanged
from tests.agent.isolation_lab import City
from tests.agent.links.lab import (
    Pc,
    city,
    enrol,
    ip,
    ip_batch,
    policy,
    reaches,
)
from tests.netns import Lan

pytestmark = pytest.mark.needs("root", "netns")


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


def test_passing_packets_on_is_a_hotspot(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> None:
        ip("link", "set", "wlan0", "up")
        pc = Pc(lab, policy(mode="observe"))
        pc.wait("second_network")
        net.command("pc", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        assert pc.wait("hotspot").interface == "wlan0"
        net.command("pc", "sysctl", "-qw", "net.ipv4.ip_forward=0")

    on_pc(scenario)


@pytest.mark.parametrize("fail_first", [False, True])
def test_a_strange_gateway_loses_its_route_where_another_leads_on(
    on_pc: Callable[..., Any], net: Lan, *, fail_first: bool
) -> None:
    """In the individual-number zone. The collector's own way is by that link, so the link itself stays."""

    def scenario(lab: Any) -> None:
        enrol(lab, city(net))
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
        enrol(lab, City(("203.0.113.99",)))
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
