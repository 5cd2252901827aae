"""The CISO isolates a PC and restores it; nothing was lost."""

from __future__ import annotations

import time

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.cityhall import CLOUD_V4, OUTSIDE_V4
from tests.e2e.testbed.machine import wait_for


class Cutting(City):
    """The CISO isolates a PC and restores it; nothing was lost."""

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
