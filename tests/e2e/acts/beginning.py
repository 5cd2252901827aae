"""The collector is installed, PCs enrol, the first policy takes effect."""

from __future__ import annotations

import time

from tests.e2e.city import City, Told


class Beginning(City):
    """The collector is installed, PCs enrol, the first policy takes effect."""

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
        self.stage()
        generation = self.site.release_policy("first release")
        for name in self.hall.pcs:
            self.site.start_agent(name, self.usb.env if name == "lgwan-01" else None)
        for name in self.hall.pcs:
            self.site.wait_host(name, "policy in force", policy_generation=generation, online=True)
        return Told(
            f"3 PCs enrolled by token, policy {generation} in force", (time.monotonic() - begin) * 1000
        )
