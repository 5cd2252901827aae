"""Links on a real kernel: seen as they come, taken down where the policy says so, and given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.enforcers.links import LinksEnforcer
from agent.platform.link_ports import Radio
from tests.agent.links.lab import (
    AP4,
    Pc,
    city,
    enrol,
    hardware,
    ip,
    is_up,
    policy,
    reaches,
    tunnel,
)
from tests.agent.strict_policy import permit
from tests.netns import Lan, until

pytestmark = pytest.mark.needs("root", "netns")
MAC = "00:e0:4c:00:00:01"


def test_wireless_is_taken_down_and_traffic_over_it_fails(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(lab: Any) -> int:
        enrol(lab, city(net))
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
        enrol(lab, city(net))
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
        enrol(lab, city(net))
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
        enrol(lab, city(net))
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
        enrol(lab, city(net))
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
        enrol(lab, city(net))
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
