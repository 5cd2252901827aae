"""People at the PC: they are told why, apply from where they sit; and the PC's own protection."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.desktop import PcDesktop
from tests.e2e.testbed.machine import wait_for

ASKED_SERIAL = "PRIVATE-7777"
SERVICE_PORT = 8099


class People(City):
    """Tanaka sits at lgwan-01, logged on at its desktop."""

    desk: PcDesktop
    refusal = ""

    def refusal_explained(self) -> Told:
        """The desktop shows what was stopped, by which article, and how to apply."""
        pc = self.hall.pcs["lgwan-01"]
        pc.run(["chmod", "o+x", "/root"])  # the interpreter of this checkout may lie below it
        self.desk = self._stack.enter_context(PcDesktop(pc, "tanaka"))
        begin = time.monotonic()
        self.usb.plug("1-3", ASKED_SERIAL)
        said = self.desk.said()
        took = (time.monotonic() - begin) * 1000
        self.usb.unplug("1-3")
        require(ASKED_SERIAL in said["body"] and "第35条第4号" in said["body"], f"the notice says {said}")
        require(said["actions"], "the notice has no button")
        found = re.search(r"sekisho-agent ask (\d+)", said["body"])
        require(found, f"the notice does not say how to apply: {said}")
        self.refusal = found[1] if found else ""
        return Told(f"pop-up: {said['summary']}", took, "nagoya 第35条第4号")

    def permit_asked_for(self) -> Told:
        """Tanaka applies from the PC, without any rights there; the application waits for the section head."""
        begin = time.monotonic()
        words = ("--purpose", "国勢調査の調査票を受け取るため", "--days", "14")
        done = self.hall.pcs["lgwan-01"].run(["sekisho-agent", "ask", self.refusal, *words], user="tanaka")

        def waiting() -> dict[str, Any] | None:
            found = self.site.office.json("applications", "list")
            return next((one for one in found if one["subject"].get("serial") == ASKED_SERIAL), None)

        application = wait_for(f"the application ({done.stdout.strip()})", waiting)
        took = (time.monotonic() - begin) * 1000
        require(application["applicant"] == "tanaka", f"applied by {application}")
        return Told(f"tanaka applied: {application['id']}", took, "nagoya 第35条第4号")

    def applicant_told(self) -> Told:
        """Once a policy permits it, the applicant's desktop says so. Goes after the step that grants it."""
        begin = time.monotonic()
        said = self.desk.said(30)
        require("許可されました" in said["summary"], f"the notice says {said}")
        return Told("pop-up: permitted", (time.monotonic() - begin) * 1000)

    def unprotected_pc_flagged(self) -> Told:
        """A PC that reaches outside without a firewall and fresh anti-virus is flagged."""
        begin = time.monotonic()
        alert = self.cited("internet-01", "posture.reported", rule_id="outside_access_without_protection")
        event = alert["event"]
        told = f"firewall {event.get('firewall', 'unknown')}, anti-virus {event.get('antivirus') or 'none'}"
        return Told(f"internet-01: {told}", (time.monotonic() - begin) * 1000, self.article(alert))

    def unknown_service_flagged(self) -> Told:
        """A program that begins to wait for connections is flagged."""
        pc = self.hall.pcs["internet-01"]
        begin = time.monotonic()
        listener = pc.spawn(["nc", "-l", "-k", "0.0.0.0", str(SERVICE_PORT)], user="tanaka")
        try:
            alert = self.cited("internet-01", "service.listening")
        finally:
            listener.kill()
            listener.wait()
        event = alert["event"]
        require(event["port"] == SERVICE_PORT and event["user"] == "tanaka", f"the alert names {event}")
        return Told(
            f"port {SERVICE_PORT} of {event['exe']}", (time.monotonic() - begin) * 1000, self.article(alert)
        )
