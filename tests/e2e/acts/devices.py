"""Devices and media."""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.machine import wait_for
from tests.e2e.testbed.medium import Medium

PERMITTED_SERIAL, STRANGE_SERIAL = "CITY-0001", "PRIVATE-9999"


class Devices(City):
    """Devices and media."""

    def unknown_device_blocked(self) -> Told:
        """A private USB stick is cut off before it can be used."""
        begin = time.monotonic()
        self.usb.plug("1-1", STRANGE_SERIAL)
        wait_for("the strange stick to be cut off", lambda: self.usb.authorized("1-1") == "0")
        took = (time.monotonic() - begin) * 1000
        alert = self.cited("lgwan-01", "device.attached", action="blocked")
        self.usb.unplug("1-1")
        return Told(f"private USB stick {STRANGE_SERIAL}: authorized=0", took, self.article(alert))

    def permitted_device_allowed(self) -> Told:
        """The same kind of stick with a permit for its serial works."""
        begin = time.monotonic()
        generation = self.site.permit(
            *("device", "--serial", PERMITTED_SERIAL, "--usb", "0951:1666", "--ground", "nagoya:第35条第4号"),
            *("--reason", "census forms", "--section", "市民課"),
        )
        self.site.wait_host("lgwan-01", "policy in force", policy_generation=generation)
        self.usb.plug("1-2", PERMITTED_SERIAL)
        host = self.ids["lgwan-01"]

        def seen() -> dict[str, Any] | None:
            events = self.site.office.json(
                "events", "--host", host, "--kind", "device.attached", "--limit", "50"
            )
            return next(
                (entry["event"] for entry in events if entry["event"].get("serial") == PERMITTED_SERIAL), None
            )

        event = wait_for("the permitted stick in the events", seen)
        require(
            event.get("action") == "allowed" and event["permit"] == "granted",
            f"permitted stick was judged {event}",
        )
        require(self.usb.authorized("1-2") == "1", "permitted stick was cut off")
        return Told(
            f"city stick {PERMITTED_SERIAL}: allowed by {event['permit_id']}",
            (time.monotonic() - begin) * 1000,
        )

    def unknown_medium_blocked(self) -> Told:
        """A mounted unknown medium is taken away at once."""
        pc = self.hall.pcs["internet-01"]
        with Medium(pc) as medium:
            took = medium.mount_until_gone("/mnt")
            alert = self.cited("internet-01", "media.mounted", action="blocked", rule_id="unknown_medium")
        require(took < 1000, f"the medium stayed for {took:.0f} ms")
        return Told("unknown medium unmounted", took, self.article(alert))
