"""What an administrator does at the desk, told without root: the policy tried first, released by ring, and the coverage."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.city import Told, require

RULE = "host_firewall_off"
"""Switched off in the first release."""


class Desk(ABC):
    """Steps that need a collector, its commands, and one PC."""

    data: Path
    keys: Path

    @abstractmethod
    def run(self, *argv: str) -> object:
        """Run one of the installed commands."""

    @abstractmethod
    def json(self, *argv: str) -> Any:
        """Run a command with ``--json`` and return what it says."""

    @abstractmethod
    def wait_host(self, what: str, probe: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until the collector's record of the PC is as asked."""

    def policy_tried_first(self) -> Told:
        """A rule is switched on: the back-test says whom it would have flagged before anybody signs."""
        file = self.data / "policy.yaml"
        file.write_text(file.read_text().replace(f"rules_off: [{RULE}]\n", ""))
        begin = time.monotonic()
        report = self.json("sekisho", "policy", "backtest", "--days", "30")["report"]
        took = (time.monotonic() - begin) * 1000
        require(report["events"] > 0, f"nothing was looked at: {report}")
        newly = {rule["id"]: rule["newly"]["pcs"] for rule in report["rules"]}.get(RULE, 0)
        return Told(f"{report['events']:,} events: {RULE} would have flagged {newly} PCs", took)

    def policy_released_by_ring(self) -> Told:
        """The tried policy goes to a ring, then to all."""
        begin = time.monotonic()
        before = int(self.json("sekisho", "policy", "show")["generation"])
        host = self.json("sekisho", "hosts")[0]["id"]
        self.run("sekisho", "policy", "ring", "set", "pilot", "--host", host)
        key = ("--key", str(self.keys / "policy.key"), "--yes")
        self.run("sekisho", "policy", "release", "--ring", "pilot", "--reason", "PCs get a firewall", *key)
        self.wait_host("the pilot's policy", lambda found: found["policy_generation"] == before + 1)
        self.run("sekisho", "policy", "promote", str(before + 1), "--yes")
        took = (time.monotonic() - begin) * 1000
        return Told(f"policy {before + 1}: the pilot first, then all", took)

    def articles_covered(self) -> Told:
        """Every article has an honest answer, also about a PC that can do little."""
        begin = time.monotonic()
        found = self.json("sekisho", "coverage")
        took = (time.monotonic() - begin) * 1000
        for row in found["rows"]:
            require(row["groups"], f"no answer about {row['ordinance']} {row['article']}")
        counts = " ".join(f"{state}:{count}" for state, count in found["totals"]["nagoya"].items())
        return Told(f"{len(found['rows'])} articles; nagoya {counts}", took)
