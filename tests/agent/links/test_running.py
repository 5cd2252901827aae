"""Links in the agent as it runs: loop, judge, sensor, enforcer and spool together, on a real kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers.links import LinksEnforcer
from agent.identity import Identity, Target
from agent.platform.link_ports import Radio
from agent.policy_keeper import keep
from agent.runtime import Runtime
from agent.sensors.links import LinksSensor
from policies.bundle import seal_bundle
from policies.model import Setting
from protocol.events import Event, LinkBlocked, LinkChanged
from protocol.keys import fingerprint, new_sign_pair
from protocol.trust import sign_root
from tests.agent.isolation_lab import City
from tests.agent.links.lab import (
    AP4,
    LabPlatform,
    hardware,
    ip,
    is_up,
    platform,
    policy,
    reaches,
    wlan,
)
from tests.netns import Lan, until

pytestmark = pytest.mark.needs("root", "netns")


class Agent:
    """One run of the agent with the links control alone; its events are kept as the spool got them."""

    def __init__(self, lab: LabPlatform, net: Lan, **setting: Any) -> None:
        city, key = City((net.ip4("collector"),)), new_sign_pair()
        root = type(city.root)(
            **{name: getattr(city.root, name) for name in city.root.__struct_fields__}
            | {"policy_keys": (key.public,)}
        )
        identity = Identity.load_or_make(lab.state)
        identity.pin(sign_root(root, city.root_key), Target(root.collector_key, fingerprint(root.root_key)))
        bundle = policy(**setting).bundle
        settings = {"links": {"*": Setting(setting.get("mode", "enforce"), setting.get("fail", "open"))}}
        release = type(bundle)(
            **{name: getattr(bundle, name) for name in bundle.__struct_fields__}
            | {"settings": settings, "unassigned": bundle.assignments["pc"]}
        )
        keep(lab.state, seal_bundle(release, [key]))
        self.runtime = Runtime(
            lab, identity, sensor_kinds={"links": LinksSensor}, enforcer_kinds={"links": LinksEnforcer}
        )
        self.told: list[Event] = []
        append = self.runtime.spool.append

        def kept(event: Event) -> int:
            self.told.append(event)
            return append(event)

        self.runtime.spool.append = kept  # type: ignore[method-assign]

    def run(self, story: Callable[[], object]) -> None:
        """Run until the story is told; fails as it failed."""
        failures: list[BaseException] = []

        def tell() -> None:
            try:
                story()
            except BaseException as error:  # noqa: BLE001 - handed on below
                failures.append(error)
            finally:
                self.runtime.stop()

        teller = threading.Thread(target=tell)
        teller.start()
        self.runtime.run()
        teller.join()
        if failures:
            raise failures[0]

    def links(self, kind: type[Event]) -> list[Any]:
        return [one for one in list(self.told) if isinstance(one, kind)]


def test_a_joined_network_is_left_within_milliseconds(net: Lan, tmp_path: Path) -> None:
    wlan(net)

    def scenario() -> tuple[float, int]:
        lab = platform(tmp_path)
        hardware(lab, "wlan0", wireless=True)
        lab.air.networks["wlan0"] = Radio("guest")
        agent = Agent(lab, net)
        took: list[float] = []

        def story() -> None:
            until(lambda: agent.links(LinkChanged), "the agent to be at work")
            ip("link", "set", "wlan0", "up")
            begin = time.perf_counter()
            until(lambda: not is_up(lab, "wlan0"), "wlan0 to be taken down")
            took.append((time.perf_counter() - begin) * 1000)
            assert not reaches(AP4)
            assert reaches(net.ip4("collector"))
            until(lambda: agent.links(LinkBlocked), "the record")

        agent.run(story)
        (event,) = [one for one in agent.links(LinkChanged) if one.change == "wireless_up"]
        (record,) = agent.links(LinkBlocked)
        assert (event.action, event.permit, event.ssid, event.zone) == (
            "blocked",
            "none",
            "guest",
            "mynumber",
        )
        assert event.rules == ("wireless_on_confidential_network",)
        assert (record.action, record.method, record.interface) == ("blocked", "link_down", "wlan0")
        assert is_up(lab, "wlan0"), "fail open: a stopped agent gives back what it took"
        return took[0], record.latency_us

    took_ms, latency_us = net.run("pc", scenario)
    print(f"joined to down {took_ms:.1f} ms as seen from outside; seen to read back {latency_us} µs")
    assert took_ms < 2000


def test_what_was_there_before_the_agent_is_taken_down_and_stays(net: Lan, tmp_path: Path) -> None:
    """Fail closed: what was taken down stays down after the agent ends."""
    wlan(net)
    net.command("pc", "ip", "link", "set", "wlan0", "up")

    def scenario() -> None:
        lab = platform(tmp_path)
        hardware(lab, "wlan0", wireless=True)
        agent = Agent(lab, net, fail="closed")
        agent.run(lambda: until(lambda: agent.links(LinkBlocked), "the block"))
        assert not is_up(lab, "wlan0")
        assert [one.action for one in agent.links(LinkChanged) if one.change == "wireless_up"] == ["blocked"]
        assert len(agent.links(LinkBlocked)) == 1
        LinksEnforcer(lab).clean()
        assert is_up(lab, "wlan0")

    net.run("pc", scenario)
    net.command("pc", "ip", "link", "del", "wlan0")


def test_the_way_to_the_collector_fails_to_be_cut_and_says_so(net: Lan, tmp_path: Path) -> None:
    def scenario() -> None:
        lab = platform(tmp_path)
        hardware(lab, "eth0", wireless=True)
        agent = Agent(lab, net)
        agent.run(
            lambda: (
                until(lambda: agent.links(LinkBlocked) and agent.links(LinkChanged), "the record") and None
            )
        )
        (record,) = agent.links(LinkBlocked)
        (event,) = [one for one in agent.links(LinkChanged) if one.change == "wireless_up"]
        assert (record.action, event.action) == ("failed", "failed")
        assert "way to the collector" in record.error
        assert record.rules == ("link_block_failed",)
        assert is_up(lab, "eth0")
        assert reaches(net.ip4("collector"))

    net.run("pc", scenario)
