"""The city's own rigour through the API: it shows before it is signed, decides who permits, and a mistake changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collector.desk.sample import SAMPLE
from tests.collector.console.test_policy import application
from tests.collector.console.world import Caller, World, release

SignIn = Callable[[str | None], Caller]
TIGHTER = "articles:\n  - {ordinance: nagoya, article: 第35条第4号, severity: critical, permit_by: [system_manager]}\n"
LOOSER = """\
articles:
  - {ordinance: nagoya, article: 第35条第3号, severity: low, ground: 2027-04-01 委員会の決定}
  - {ordinance: baseline, article: 第3号, severity: low, ground: 2027-04-01 委員会の決定}
"""


def write(world: World, text: str) -> None:
    (world.data / "policy.yaml").write_text(text, encoding="utf-8")


def lines(caller: Caller) -> list[str]:
    found: list[str] = caller.get("/policy/diff")["lines"]
    return found


def citations(world: World, rule: str) -> list[Any]:
    from collector.desk.release import current_bundle

    with world.console.store.read() as session:
        bundle = current_bundle(session)
    assert bundle is not None
    return [one for found in bundle.rules if found.id == rule for one in found.citations]


def test_a_stricter_article_shows_before_it_is_signed(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    assert release(network, world).status_code == 201
    assert lines(network) == []
    write(world, SAMPLE + TIGHTER)
    changed = lines(network)
    assert changed
    assert all(line.startswith("~ rule ") and line.endswith(" critical") for line in changed)


def test_a_stricter_article_decides_who_permits(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    write(world, SAMPLE + TIGHTER)
    assert network.refused("POST", "/permits", application()) == (403, "role_not_named")


def test_a_ground_is_signed_and_stands_in_the_release(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    write(world, SAMPLE + LOOSER)
    assert release(network, world).status_code == 201
    found = citations(world, "software_without_permit")
    told = {(one.ordinance, one.article) for one in found if "2027-04-01 委員会の決定" in one.summary_ja}
    assert told == {("nagoya", "第35条第3号"), ("baseline", "第3号")}
    assert len(found) > len(told), "articles nobody changed stand as they are"


def test_a_mistake_is_refused_with_its_line_and_the_release_stays(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    assert release(network, world).status_code == 201
    write(world, SAMPLE + TIGHTER.replace("severity: critical", "severity: low"))
    answer = network.call("GET", "/policy/draft")
    assert answer.status_code == 422
    assert answer.json()["name"] == "bad_site_file"
    assert f"policy.yaml:{SAMPLE.count(chr(10)) + 2}: " in answer.json()["detail"]
    assert [row["generation"] for row in network.get("/policy/releases")] == [1]


def test_a_mistake_in_an_ordinance_of_the_citys_own_likewise(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    (world.data / "ordinances").mkdir()
    (world.data / "ordinances" / "town.yaml").write_text("id: town\narticles:\n  - x\n", encoding="utf-8")
    answer = network.call("GET", "/policy/draft")
    assert (answer.status_code, answer.json()["name"]) == (422, "bad_site_file")
    assert "ordinances/town.yaml:3: " in answer.json()["detail"]
