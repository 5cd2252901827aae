"""A permit from the decision to its end."""

from __future__ import annotations

import time
from typing import Any

from tests.e2e.acts.people import ASKED_SERIAL, People
from tests.e2e.city import Told, require
from tests.e2e.testbed.machine import wait_for

PC, PORT = "lgwan-01", "1-3"
SIGNED = ("--key", "/root/keys/policy.key", "--yes")


class Permits(People):
    """What Tanaka applied for is granted, used and taken back."""

    asked_for = ""

    def permit_granted(self) -> Told:
        """The application is examined and granted with a condition, by the office the article names."""
        begin = time.monotonic()
        waiting = self.site.office.json("applications", "list")
        application = next(one["id"] for one in waiting if one["subject"].get("serial") == ASKED_SERIAL)
        self.site.office.run("applications", "examine", application, "--note", "the census office lent it")
        self.site.office.run(
            *("applications", "grant", application, "--ground", "nagoya:第35条第4号", "--approver", "sato"),
            *("--reason", "census", "--section", "市民課", "--no-confidential", *SIGNED),
        )
        self.asked_for = self.site.office.json("applications", "show", application)["application"][
            "permit_id"
        ]
        generation = int(self.site.office.json("policy", "show")["generation"])
        self.site.wait_host(PC, "policy in force", policy_generation=generation)
        took = (time.monotonic() - begin) * 1000
        return Told(f"granted: {self.asked_for}, nothing confidential on it", took, "nagoya 第35条第4号")

    def permit_used(self) -> Told:
        """The stick works now, and its use is in the permit's log."""
        begin = time.monotonic()
        self.usb.plug(PORT, ASKED_SERIAL)

        def used() -> list[dict[str, Any]]:
            return list(self.site.office.json("permits", "use", self.asked_for))

        log = wait_for("the use in the permit's log", used)
        took = (time.monotonic() - begin) * 1000
        require(self.usb.authorized(PORT) == "1", "the permitted stick was cut off")
        return Told(f"stick {ASKED_SERIAL} works; use log: {sum(one['count'] for one in log)}", took)

    def permit_revoked(self) -> Told:
        """Taken back while the stick is in: the PC cuts it off within two seconds."""
        begin = time.monotonic()
        self.site.office.run("permits", "revoke", self.asked_for, "--reason", "the census is over", *SIGNED)
        posted = time.monotonic()
        wait_for("the stick to be cut off", lambda: self.usb.authorized(PORT) == "0")
        took = (time.monotonic() - posted) * 1000
        self.usb.unplug(PORT)
        require(took < 2000, f"the PC acted after {took:.0f} ms")
        whole = (time.monotonic() - begin) * 1000
        return Told(f"revoked and signed ({whole:,.0f} ms in all): stick cut off", took, "nagoya 第35条第4号")
