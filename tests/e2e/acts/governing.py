"""Governing: policy releases that were tried first, and what the ordinances come to."""

from __future__ import annotations

import time

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.installation import DATA

PILOT = "lgwan-01"
RULE = "host_firewall_off"
"""Switched off in the first release; these PCs let every connection in."""
CITIES = ("nagoya", "meguro", "nerima", "kameoka")


class Governing(City):
    """What the administrator and the auditor do."""

    def policy_tried_first(self) -> Told:
        """A rule is switched on: the back-test says whom it would have flagged before anybody signs."""
        file = self.hall.collector.path(f"{DATA}/policy.yaml")
        file.write_text(file.read_text().replace(f"rules_off: [{RULE}]\n", ""))
        begin = time.monotonic()
        study = self.site.office.json("policy", "backtest", "--days", "30")
        took = (time.monotonic() - begin) * 1000
        rules = {rule["id"]: rule for rule in study["report"]["rules"]}
        require(RULE in rules, f"the back-test flags only {sorted(rules)}")
        newly = rules[RULE]["newly"]
        require(newly["pcs"] == len(self.hall.pcs), f"would have flagged {newly}")
        events = study["report"]["events"]
        return Told(f"{events:,} events: {RULE} would have flagged {newly['pcs']} PCs", took)

    def policy_released_by_ring(self) -> Told:
        """The tried policy goes to one PC first, then to all."""
        office = self.site.office
        before = int(office.json("policy", "show")["generation"])
        begin = time.monotonic()
        office.run("policy", "ring", "set", "pilot", "--host", PILOT)
        key = ("--key", "/root/keys/policy.key", "--yes")
        office.run("policy", "release", "--ring", "pilot", "--reason", "PCs get a firewall", *key)
        after = before + 1
        self.site.wait_host(PILOT, "the pilot's policy", policy_generation=after)
        others = {name: self.site.host(name)["policy_generation"] for name in self.hall.pcs if name != PILOT}
        require(set(others.values()) == {before}, f"outside the ring run {others}")
        office.run("policy", "promote", str(after), "--yes")
        for name in self.hall.pcs:
            self.site.wait_host(name, "the policy for all", policy_generation=after)
        took = (time.monotonic() - begin) * 1000
        return Told(f"policy {after}: {PILOT} first, then all {len(self.hall.pcs)} PCs", took)

    def articles_covered(self) -> Told:
        """Every article of the four cities' rules has an honest answer on every PC."""
        begin = time.monotonic()
        found = self.site.office.json("coverage")
        took = (time.monotonic() - begin) * 1000
        require(found["hosts"] == len(self.hall.pcs), f"{found['hosts']} PCs are judged")
        require(set(found["totals"]) >= set(CITIES), f"only {sorted(found['totals'])}")
        for row in found["rows"]:
            require(row["groups"], f"no answer about {row['ordinance']} {row['article']}")
            for group in row["groups"]:
                require(group["state"] != "not_supported" or group["why"], f"unexplained: {row}")
        for city in CITIES:
            require(
                found["totals"][city].get("organisation"), f"{city}: not a single article of organisation"
            )
        shown = "; ".join(
            f"{city} " + " ".join(f"{state}:{count}" for state, count in found["totals"][city].items())
            for city in CITIES
        )
        return Told(f"{len(found['rows'])} articles: {shown}", took)
