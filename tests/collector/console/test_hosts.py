from collections.abc import Callable

import pytest
import zmq

from collector import bus
from tests.collector.console.world import PC1, PC2, PC3, SECOND, Caller, World, release

SignIn = Callable[[str | None], Caller]


def test_the_list_says_what_each_pc_measures(sign_in: SignIn, world: World) -> None:
    hosts = {host["hostname"]: host for host in sign_in("it_staff").get("/hosts")}
    assert list(hosts) == ["clone-pc", "fukushi-01", "new-pc", "zeimu-01"]
    tax = hosts["zeimu-01"]
    assert (tax["online"], tax["isolation"], tax["controls"]["execution"]) == (True, "free", "unsupported")
    assert (hosts["new-pc"]["status"], hosts["new-pc"]["online"]) == ("pending", False)
    world.now_us += 36 * SECOND
    assert not sign_in("it_staff").get(f"/hosts/{PC1}")["online"]


@pytest.mark.parametrize("wanted", [PC1, PC1[:5], "zeimu-01", "ZEIMU-01"])
def test_a_pc_is_found_by_name_or_fingerprint(sign_in: SignIn, wanted: str) -> None:
    assert sign_in("it_staff").get(f"/hosts/{wanted}")["id"] == PC1


@pytest.mark.parametrize(
    ("wanted", "status", "name"),
    [("aaa", 404, "not_found"), ("zeimu", 404, "not_found"), ("nobody", 404, "not_found")],
)
def test_a_pc_is_never_guessed(sign_in: SignIn, wanted: str, status: int, name: str) -> None:
    assert sign_in("it_staff").refused("GET", f"/hosts/{wanted}") == (status, name)


def test_two_pcs_of_one_name_are_refused_as_ambiguous(sign_in: SignIn, world: World) -> None:
    with world.console.store.write() as session:
        session.add(world._agent("aaaa" + "7" * 28, "zeimu-02", "税務課", "active"))
        session.add(world._agent("eeee" + "7" * 28, "zeimu-01", "税務課", "active"))
    answer = sign_in("it_staff").call("GET", "/hosts/aaaa")
    assert (answer.status_code, answer.json()["name"]) == (422, "bad_value")
    assert "zeimu-02" in answer.json()["detail"]
    assert sign_in("it_staff").refused("GET", "/hosts/zeimu-01") == (422, "bad_value")
    assert sign_in("it_staff").get("/hosts/aaaa2")["id"] == PC1


def test_approving_releasing_and_revoking_poke_the_gateway(sign_in: SignIn, world: World) -> None:
    it = sign_in("it_staff")
    context = zmq.Context[zmq.Socket[bytes]]()
    inlet = bus.inlet(context, world.data / "run", "gateway")
    try:
        assert it.post("/hosts/new-pc/approve", {"reason": "指紋を確かめた"})["status"] == "active"
        assert it.post("/hosts/clone-pc/release-quarantine", {})["status"] == "active"
        assert it.post(f"/hosts/{PC3}/revoke", {"reason": "廃棄"})["status"] == "revoked"
        pokes = [inlet.recv() for _ in range(3) if inlet.poll(5000)]
        assert pokes == [b"agents"] * 3
    finally:
        inlet.close()
        context.term()
    assert it.refused("POST", f"/hosts/{PC3}/approve", {}) == (409, "wrong_state")
    assert it.refused("POST", f"/hosts/{PC1}/approve", {}) == (409, "wrong_state")
    assert it.refused("POST", f"/hosts/{PC1}/revoke", {}) == (400, "bad_request")
    (line,) = [entry for entry in sign_in("auditor").get("/audit") if entry["path"].endswith(f"{PC3}/revoke")]
    assert (line["reason"], line["detail"]["host"]) == ("廃棄", PC3)


def test_a_place_must_exist_and_waits_for_a_release(sign_in: SignIn, world: World) -> None:
    it, network = sign_in("it_staff"), sign_in("network_admin")
    assert release(network, world).status_code == 201
    assert not it.get("/policy/current")["due"]
    moved = it.post(f"/hosts/{PC2}/assign", {"zone": "mynumber", "section": "福祉課"})
    assert (moved["zone"], moved["policy_current"]) == ("mynumber", False)
    assert it.get("/policy/current")["due"]
    answer = it.call("POST", f"/hosts/{PC2}/assign", {"zone": "nowhere"})
    assert (answer.status_code, answer.json()["name"]) == (422, "bad_value")
    assert "mynumber, lgwan, internet" in answer.json()["hint"]
