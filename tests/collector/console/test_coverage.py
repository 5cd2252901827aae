"""Coverage over the API: scoped by section, judged by the release in force."""

import pytest

from collector.gateway.since import write_since
from collector.registers.models import Agent
from tests.collector.console.world import PC1, TAX, Caller, World, release


@pytest.fixture
def governed(world: World) -> World:
    """A release is in force, and the PC of the tax section runs it."""
    assert release(Caller(world, "network_admin"), world).is_success
    with world.console.store.write() as session:
        row = session.get_one(Agent, PC1)
        beat = {
            "id": PC1,
            "controls": {"devices": "enforce", "media": "observe", "execution": "enforce"},
            "sensors": {"devices": "running", "media": "running", "execution": "failed: no fanotify"},
            "last_seen_us": world.now_us - 7,
        }
        write_since(session, [beat])
        row.controls, row.sensors, row.policy_generation = beat["controls"], beat["sensors"], 1  # type: ignore[assignment]
    return world


def test_every_article_of_every_ordinance_has_an_answer(governed: World) -> None:
    found = Caller(governed, "auditor").get("/coverage")
    assert {row["ordinance"] for row in found["rows"]} == set(governed.console.ordinances)
    assert sum(sum(counts.values()) for counts in found["totals"].values()) == len(found["rows"])
    for row in found["rows"]:
        assert row["groups"], row
        for group in row["groups"]:
            assert group["state"] != "not_supported" or group["why"], row


def test_what_a_pc_reports_decides_and_says_since_when(governed: World) -> None:
    found = Caller(governed, "ciso").get("/coverage", ordinance="nagoya", host="zeimu-01")
    rows = {row["article"]: row for row in found["rows"]}
    (installs,) = rows["第35条第4号"]["groups"]
    assert (installs["state"], installs["why"]) == ("not_supported", "not_running")
    assert installs["detail"] == "execution: failed: no fanotify"
    assert installs["since_us"] == governed.now_us - 7
    assert rows["第35条第4号"]["pcs"] == {"not_supported": 1}


def test_a_section_head_sees_the_own_section(governed: World) -> None:
    found = Caller(governed, "section_head").get("/coverage", ordinance="nagoya")
    hosts = {host for row in found["rows"] for group in row["groups"] for host in group["hosts"]}
    assert hosts == {"zeimu-01"}
    assert found["hosts"] == 1
    everybody = Caller(governed, "auditor").get("/coverage", ordinance="nagoya", section=TAX)
    assert everybody["rows"] == found["rows"]
    assert Caller(governed, "section_head").refused("GET", "/coverage", host="fukushi-01") == (
        404,
        "not_found",
    )


def test_a_pc_that_is_silent_is_named(governed: World) -> None:
    governed.now_us += 3600_000_000
    found = Caller(governed, "auditor").get("/coverage", ordinance="nagoya")
    assert {one["host"] for one in found["silent"]} == {"zeimu-01", "fukushi-01", "clone-pc"}


def test_an_ordinance_that_is_not_there(world: World) -> None:
    assert Caller(world, "auditor").refused("GET", "/coverage", ordinance="osaka") == (404, "not_found")
