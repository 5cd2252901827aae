"""A wireless link in the testbed: refused by the agent as it runs, and with the committee's permit it works."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.city import City, require
from tests.e2e.testbed.access_point import ADAPTER, MAC, AccessPoint
from tests.e2e.testbed.cityhall import CityHall
from tests.e2e.testbed.installation import Installation
from tests.e2e.testbed.machine import Machine, wait_for
from tests.e2e.testbed.usb_host import UsbHost

PC = "lgwan-01"
pytestmark = [
    pytest.mark.testbed,
    pytest.mark.needs("root", "netns", "nft", "fanotify", "umockdev"),
    pytest.mark.slow,
]


class Laptop(City):
    """A city hall with one PC that has a wireless adapter; links are enforced."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.logs = Path(tempfile.mkdtemp(prefix="sekisho-logs-"))
        self.ids = {}
        self._keep_logs = False
        try:
            self.hall = self._stack.enter_context(CityHall((PC,)))
            self.pc = self.hall.pcs[PC]
            self.site = Installation(self.hall, self._stack.enter_context(Machine("office")), self.logs)
            self._stack.callback(self.site.close)
            self.usb = UsbHost(self.pc)
            self._stack.callback(self.usb.close)
            self._build()
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        self.site.install_collector()
        self.site.start_collector()
        self.ids[PC] = self.site.enrol(PC)
        self.site.office.run(
            *("policy", "release", "--key", "/root/keys/policy.key", "--reason", "laptop"),
            *("--without-backtest", "nothing is stored yet", "--yes"),
        )
        generation = int(self.site.office.json("policy", "show")["generation"])
        self.point = AccessPoint(self.pc, self.usb, self.hall.rogue)
        self.point.join()
        wait_for("the access point to reach the PC, before", self.point.reaches_pc)
        self.point.leave()
        self.site.start_agent(PC, self.usb.env)
        self.site.wait_host(PC, "policy in force", policy_generation=generation, online=True)


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    with Laptop() as made:
        try:
            yield made
        except BaseException:
            print(made.keep_logs())
            raise


@pytest.mark.timeout(180)
def test_wireless_is_refused(laptop: Laptop) -> None:
    begin = time.monotonic()
    laptop.point.join()
    wait_for("the adapter to be taken down", lambda: not laptop.point.is_joined())
    print(f"joined to down, as seen by ip(8): {(time.monotonic() - begin) * 1000:.0f} ms")
    require(not laptop.point.reaches_pc(), "the access point still reaches the PC")
    alert = laptop.cited(PC, "link.changed", action="blocked", rule_id="wireless_on_confidential_network")
    assert laptop.article(alert) == "nagoya 第43条第2項"
    assert (alert["event"]["interface"], alert["event"]["link_type"]) == (ADAPTER, "wireless")

    def blocked() -> list[dict[str, object]]:
        return list(laptop.site.office.json("events", "--host", laptop.ids[PC], "--kind", "link.blocked"))

    (entry, *_) = wait_for("the record of the block", blocked)
    print(json.dumps(entry["event"]))
    require(laptop.site.host(PC)["online"], "the PC lost its collector")


@pytest.mark.timeout(180)
def test_with_the_committees_permit_it_works(laptop: Laptop) -> None:
    site = laptop.site
    site.office.run("people", "add", "tanaka", "田中", "--section", "市民課")
    offices = ("--office", "committee", "--office", "network_manager")
    site.office.run("people", "add", "iinkai", "委員会", "--section", "情報課", *offices)
    people = ("--applicant", "tanaka", "--approver", "iinkai")
    wish = ("--until", "30d", "--reason", "counter in the hall", "--key", "/root/keys/policy.key", "--yes")
    for kind, article in (("wireless", "第43条第2項"), ("joint", "第53条")):
        subject = ("--what", f"mac={MAC}", "--ground", f"nagoya:{article}")
        site.office.run("permits", "grant", kind, *subject, *people, *wish)
    generation = int(site.office.json("policy", "show")["generation"])
    site.wait_host(PC, "policy in force", policy_generation=generation)
    wait_for("the adapter to be given back", laptop.point.is_joined)
    wait_for("the access point to reach the PC again", laptop.point.reaches_pc)
    require(laptop.point.is_joined(), "it was taken down again")
