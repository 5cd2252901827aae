"""From a changed policy to all PCs: check, back-test over stored events, a ring, all, and back."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from collector.desk import studies, study
from collector.desk.bundles import read_bundle
from collector.registers.models import Agent, Release
from collector.registers.models_releases import Study
from policies.bundle import open_bundle
from protocol.events import DeviceAttached
from protocol.signed import Signed, seal
from tests.collector.console.world import PC1, PC2, START, TAX, WELFARE, Caller, World, release

SignIn = Callable[[str | None], Caller]
DAY = 86_400_000_000


def stick(number: int = 1, days_ago: int = 1) -> DeviceAttached:
    return DeviceAttached(
        time_us=START - days_ago * DAY + number,
        device_id=f"d-{number}",
        device_class="storage",
        vendor_id="0951",
        product_id="1666",
        serial=f"S{number}",
        label="Kingston DataTraveler",
    )


def site(world: World, before: str, after: str) -> None:
    path = world.data / "policy.yaml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def sign(world: World, caller: Caller, **query: Any) -> Signed:
    body = base64.b64decode(caller.get("/policy/draft", **query)["body"])
    return seal("policy", body, [world.policy_key])


def post(caller: Caller, document: Signed, **how: Any) -> Any:
    return caller.post("/policy/releases", {"document": document, "reason": "test", **how})


def settle(world: World) -> None:
    """A PC that runs what it is meant to have."""
    with world.console.store.write() as session:
        for agent_id, generation in ((PC1, 2), (PC2, 1)):
            row = session.get_one(Agent, agent_id)
            row.policy_generation = generation


def test_a_rule_goes_from_back_test_to_a_ring_to_all_and_back(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    site(world, "rules_off: []", "rules_off: [unknown_device]")
    assert release(network, world).status_code == 201
    world.journal(PC1, stick(1), stick(2))
    world.journal(PC2, stick(3), stick(4, days_ago=40))

    # The changed policy switches the rule on again, and stops devices.
    site(world, "rules_off: [unknown_device]", "rules_off: []")
    site(
        world,
        '{control: devices,     zone: "*", mode: observe}',
        '{control: devices, zone: "*", mode: enforce}',
    )
    assert network.get("/policy/check")["ok"]
    unsigned = sign(world, network)
    answer = network.call("POST", "/policy/releases", {"document": unsigned, "reason": "too early"})
    assert (answer.status_code, answer.json()["name"]) == (409, "untested")
    assert network.get("/policy/current")["generation"] == 1, "the running policy stays"

    test = network.post("/policy/backtests", {"days": 30})
    report = test["report"]
    assert (test["state"], report["sound"], report["against"]) == ("done", True, 1)
    assert (report["events"], report["newly"]["pcs"], report["newly"]["events"]) == (3, 2, 3)
    (rule,) = [one for one in report["rules"] if one["id"] == "unknown_device"]
    assert (rule["newly"]["pcs"], rule["stopped"]["events"], rule["newly_stopped"]["pcs"]) == (2, 3, 2)
    assert rule["samples"][0]["hostname"] == "zeimu-01"
    assert "Kingston" in rule["samples"][0]["what"]

    # To the tax section's PCs first.
    moved = sign_in("it_staff").post("/policy/rings", {"ring": "pilot", "sections": [TAX]})
    assert moved == {"ring": "pilot", "moved": 1, "ahead": 0}
    second = post(network, sign(world, network), ring="pilot")
    assert (second["generation"], second["ring"], second["study_id"]) == (2, "pilot", test["id"])
    assert network.get("/policy/current")["generation"] == 1
    assert network.get("/policy/current", ring="pilot")["generation"] == 2
    hosts = {host["hostname"]: host for host in network.get("/hosts")}
    assert (hosts["zeimu-01"]["policy_meant"], hosts["fukushi-01"]["policy_meant"]) == (2, 1)
    settle(world)
    rings = {ring["ring"]: ring for ring in network.get("/policy/rings")}
    assert rings["pilot"] == {"ring": "pilot", "pcs": 1, "generation": 2, "lagging": 0}
    assert rings[""]["generation"] == 1

    # It is good: to all, the same document.
    promoted = network.post("/policy/releases/2/promote", {"reason": "good"})
    assert promoted["promoted_us"] == START
    assert network.get("/policy/current")["generation"] == 2
    assert network.refused("POST", "/policy/releases/2/promote", {"reason": "x"}) == (409, "wrong_state")
    assert network.refused("POST", "/policy/releases/1/promote", {"reason": "x"}) == (409, "wrong_state")
    assert network.refused("POST", "/policy/releases/9/promote", {"reason": "x"}) == (404, "not_found")
    listed = network.get("/policy/releases")
    assert [(row["generation"], row["pcs"]) for row in listed] == [(2, 1), (1, 1)]

    # And back: the rules of generation 1, under a new one.
    network.post("/policy/backtests", {"rollback_of": 1})
    third = post(network, sign(world, network, rollback_of=1))
    assert (third["generation"], third["rollback_of"]) == (3, 1)
    bundle = read_bundle(base64.b64decode(network.get("/policy/document")["document"]["body"]))
    assert "unknown_device" not in {one.id for one in bundle.rules}
    assert network.get("/policy/current")["due"], "policy.yaml still says what was gone back from"


def test_going_back_keeps_the_registers_of_today(sign_in: SignIn, world: World) -> None:
    from tests.collector.console.test_policy import application

    network, it = sign_in("network_admin"), sign_in("it_staff")
    first = network.post("/permits", application())["permit"]["id"]
    assert release(network, world).status_code == 201
    network.post(f"/permits/{first}/revoke", {"reason": "紛失"})
    later = network.post("/permits", application(subject={"device_id": "d-2"}))["permit"]["id"]
    it.post("/assets", {"id": "A-1", "kind": "device", "subject": {"device_id": "d-9"}})
    it.post("/hosts/fukushi-01/assign", {"zone": "internet", "section": WELFARE})
    network.post("/policy/backtests", {"rollback_of": 1})
    post(network, sign(world, network, rollback_of=1))
    bundle = read_bundle(base64.b64decode(network.get("/policy/document")["document"]["body"]))
    assert [one.id for one in bundle.permits] == [later]
    assert [one.device_id for one in bundle.devices] == ["d-9"]
    assert bundle.assignments[PC2].zone == "internet"


def test_a_rollback_draft_is_stale_when_a_register_changes(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    release(network, world)
    network.post("/policy/backtests", {"rollback_of": 1})
    signed = sign(world, network, rollback_of=1)
    sign_in("it_staff").post("/assets", {"id": "A-1", "kind": "device", "subject": {"device_id": "d-9"}})
    answer = network.call("POST", "/policy/releases", {"document": signed, "reason": "x"})
    assert answer.json()["name"] == "stale"
    assert network.refused("GET", "/policy/draft", rollback_of=7) == (404, "not_found")


def test_a_reason_stands_in_for_a_back_test(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    shown = post(network, sign(world, network), without_backtest="障害対応のため")
    assert (shown["study_id"], shown["untested"]) == (0, "障害対応のため")
    lines = sign_in("auditor").get("/audit", limit=50)
    assert any(line["detail"].get("untested") == "障害対応のため" for line in lines)


def test_a_back_test_of_one_section_does_not_stand_for_a_release(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    world.journal(PC1, stick(1))
    world.journal(PC2, stick(2))
    report = network.post("/policy/backtests", {"section": TAX})["report"]
    assert (report["pcs"], report["events"], report["sound"]) == (1, 1, False)
    answer = network.call("POST", "/policy/releases", {"document": sign(world, network), "reason": "x"})
    assert answer.json()["name"] == "untested"


def test_a_change_after_the_back_test_needs_another(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    network.post("/policy/backtests", {})
    assert network.get("/policy/draft")["study_id"] > 0
    site(world, "valid_days: 400", "valid_days: 300")
    assert network.get("/policy/draft")["study_id"] > 0, "the term decides nothing about events"
    site(world, "media_read_only: [mynumber]", "media_read_only: []")
    assert network.get("/policy/draft")["study_id"] == 0


def test_a_ring_without_pcs_is_refused(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    network.post("/policy/backtests", {})
    answer = network.call(
        "POST", "/policy/releases", {"document": sign(world, network), "reason": "x", "ring": "pilot"}
    )
    assert (answer.status_code, answer.json()["name"]) == (422, "bad_value")
    it = sign_in("it_staff")
    assert it.refused("POST", "/policy/rings", {"ring": "Bad Ring", "hosts": ["zeimu-01"]}) == (
        422,
        "bad_value",
    )
    assert it.refused("POST", "/policy/rings", {"ring": "a", "hosts": ["zeimu-01", "no"]}) == (
        404,
        "not_found",
    )
    assert {ring["ring"] for ring in it.get("/policy/rings")} == {""}, "none was moved"


def test_a_broken_site_file_shows_in_the_check(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    site(world, "10.2.0.0/16]", "10.2.0.1/16]")
    found = network.get("/policy/check")
    assert not found["ok"]
    assert found["remarks"][0]["where"].startswith("policy.yaml:")


def test_a_large_store_is_looked_at_by_a_process_of_its_own(
    sign_in: SignIn, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "AT_ONCE", 0)
    network = sign_in("network_admin")
    world.journal(PC1, stick(1))
    begun = network.post("/policy/backtests", {})
    assert begun["state"] in {"waiting", "running", "done"}
    deadline = time.monotonic() + 20
    while begun["state"] != "done":
        assert time.monotonic() < deadline, begun
        begun = network.get(f"/studies/{begun['id']}", wait=5)
    assert begun["report"]["events"] == 1
    assert begun["done"] == begun["total"] == 1


def test_only_one_study_at_a_time_and_it_can_be_cancelled(
    sign_in: SignIn, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies.Studies, "_tidy", lambda _self: None)
    with world.console.store.write() as session:
        row = Study(kind="seed", state="running", plan={}, created_us=START, created_by="x", report={})
        session.add(row)
    network = sign_in("network_admin")
    assert network.refused("POST", "/policy/backtests", {}) == (503, "overloaded")
    assert network.post(f"/studies/{row.id}/cancel", {})["state"] == "cancelled"
    assert network.refused("POST", f"/studies/{row.id}/cancel", {}) == (409, "wrong_state")
    assert network.post("/policy/backtests", {})["state"] == "done"


def test_a_study_whose_process_is_gone_has_failed(sign_in: SignIn, world: World) -> None:
    with world.console.store.write() as session:
        row = Study(kind="seed", state="running", plan={}, created_us=START, created_by="x", report={})
        session.add(row)
    shown = sign_in("auditor").get(f"/studies/{row.id}")
    assert (shown["state"], shown["error"]) == ("failed", studies.INTERRUPTED)


def test_a_cancelled_study_ends_at_the_next_look(
    sign_in: SignIn, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = sign_in("network_admin")
    world.journal(PC1, stick(1))
    world.journal(PC2, stick(2))
    network.post("/policy/backtests", {})
    monkeypatch.setattr(study, "PROGRESS_S", 0.0)
    with world.console.store.write() as session:
        done = session.get_one(Study, 1)
        again = Study(
            kind="backtest", state="running", plan=done.plan, content=done.content,
            report={"check": {"ok": True}}, created_us=START, created_by="x",
        )  # fmt: skip
        session.add(again)
    looker = study.Looker(world.data, world.console.store, again.id)
    with world.console.store.write() as session:
        session.get_one(Study, again.id).state = "cancelled"
    looker.run()
    with world.console.store.read() as session:
        row = session.get_one(Study, again.id)
    assert (row.state, row.done) == ("cancelled", 1)


def test_an_expired_ring_release_does_not_go_to_all(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    sign_in("it_staff").post("/policy/rings", {"ring": "pilot", "hosts": ["zeimu-01"]})
    network.post("/policy/backtests", {})
    post(network, sign(world, network), ring="pilot")
    assert network.refused("GET", "/policy/current") == (404, "not_found")
    world.now_us += 401 * DAY
    world.tokens.clear()
    network = Caller(world, "network_admin")
    assert network.refused("POST", "/policy/releases/1/promote", {"reason": "x"}) == (422, "expired")


def test_a_release_is_what_its_signature_says(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    release(network, world)
    with world.console.store.read() as session:
        row = session.get_one(Release, 1)
    document = msgspec.msgpack.decode(row.document, type=Signed)
    bundle, _ = open_bundle(document, [world.policy_key.public], city="中市", now_us=START)
    assert bundle.generation == 1


def test_rules_of_the_citys_own_are_no_change_of_the_package(world: World) -> None:
    own = world.data / "rules"
    own.mkdir()
    (own / "nc.yml").write_text(
        "title: nc\nid: 11111111-1111-4111-8111-111111111111\nstatus: test\nlevel: low\n"
        "logsource: {product: linux, category: process_creation}\n"
        "detection: {nc: {Image|endswith: /nc}, condition: nc}\n"
    )
    found = Caller(world, "network_admin").get("/policy/check")
    assert found["ok"], found["remarks"]
