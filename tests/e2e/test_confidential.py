"""Confidential files from end to end: an access log that names people, and an individual number on a permitted stick."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.files_lab import my_number
from tests.e2e.city import City, require
from tests.e2e.testbed.machine import wait_for
from tests.e2e.testbed.medium import Medium

pytestmark = [
    pytest.mark.testbed,
    pytest.mark.needs("root", "netns", "nft", "fanotify", "zram", "umockdev"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]
PC = "internet-01"


@pytest.fixture
def city() -> Iterator[City]:
    with City() as city:
        city.site.install_collector()
        city.site.start_collector()
        city.site.office.run("people", "add", "tanaka", "田中", "--section", "市民課")
        city.site.office.run(
            "people",
            "add",
            "sato",
            "佐藤",
            "--section",
            "市民課",
            "--office",
            "agency",
            "--office",
            "section_head",
        )
        city.ids[PC] = city.site.enrol(PC)
        pc = city.hall.pcs[PC]
        pc.write("/srv/juki/meibo.csv", f"氏名,個人番号\n山田,{my_number(random.Random(6))}\n")
        pc.run(["chmod", "-R", "a+rX", "/srv/juki"])
        generation = city.site.release_policy("first release")
        city.site.start_agent(PC)
        city.site.wait_host(PC, "policy in force", policy_generation=generation, online=True)
        yield city


def test_a_number_on_a_permitted_stick_is_flagged_masked_and_stopped(city: City) -> None:
    pc = city.hall.pcs[PC]
    with Medium(pc) as medium:
        uuid = pc.run(["blkid", "-p", "-s", "UUID", "-o", "value", medium.node]).stdout.strip()
        generation = city.site.permit(
            "medium", "--fs-uuid", uuid, "--ground", "nagoya:第35条第4号", "--reason", "hand-over"
        )
        city.site.wait_host(PC, "policy in force", policy_generation=generation)
        pc.run(["mount", medium.node, "/mnt"])
        pc.run(["chmod", "777", "/mnt"])
        pc.run(["cp", "/srv/juki/meibo.csv", "/mnt/hikitsugi.csv"], user="tanaka")
        alert = city.cited(PC, "media.file_written", rule_id="mynumber_to_medium")
        event = alert["event"]
        require(event["user"] == "tanaka", f"nobody named: {event}")
        require(event["masked"] == ["********" + event["masked"][0][-4:]], f"not masked: {event}")
        require(
            (event["my_numbers"], event["path"], event["action"]) == (1, "hikitsugi.csv", "blocked"),
            f"{event}",
        )
        require(event["place"] == "juki", f"source unknown: {event}")
        articles = {(one["ordinance"], one["article"]) for one in alert["citations"]}
        require(("nagoya", "第35条第6号") in articles, f"cites {articles}")
        again = pc.run(["touch", "/mnt/more"], user="tanaka", check=False)
        require("Read-only file system" in again.stderr, f"the stick is still writable: {again}")
        pc.run(["umount", "/mnt"])
        generation = city.site.permit(
            "confidential_medium",
            "--fs-uuid",
            uuid,
            "--ground",
            "nagoya:第35条第6号",
            "--reason",
            "hand-over",
        )
        city.site.wait_host(PC, "policy in force", policy_generation=generation)
        pc.run(["mount", medium.node, "/mnt"])
        pc.run(["cp", "/srv/juki/meibo.csv", "/mnt/kyoka.csv"], user="tanaka")
        seen = wait_for(
            "the permitted copy", lambda: [one for one in writes(city) if one["path"] == "kyoka.csv"]
        )
        require((seen[0]["permit"], seen[0].get("rules", [])) == ("granted", []), f"{seen}")
        require(seen[0].get("action") == "allowed", f"{seen}")
        pc.run(["touch", "/mnt/more"], user="tanaka")
        wait_for("the medium to be free", lambda: pc.run(["umount", "/mnt"], check=False).returncode == 0)


def test_a_stranger_in_a_confidential_place_is_named(city: City) -> None:
    pc = city.hall.pcs[PC]
    # Who ended before the log was read is known from the execution gate, once that runs.
    wait_for(
        "the execution gate",
        lambda: (
            pc.run(["/usr/bin/id"]).stdout
            and city.site.office.json(
                "events", "--host", city.ids[PC], "--kind", "process.started", "--limit", "1"
            )
        ),
    )
    pc.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do cat /srv/juki/meibo.csv; done"], user="tanaka")
    alert = city.cited(PC, "file.accessed", rule_id="file_access_by_stranger")
    event = alert["event"]
    require((event["user"], event["place"], event["access"]) == ("tanaka", "juki", "read"), f"{event}")
    wait_for("all eight reads in the log", lambda: sum(one.get("count", 1) for one in reads(city)) >= 8)
    named = sum(one.get("count", 1) for one in reads(city) if one.get("user") == "tanaka")
    print(f"8 runs of cat: {named} named")
    require(named == 8, f"not everybody is named: {reads(city)}")


def writes(city: City) -> list[dict[str, Any]]:
    """What was told of writing to media."""
    found = city.site.office.json(
        "events", "--host", city.ids[PC], "--kind", "media.file_written", "--limit", "100"
    )
    return [one["event"] for one in found]


def reads(city: City) -> list[dict[str, Any]]:
    """What the access log told of reading."""
    found = city.site.office.json(
        "events", "--host", city.ids[PC], "--kind", "file.accessed", "--limit", "100"
    )
    return [one["event"] for one in found if one["event"].get("access") == "read"]
