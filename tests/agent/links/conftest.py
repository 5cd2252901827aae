"""A PC with lines it should not have: its network, and a way to run something on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.links.lab import (
    hardware,
    platform,
    serve,
    wlan,
)
from tests.netns import Lan, lan


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
