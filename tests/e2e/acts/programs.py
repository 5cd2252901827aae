"""Software that runs, and software that is installed."""

from __future__ import annotations

import shutil
import time

from tests.e2e.city import City, Told, require
from tests.e2e.testbed.machine import Machine, wait_for


class Programs(City):
    """Software that runs, and software that is installed."""

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
