"""Confidential information on its way out."""

from __future__ import annotations

import random
import time

from tests.agent.files_lab import my_number
from tests.e2e.city import City, Told, require
from tests.e2e.testbed.machine import wait_for
from tests.e2e.testbed.medium import Medium

PC = "internet-01"


class Confidential(City):
    """The place of the resident register's extracts, and a stick with a permit."""

    def confidential_place_filled(self) -> None:
        """Put an extract with one (made up) individual number where the policy says such things lie."""
        pc = self.hall.pcs[PC]
        pc.write("/srv/juki/meibo.csv", f"氏名,個人番号\n山田,{my_number(random.Random(6))}\n")
        pc.run(["chmod", "-R", "a+rX", "/srv/juki"])

    def my_number_stopped(self) -> Told:
        """A permitted stick takes files; one with an individual number is flagged, masked, and ends the writing."""
        pc = self.hall.pcs[PC]
        with Medium(pc) as medium:
            uuid = pc.run(["blkid", "-p", "-s", "UUID", "-o", "value", medium.node]).stdout.strip()
            generation = self.site.permit(
                *("medium", "--fs-uuid", uuid, "--ground", "nagoya:第35条第4号", "--reason", "hand-over")
            )
            self.site.wait_host(PC, "policy in force", policy_generation=generation)
            pc.run(["mount", medium.node, "/mnt"])
            pc.run(["chmod", "777", "/mnt"])
            pc.run(["cp", "/etc/hostname", "/mnt/harmless.txt"], user="tanaka")
            begin = time.monotonic()
            pc.run(["cp", "/srv/juki/meibo.csv", "/mnt/hikitsugi.csv"], user="tanaka")
            wait_for(
                "the stick to take nothing more",
                lambda: "Read-only" in pc.run(["touch", "/mnt/more"], user="tanaka", check=False).stderr,
            )
            took = (time.monotonic() - begin) * 1000
            alert = self.cited(PC, "media.file_written", rule_id="mynumber_to_medium")
            wait_for(
                "the stick to be let go", lambda: pc.run(["umount", "/mnt"], check=False).returncode == 0
            )
        event = alert["event"]
        require(event["masked"] == ["********" + event["masked"][0][-4:]], f"not masked: {event}")
        require((event["user"], event["place"], event["action"]) == ("tanaka", "juki", "blocked"), f"{event}")
        return Told(
            f"individual number {event['masked'][0]} on a permitted stick: read-only since",
            took,
            "nagoya 第35条第6号",
        )
