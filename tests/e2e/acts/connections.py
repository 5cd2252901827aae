"""External connections, and what alerts say of everything so far."""

from __future__ import annotations

import time
from pathlib import Path

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.cityhall import CLOUD_V4, OUTSIDE_V4, OUTSIDE_V6


class Connections(City):
    """External connections, and what alerts say of everything so far."""

    def external_connection_blocked(self) -> Told:
        """Forbidden destinations fail over v4 and v6, TCP, UDP and ICMP; the alert names who and what."""
        took = 0.0
        for kind, address, port in (
            ("tcp", OUTSIDE_V4, 80), ("tcp", OUTSIDE_V6, 80), ("udp", OUTSIDE_V4, 53), ("udp", OUTSIDE_V6, 53),
        ):  # fmt: skip
            worked, ms = self.connects("lgwan-01", address, port, kind)
            require(not worked, f"{kind} to {address}:{port} worked")
            took = max(took, ms)
        for address in (OUTSIDE_V4, OUTSIDE_V6):
            done = self.hall.pcs["lgwan-01"].run(["ping", "-c1", "-W1", address], check=False)
            require(done.returncode != 0, f"ping to {address} was answered")
        alert = self.cited("lgwan-01", "connection.blocked")
        event = alert["event"]
        require(
            event.get("pid") and event.get("exe") and event.get("user") == "tanaka", f"unattributed: {event}"
        )
        return Told(
            f"TCP, UDP, ICMP over v4 and v6 to the outside fail ({Path(event['exe']).name})",
            took,
            self.article(alert),
        )

    def permitted_connection_allowed(self) -> Told:
        """The zone's allowed destination works."""
        worked, took = self.connects("lgwan-01", CLOUD_V4)
        require(worked, f"the allowed destination {CLOUD_V4} did not answer")
        return Told(f"connection to the allowed {CLOUD_V4}:443 works", took)

    def alert_cites_article(self) -> Told:
        """Every alert of a rule names ordinance, article, edition and rule version."""
        begin = time.monotonic()
        alerts = [
            alert for alert in self.site.office.json("alerts", "--limit", "500") if alert["rule_version"]
        ]
        require(len(alerts) >= 5, f"only {len(alerts)} alerts")
        for alert in alerts:
            for citation in alert["citations"]:
                require(
                    citation["ordinance"] and citation["article"] and citation["edition"],
                    f"alert without: {alert}",
                )
            require(alert["citations"], f"alert {alert['id']} cites nothing")
        cited = [
            entry for alert in alerts for entry in alert["citations"] if entry["ordinance"] != "baseline"
        ]
        articles = sorted({entry["article"] for entry in cited})
        return Told(
            f"{len(alerts)} alerts, each with its article",
            (time.monotonic() - begin) * 1000,
            "・".join(articles[:4]),
        )
