"""Machines that do not belong on the LAN."""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.machine import wait_for
from tests.e2e.testbed.network import LGWAN

WATCHER = "lgwan-01"
ROGUE_MAC = "02:00:5e:00:53:66"


class Strangers(City):
    """Neighbours on the segments."""

    def gateway_registered(self) -> None:
        """What stands on the segment rightfully is in the register: here the gateway."""
        mac = self.hall.gateway.run(["cat", f"/sys/class/net/lan-{LGWAN.name}/address"]).stdout.strip()
        self.site.office.run(
            "assets", "add", "gw-lgwan", "network", "--mac", mac, "--note", "gateway of the segment"
        )

    def watched(self) -> dict[str, Any]:
        """The LGWAN segment, once a PC watches it."""

        def probe() -> dict[str, Any] | None:
            found = self.site.office.json("neighbours", "segments")
            mine = [one for one in found if one["segment"].startswith(LGWAN.v4(0) + "/") and one["watchers"]]
            return mine[0] if mine else None

        return wait_for("a watcher of the LGWAN segment", probe, seconds=30)

    def unregistered_machine_flagged(self) -> Told:
        """A machine that is not in the register shows itself with a made-up MAC; it is flagged within a second."""
        watch = self.watched()
        require(watch["watchers"] == [WATCHER], f"watched by {watch}")
        rogue = self.hall.rogue
        rogue.run(["ip", "link", "set", "eth0", "down"])
        rogue.run(["ip", "link", "set", "eth0", "address", ROGUE_MAC])
        began_us = time.time_ns() // 1000
        rogue.run(
            ["ip", "link", "set", "eth0", "up"]
        )  # its first frames: neighbour discovery, listener reports
        rogue.run(["ping", "-c1", "-W1", LGWAN.v4(1)], check=False)

        def probe() -> dict[str, Any] | None:
            alerts = self.site.alerts(WATCHER, kind="neighbour.seen", rule_id="unregistered_machine")
            return next((one for one in alerts if one["event"]["mac"] == ROGUE_MAC), None)

        alert = wait_for("the alert about the rogue", probe)
        took = (alert["stored_us"] - began_us) / 1000
        require(took < 1000, f"flagged after {took:.0f} ms")
        require(
            any(
                (one["ordinance"], one["article"]) == ("nagoya", "第35条第5号") for one in alert["citations"]
            ),
            f"cites {alert['citations']}",
        )
        require(alert["event"]["randomised"], f"the alert says {alert['event']}")
        return Told(
            f"private computer {ROGUE_MAC} on the LGWAN segment: flagged, seen by {WATCHER}",
            took,
            "nagoya 第35条第5号",
        )
