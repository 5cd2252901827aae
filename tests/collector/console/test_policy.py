import base64
from collections.abc import Callable
from typing import Any

import pytest

from collector.desk.bundles import read_bundle
from collector.registers.models import Setting
from protocol.keys import new_sign_pair
from protocol.signed import seal
from tests.collector.console.world import PC1, START, TAX, Caller, World, release

SignIn = Callable[[str | None], Caller]
DAY, HOUR = 86_400_000_000, 3_600_000_000


def application(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "device",
        "subject": {"device_id": "d-1"},
        "applicant": "tanaka",
        "approver": "kato",
        "ordinance": "nagoya",
        "article": "第35条第4号",
        "reason": "調査のため",
        "from_us": START,
        "until_us": START + 30 * DAY,
        **changes,
    }


def test_the_draft_says_what_it_changes_and_stays_the_same(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    draft = network.get("/policy/draft")
    assert draft == network.get("/policy/draft")
    bundle = read_bundle(base64.b64decode(draft["body"]))
    assert (bundle.generation, bundle.city, bundle.assignments[PC1].section) == (1, "中市", TAX)
    assert {rule.id for rule in bundle.rules} == {rule.id for rule in world.console.rules}
    assert any(line.startswith("+ zone mynumber") for line in draft["lines"])
    assert network.refused("GET", "/policy/current") == (404, "not_found")
    assert network.get("/health")["problems"] == ["no_policy_released"]


def test_the_common_ground_is_always_in_use(sign_in: SignIn, world: World) -> None:
    with world.console.store.write() as session:
        session.add(Setting(name="ordinances", value='["nagoya"]'))
    bundle = read_bundle(base64.b64decode(sign_in("ciso").get("/policy/draft")["body"]))
    assert bundle.ordinances == ("baseline", "nagoya")
    assert {"isolation_failed", "unknown_device"} <= {rule.id for rule in bundle.rules}


def test_a_signed_draft_is_put_in_force(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    assert release(network, world).status_code == 201
    current = network.get("/policy/current")
    assert (current["generation"], current["status"], current["due"]) == (1, "released", False)
    assert current["expires_us"] == START + 400 * DAY
    assert network.get("/policy/diff")["lines"] == []
    assert network.get("/health")["status"] == "ok"
    assert [row["generation"] for row in sign_in("auditor").get("/policy/releases")] == [1]


def post(caller: Caller, document: object) -> tuple[int, str]:
    return caller.refused("POST", "/policy/releases", {"document": document, "reason": "x"})


def test_what_is_not_signed_by_the_policy_key_is_refused_by_name(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    body = base64.b64decode(network.get("/policy/draft")["body"])
    assert post(network, {"body": base64.b64encode(body).decode()}) == (403, "unsigned")
    assert post(network, seal("policy", body, [new_sign_pair()])) == (403, "foreign")
    assert post(network, seal("policy", body, [world.ciso_key])) == (403, "foreign")
    assert post(network, seal("order", body, [world.policy_key])) == (403, "bad_signature")
    assert post(network, seal("policy", b"x", [world.policy_key])) == (422, "malformed_body")
    assert network.refused("GET", "/policy/current") == (404, "not_found")


def test_a_stale_draft_is_refused(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    signed = seal("policy", base64.b64decode(network.get("/policy/draft")["body"]), [world.policy_key])
    network.post("/permits", application())
    assert post(network, signed) == (409, "stale")
    assert release(network, world).status_code == 201
    assert post(network, signed) == (409, "older_generation")
    site = world.data / "policy.yaml"
    again = seal("policy", base64.b64decode(network.get("/policy/draft")["body"]), [world.policy_key])
    site.write_text(
        site.read_text(encoding="utf-8").replace("mode: observe", "mode: enforce"), encoding="utf-8"
    )
    assert post(network, again) == (409, "stale")
    assert (
        "~ setting media/*: observe, fail open → enforce, fail open" in network.get("/policy/diff")["lines"]
    )


def test_a_draft_fetched_anew_replaces_one_that_was_never_signed(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    old = seal("policy", base64.b64decode(network.get("/policy/draft")["body"]), [world.policy_key])
    world.now_us += 2 * HOUR
    new = network.get("/policy/draft")
    assert new["body"] != base64.b64encode(old.body).decode()
    assert post(network, old) == (409, "stale")


def test_errors_of_the_site_file_come_with_line_and_hint(sign_in: SignIn, world: World) -> None:
    site = world.data / "policy.yaml"
    site.write_text(
        site.read_text(encoding="utf-8").replace("10.2.0.0/16]", "10.2.0.1/16]"), encoding="utf-8"
    )
    answer = sign_in("network_admin").call("GET", "/policy/diff")
    assert (answer.status_code, answer.json()["name"]) == (422, "bad_site_file")
    assert answer.json()["detail"].startswith("policy.yaml:")


def test_a_permit_is_granted_released_revoked_and_gone(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    granted = network.post("/permits", application(scope={"agents": ["zeimu-01"]}))
    permit = granted["permit"]
    assert (granted["release_due"], permit["state"], permit["scope"]) == (True, "granted", {"agents": [PC1]})
    release(network, world)
    body = base64.b64decode(network.get("/policy/document")["document"]["body"])
    assert [one.id for one in read_bundle(body).permits] == [permit["id"]]
    revoked = network.post(f"/permits/{permit['id']}/revoke", {"reason": "紛失"})
    assert revoked["permit"]["state"] == "revoked"
    assert network.get("/policy/diff")["lines"][0].startswith(f"- permit {permit['id']}")
    assert network.get("/permits", only="granted") == []
    assert network.refused("POST", f"/permits/{permit['id']}/revoke", {"reason": "x"}) == (
        409,
        "already_there",
    )


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"approver": "tanaka"}, 403, "self_approval"),
        ({"approver": "nobody"}, 404, "not_found"),
        ({"article": "第999条"}, 422, "unknown_article"),
        ({"subject": {"vendor_id": "0781"}}, 422, "subject_unspecific"),
        ({"until_us": START}, 422, "empty_period"),
        ({"scope": {"agents": ["nobody"]}}, 404, "not_found"),
        ({"kind": "car"}, 400, "bad_request"),
        ({"reason": ""}, 400, "bad_request"),
        ({"more": 1}, 400, "bad_request"),
    ],
)
def test_a_permit_that_may_not_be_is_refused_by_name(
    sign_in: SignIn, changes: dict[str, Any], status: int, name: str
) -> None:
    assert sign_in("network_admin").refused("POST", "/permits", application(**changes)) == (status, name)


def test_a_section_head_permits_for_the_own_section_only(sign_in: SignIn, world: World) -> None:
    head, network = sign_in("section_head"), sign_in("network_admin")
    assert head.refused("POST", "/permits", application()) == (403, "forbidden")
    assert head.refused("POST", "/permits", application(approver="mori", scope={"sections": [TAX]}))[0] == 403
    mine = head.post("/permits", application(scope={"sections": [TAX]}))["permit"]["id"]
    other = network.post("/permits", application(applicant="mori", subject={"device_id": "d-2"}))["permit"][
        "id"
    ]
    assert [permit["id"] for permit in head.get("/permits")] == [mine]
    assert head.refused("POST", f"/permits/{other}/revoke", {"reason": "x"}) == (404, "not_found")


def test_assets_and_people_are_registered(sign_in: SignIn, world: World) -> None:
    it = sign_in("it_staff")
    assert it.post("/people", {"id": "abe", "name": "安部", "section": TAX})["active"]
    assert it.refused("POST", "/people", {"id": "abe", "name": "x"}) == (409, "already_there")
    body = {
        "id": "A-1",
        "kind": "device",
        "subject": {"serial": "S1", "vendor_id": "0781", "product_id": "5581"},
    }
    assert it.post("/assets", body)["created_by"] == "it_staff"
    assert it.refused("POST", "/assets", {**body, "id": "A-2", "subject": {}}) == (422, "bad_value")
    assert [asset["id"] for asset in it.get("/assets")] == ["A-1"]
    lines = sign_in("ciso").get("/policy/diff")["lines"]
    assert "+ device vendor_id=0781 product_id=5581 serial=S1: of the city" in lines
