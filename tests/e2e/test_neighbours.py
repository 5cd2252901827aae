"""A stranger on a segment of the city hall, end to end with the installed commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.acts.beginning import Beginning
from tests.e2e.acts.strangers import ROGUE_MAC, WATCHER, Strangers
from tests.e2e.testbed import cityhall
from tests.e2e.testbed.installation import Installation
from tests.e2e.testbed.machine import Machine, wait_for
from tests.e2e.testbed.network import LGWAN

pytestmark = [
    pytest.mark.testbed,
    pytest.mark.needs("root", "netns", "nft", "fanotify", "umockdev"),
    pytest.mark.slow,
]


class Story(Beginning, Strangers):
    """As much of the story as it takes."""


@pytest.mark.timeout(180)
def test_a_private_computer_is_flagged_within_a_second_of_its_first_frame() -> None:
    with Story() as story:
        try:
            story.enrolled()
            story.gateway_registered()
            print(story.unregistered_machine_flagged())
            listed = {one["mac"]: one for one in story.site.office.json("neighbours")}
            assert listed[ROGUE_MAC]["asset"] == "unknown"
            assert listed[ROGUE_MAC]["watcher"] == WATCHER
            segments = story.site.office.json("neighbours", "segments")
            assert {tuple(one["watchers"]) for one in segments} == {(name,) for name in story.hall.pcs}
        except BaseException:
            print(f"logs of the services: {story.keep_logs()}")
            raise


@pytest.mark.timeout(240)
def test_of_two_pcs_one_watches_and_the_other_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("lgwan-01", "lgwan-02")
    monkeypatch.setitem(cityhall.PLACES, "lgwan-02", (LGWAN, 12))
    with cityhall.CityHall(names) as hall, Machine("office") as office:
        site = Installation(hall, office, tmp_path)

        def segment() -> dict[str, Any]:
            found = site.office.json("neighbours", "segments")
            return next((one for one in found if one["segment"].startswith(LGWAN.v4(0))), {})

        def watched_by(*watchers: str, standby: int, seconds: float) -> None:
            wait_for(
                f"{watchers} to watch",
                lambda: (one := segment()) and (one["watchers"], one["standby"]) == ([*watchers], standby),
                seconds=seconds,
            )

        try:
            site.install_collector()
            site.start_collector()
            for name in names:
                site.enrol(name)
            site.release_policy()
            site.start_agent(names[0])
            watched_by(names[0], standby=0, seconds=30)
            site.start_agent(names[1])
            watched_by(names[0], standby=1, seconds=30)
            strangers = [one["mac"] for one in site.office.json("neighbours", "--unknown")]
            second = hall.pcs[names[1]].run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
            assert second not in strangers, "a PC with an agent is no stranger"
            site.kill_agent(names[0])
            wait_for("the other to watch", lambda: names[1] in segment().get("watchers", ()), seconds=60)
            hall.rogue.run(["ip", "link", "set", "eth0", "down"])
            hall.rogue.run(["ip", "link", "set", "eth0", "address", ROGUE_MAC])
            hall.rogue.run(["ip", "link", "set", "eth0", "up"])
            (alert, *_) = wait_for(
                "the alert",
                lambda: [
                    one
                    for one in site.alerts(names[1], kind="neighbour.seen")
                    if one["event"]["mac"] == ROGUE_MAC
                ],
            )
            assert alert["rule_id"] == "unregistered_machine"
        finally:
            site.close()
