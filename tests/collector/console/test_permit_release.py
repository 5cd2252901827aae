"""Permits on their way to the PCs: alone, at once, and nothing that was not due."""

import base64
from collections.abc import Callable

import httpx
import msgspec

from collector.desk.bundles import read_bundle
from collector.registers.releases import set_ring
from policies.model import Bundle
from protocol.keys import SignPair, new_sign_pair
from protocol.signed import Signed, seal
from tests.collector.console.test_policy import application as permit_of
from tests.collector.console.world import PC2, Caller, World

SignIn = Callable[[str | None], Caller]
MINUTE = 60_000_000


def sign_permits(
    caller: Caller, world: World, extent: str = "all", *, key: SignPair | None = None
) -> httpx.Response:
    """Fetch what is due, sign it, post it."""
    due = caller.get("/policy/permits", extent=extent)
    documents = [seal("policy", base64.b64decode(one["body"]), [key or world.policy_key]) for one in due]
    return caller.call(
        "POST", "/policy/permits", {"documents": documents, "reason": "test", "extent": extent}
    )


def first_release(caller: Caller, world: World, ring: str = "") -> None:
    body = base64.b64decode(caller.get("/policy/draft")["body"])
    posting = {
        "document": seal("policy", body, [world.policy_key]),
        "reason": "x",
        "without_backtest": "test",
        "ring": ring,
    }
    answer = caller.call("POST", "/policy/releases", posting)
    assert answer.is_success, answer.text


def in_force(caller: Caller) -> Bundle:
    return read_bundle(msgspec.convert(caller.get("/policy/document")["document"], Signed).body)


def test_a_revocation_goes_out_alone_whatever_else_waits(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    doomed = network.post("/permits", permit_of())["permit"]["id"]
    kept = network.post("/permits", permit_of(subject={"device_id": "d-2"}))["permit"]["id"]
    first_release(network, world)
    before = in_force(network)
    network.post("/permits", permit_of(subject={"device_id": "d-3"}))
    (world.data / "policy.yaml").write_text("this is: [no site file", encoding="utf-8")
    assert network.get("/policy/permits", extent="revoked") == []
    network.post(f"/permits/{doomed}/revoke", {"reason": "紛失"})
    world.now_us += 1000
    answer = sign_permits(network, world, "revoked")
    assert answer.status_code == 201
    after = in_force(network)
    assert {one.id for one in before.permits} == {doomed, kept}
    assert {one.id for one in after.permits} == {kept}
    assert (after.generation, after.expires_us, after.rules) == (2, before.expires_us, before.rules)
    assert network.get("/policy/permits", extent="revoked") == []


def test_granted_permits_go_out_without_the_rest_of_a_draft(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    assert network.get("/policy/permits") == []
    first_release(network, world)
    network.get("/policy/draft")
    site = world.data / "policy.yaml"
    site.write_text(
        site.read_text(encoding="utf-8").replace("mode: observe", "mode: enforce"), encoding="utf-8"
    )
    granted = network.post("/permits", permit_of())["permit"]["id"]
    network.get("/policy/draft")
    assert sign_permits(network, world).status_code == 201
    after = in_force(network)
    assert [one.id for one in after.permits] == [granted]
    assert network.get("/policy/permits") == []
    lines = network.get("/policy/diff")["lines"]
    assert lines
    assert not any("permit" in line for line in lines)


def test_a_ring_keeps_what_it_tries_out(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    doomed = network.post("/permits", permit_of())["permit"]["id"]
    first_release(network, world)
    with world.console.store.write() as session:
        set_ring(session, "pilot", [PC2])
    site = world.data / "policy.yaml"
    site.write_text(
        site.read_text(encoding="utf-8").replace("mode: observe", "mode: enforce"), encoding="utf-8"
    )
    first_release(network, world, "pilot")
    network.post(f"/permits/{doomed}/revoke", {"reason": "紛失"})
    released = sign_permits(network, world, "revoked")
    assert [(one["generation"], one["ring"]) for one in released.json()] == [(3, ""), (4, "pilot")]


def test_what_was_signed_must_be_what_is_due(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    first_release(network, world)
    network.post("/permits", permit_of())
    (due,) = network.get("/policy/permits")

    def post(body: bytes, key: SignPair = world.policy_key, extent: str = "all") -> tuple[int, str]:
        documents = [seal("policy", body, [key])]
        posting = {"documents": documents, "reason": "x", "extent": extent}
        return network.refused("POST", "/policy/permits", posting)

    body = base64.b64decode(due["body"])
    assert post(body, new_sign_pair()) == (403, "foreign")
    assert post(body, extent="revoked") == (409, "stale")
    assert post(msgspec.convert(due["base"], Signed).body) == (409, "older_generation")
    network.post("/permits", permit_of(subject={"device_id": "d-2"}))
    assert post(body) == (409, "stale")
    empty = {"documents": [], "reason": "x"}
    assert network.refused("POST", "/policy/permits", empty) == (409, "stale")
    assert len(in_force(network).permits) == 0


def test_contractors_go_into_the_policy_and_end_with_a_revocation(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    first_release(network, world)
    hired = permit_of(
        kind="contractor", subject={"account": "ext1"}, article="第32条の2",
        contract={"number": "R8-12", "supervisor": "kato"},
    )  # fmt: skip
    row = network.post("/permits", hired)["permit"]
    assert sign_permits(network, world).status_code == 201
    (account,) = [one for one in in_force(network).accounts if one.user == "ext1"]
    assert (account.kind, account.contract, account.until_us) == ("contractor", "R8-12", row["until_us"])
    assert not any("account" in line for line in network.get("/policy/diff")["lines"])
    world.now_us += MINUTE
    network.post(f"/permits/{row['id']}/revoke", {"reason": "解約"})
    assert sign_permits(network, world, "revoked").status_code == 201
    (account,) = [one for one in in_force(network).accounts if one.user == "ext1"]
    assert account.until_us == world.now_us
    assert not any("account" in line for line in network.get("/policy/diff")["lines"])
