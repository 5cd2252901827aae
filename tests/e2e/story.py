"""The story the demo tells and the end-to-end test checks: fifteen steps in a city hall, each proved by trying."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.cityhall import CLOUD_V4, OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.testbed.machine import Machine, wait_for
from tests.e2e.testbed.medium import Medium

PERMITTED_SERIAL, STRANGE_SERIAL = "CITY-0001", "PRIVATE-9999"


class Story(City):
    """Steps are the methods named in ``STEPS``, told in order; each stands on those before."""

    def enrolled(self) -> Told:
        """Install the collector, enrol three PCs, release a policy, start the agents."""
        begin = time.monotonic()
        self.site.install_collector()
        self.site.start_collector()
        self.site.office.run("people", "add", "tanaka", "田中", "--section", "市民課")
        self.site.office.run(
            *("people", "add", "sato", "佐藤", "--section", "市民課"),
            *("--office", "agency", "--office", "section_head"),
        )
        for name in self.hall.pcs:
            self.ids[name] = self.site.enrol(name)
        generation = self.site.release_policy("first release")
        for name in self.hall.pcs:
            self.site.start_agent(name, self.usb.env if name == "lgwan-01" else None)
        for name in self.hall.pcs:
            self.site.wait_host(name, "policy in force", policy_generation=generation, online=True)
        return Told(
            f"3 PCs enrolled by token, policy {generation} in force", (time.monotonic() - begin) * 1000
        )

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
            alert = self.cited("internet-01", "media.mounted", action="blocked")
        require(took < 100, f"the medium stayed for {took:.0f} ms")
        return Told("unknown medium unmounted", took, self.article(alert))

    def _copy_tool(self, pc: Machine, name: str) -> str:
        target = f"/home/tanaka/{name}"
        shutil.copy(pc.path("/usr/bin/true"), pc.path(target))
        with pc.path(target).open("ab") as file:
            file.write(name.encode())
        pc.path(target).chmod(0o755)
        return target

    def unapproved_software_denied(self) -> Told:
        """A program that no package and no permit covers cannot be started."""
        pc = self.hall.pcs["lgwan-01"]
        tool = self._copy_tool(pc, "freeware")
        begin = time.monotonic()
        done = pc.run([tool], user="tanaka", check=False)
        took = (time.monotonic() - begin) * 1000
        require(done.returncode != 0 and "not permitted" in done.stderr, f"it ran: {done}")
        alert = self.cited("lgwan-01", "process.denied")
        require(alert["event"]["target"] == tool, f"the alert names {alert['event']}")
        return Told(f"{tool}: Operation not permitted", took, self.article(alert))

    def approved_software_runs(self) -> Told:
        """Packaged programs run, and one with a permit for its hash does too."""
        pc = self.hall.pcs["lgwan-01"]
        tool = self._copy_tool(pc, "approved")
        digest = pc.run(["sha256sum", tool]).stdout.split()[0]
        generation = self.site.permit(
            *("software", "--digest", digest, "--ground", "nagoya:第35条第3号", "--reason", "form reader")
        )
        self.site.wait_host("lgwan-01", "policy in force", policy_generation=generation)
        begin = time.monotonic()
        # The gate takes the new list a moment after the policy: it is made by a process of its own.
        runs = wait_for(
            "the permitted program to run", lambda: pc.run([tool], user="tanaka", check=False).returncode == 0
        )
        took = (time.monotonic() - begin) * 1000
        require(runs, "it did not run")
        pc.run(["/usr/bin/id"], user="tanaka")
        return Told("packaged program and permitted hash both run", took)

    def package_install_flagged(self) -> Told:
        """A package that somebody installs is flagged."""
        pc = self.hall.pcs["internet-01"]
        folder = pc.path("/root/parcel/DEBIAN")
        folder.mkdir(parents=True)
        control = "Package: sekisho-demo-game\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody\nDescription: a game\n"
        (folder / "control").write_text(control)
        pc.run(["dpkg-deb", "--build", "--root-owner-group", "/root/parcel", "/root/game.deb"])
        begin = time.monotonic()
        pc.run(["dpkg", "--install", "/root/game.deb"])
        alert = self.cited("internet-01", "software.installed")
        took = (time.monotonic() - begin) * 1000
        require(alert["event"]["name"] == "sekisho-demo-game", f"the alert names {alert['event']}")
        return Told("dpkg -i sekisho-demo-game: flagged", took, self.article(alert))

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

    def host_isolated(self) -> Told:
        """The CISO signs; the PC is cut and proves it."""
        begin = time.monotonic()
        done = self.site.office.json(
            *(
                "isolate",
                "lgwan-01",
                "--ground",
                "nagoya:第58条",
                "--reason",
                "drill",
                "--key",
                "/root/keys/ciso.key",
            ),
            *("--code-file", "/root/code", "--yes"),
        )
        took = (time.monotonic() - begin) * 1000
        require(done["state"] == "verified", f"order ended {done}")
        worked, _ = self.connects("lgwan-01", CLOUD_V4)
        require(not worked, "an isolated PC still reached the outside")
        self.site.wait_host("lgwan-01", "measured state", isolation="isolated")
        latency = done["result"]["latency_us"] / 1000
        return Told(
            f"isolated and verified by two probes (on the PC {latency:.1f} ms)", took, "nagoya 第58条"
        )

    def collector_still_reached(self) -> Told:
        """An isolated PC keeps reporting."""
        before = self.site.host("lgwan-01")["last_seen_us"]
        begin = time.monotonic()
        wait_for(
            "a heartbeat of the isolated PC",
            lambda: self.site.host("lgwan-01")["last_seen_us"] > before,
            seconds=30,
        )
        return Told("heartbeats and events still arrive", (time.monotonic() - begin) * 1000)

    def isolation_survives_agent_kill(self) -> Told:
        """kill -9 of the agent changes nothing, and a new agent finds itself isolated."""
        begin = time.monotonic()
        self.site.kill_agent("lgwan-01")
        for address in (CLOUD_V4, OUTSIDE_V4):
            worked, _ = self.connects("lgwan-01", address)
            require(not worked, f"without its agent the PC reached {address}")
        self.site.start_agent("lgwan-01", self.usb.env)
        self.site.wait_host("lgwan-01", "measured state", isolation="isolated", online=True)
        return Told("agent killed with -9: still cut", (time.monotonic() - begin) * 1000)

    def host_restored(self) -> Told:
        """A signed order restores the PC to what it was."""
        begin = time.monotonic()
        done = self.site.office.json(
            "restore",
            "lgwan-01",
            "--ground",
            "nagoya:第58条",
            "--reason",
            "drill over",
            "--key",
            "/root/keys/ciso.key",
            "--yes",
        )
        took = (time.monotonic() - begin) * 1000
        require(done["state"] == "verified", f"order ended {done}")
        worked, _ = self.connects("lgwan-01", CLOUD_V4)
        require(worked, "the restored PC does not reach its allowed destination")
        worked, _ = self.connects("lgwan-01", OUTSIDE_V4, 80)
        require(not worked, "the restored PC reaches forbidden destinations")
        return Told("restored; allowed works, forbidden still fails", took, "nagoya 第58条")

    def nothing_lost(self) -> Told:
        """Every event a PC numbered is on the collector's disk."""
        begin = time.monotonic()
        total = 0
        for name in self.hall.pcs:

            def level(name: str = name) -> int | None:
                host = self.site.host(name)
                return host["stored"] if host["stored"] == host["spooled"] and not host["dropped"] else None

            total += wait_for(f"{name}: spooled = stored", level, seconds=30)
        return Told(f"{total:,} events spooled = {total:,} stored", (time.monotonic() - begin) * 1000)

    def tell(self) -> Iterator[tuple[str, Callable[[], Told]]]:
        """Step names with what to call, in order."""
        for name in STEPS:
            yield name, getattr(self, name)


STEPS = (
    "enrolled",
    "unknown_device_blocked",
    "permitted_device_allowed",
    "unknown_medium_blocked",
    "unapproved_software_denied",
    "approved_software_runs",
    "package_install_flagged",
    "external_connection_blocked",
    "permitted_connection_allowed",
    "alert_cites_article",
    "host_isolated",
    "collector_still_reached",
    "isolation_survives_agent_kill",
    "host_restored",
    "nothing_lost",
)
