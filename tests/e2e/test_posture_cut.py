"""The agent as it runs: an unprotected PC of the Internet side has no way outside, and has it again once it is protected."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.city import City
from tests.e2e.testbed.cityhall import OUTSIDE_V4, CityHall
from tests.e2e.testbed.installation import DATA, Installation
from tests.e2e.testbed.machine import Machine, wait_for

PC, BESIDE = "internet-01", "lgwan-01"
FILTER = """
table inet guard {
 chain input {
  type filter hook input priority 0; policy drop;
  iif lo accept
  ct state established,related accept
  meta l4proto ipv6-icmp accept
 }
}
"""
SCANNER = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'clamd', 0, 0, 0); print('up', flush=True); time.sleep(600)"
"""What the sensor takes for a scanner: a process of that name, of a program that is root's."""
LOOKS_S = 90.0
"""The sensor looks once a minute."""
pytestmark = [
    pytest.mark.testbed,
    pytest.mark.needs("root", "netns", "nft", "fanotify"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]


class Street(City):
    """A city hall with one PC of the Internet side, where the posture is enforced, and one beside it that answers."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.logs = Path(tempfile.mkdtemp(prefix="sekisho-logs-"))
        self.ids = {}
        self._keep_logs = False
        try:
            self.hall = self._stack.enter_context(CityHall((PC, BESIDE)))
            self.pc = self.hall.pcs[PC]
            self.site = Installation(self.hall, self._stack.enter_context(Machine("office")), self.logs)
            self._stack.callback(self.site.close)
            self._build()
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        self.hall.serve(self.hall.pcs[BESIDE], 443)
        self.site.install_collector()
        file = self.hall.collector.path(f"{DATA}/policy.yaml")
        enforced = "settings:\n  - {control: posture, zone: internet, mode: enforce, fail: closed}\n"
        file.write_text(file.read_text().replace("settings:\n", enforced))
        self.site.start_collector()
        self.ids[PC] = self.site.enrol(PC)
        generation = self.site.release_policy("first release")
        self.site.start_agent(PC)
        self.site.wait_host(PC, "policy in force", policy_generation=generation, online=True)

    def reaches(self, address: str) -> bool:
        return self.connects(PC, address)[0]

    def actions(self) -> list[str]:
        """What became of each posture the PC told of."""
        told = self.site.office.json("events", "--host", self.ids[PC], "--kind", "posture.reported")
        return [one["event"].get("action", "observed") for one in told]

    @property
    def beside(self) -> str:
        shown = self.hall.pcs[BESIDE].run(["ip", "-4", "-o", "address", "show", "scope", "global"]).stdout
        return shown.split()[3].partition("/")[0]


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with Street() as made:
        try:
            yield made
        except BaseException:
            print(made.keep_logs())
            raise


def test_protection_is_the_condition_of_the_outside(street: Street) -> None:
    wait_for("the outside to be cut", lambda: not street.reaches(OUTSIDE_V4))
    rule = "outside_access_without_protection"
    alert = street.cited(PC, "posture.reported", rule_id=rule, action="blocked")
    assert street.article(alert) == "nagoya 第54条第2項"
    assert street.reaches(street.beside)
    street.pc.run(["nft", "-f", "-"], stdin=FILTER)
    with street.pc.spawn(["/usr/bin/python3", "-S", "-c", SCANNER]) as scanner:
        try:
            wait_for("the outside to be given back", lambda: street.reaches(OUTSIDE_V4), seconds=LOOKS_S)
            wait_for("the records", lambda: {"blocked", "allowed"} <= set(street.actions()))
            assert street.site.host(PC)["online"]
            street.pc.run(["nft", "delete table inet guard"])
            wait_for("the outside to be cut again", lambda: not street.reaches(OUTSIDE_V4), seconds=LOOKS_S)
        finally:
            scanner.kill()
