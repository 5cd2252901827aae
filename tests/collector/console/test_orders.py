import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from litestar.testing import TestClient

from collector import bus
from collector.registers.models import Agent, OrderRow
from protocol.events import ConnectionOpened
from protocol.keys import new_sign_pair
from protocol.orders import Ground
from protocol.signed import Signed, seal
from tests.collector.console.world import PC1, PC2, PC3, SECOND, TAX, Caller, World, release

SignIn = Callable[[str | None], Caller]


def refused(caller: Caller, document: Signed) -> tuple[int, str]:
    return caller.refused("POST", "/orders", {"document": document})


def test_a_signed_order_becomes_desired_and_pokes_the_gateway(sign_in: SignIn, world: World) -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    inlet = bus.inlet(context, world.data / "run", "gateway")
    try:
        order = sign_in("ciso").post("/orders", {"document": world.order()})
        assert inlet.poll(5000)
        assert inlet.recv() == b"orders"
    finally:
        inlet.close()
        context.term()
    assert (order["state"], order["hostname"], order["warnings"], order["posted_by"]) == (
        "desired",
        "zeimu-01",
        [],
        "ciso",
    )
    with world.console.store.read() as session:
        row = session.get_one(OrderRow, order["id"])
        assert msgspec.msgpack.decode(row.document, type=Signed).signatures
    (line,) = [entry for entry in sign_in("auditor").get("/audit") if entry["path"].endswith("/orders")]
    assert (line["reason"], line["detail"]["host"], line["detail"]["kind"]) == ("不審な通信", PC1, "isolate")


def test_a_wrong_order_is_refused_by_name(sign_in: SignIn, world: World) -> None:
    ciso, good = sign_in("ciso"), world.order()
    assert refused(ciso, Signed(good.body)) == (403, "unsigned")
    assert refused(ciso, world.order(pairs=(new_sign_pair(),))) == (403, "foreign")
    assert refused(ciso, world.order(pairs=(world.policy_key,))) == (403, "foreign")
    assert refused(ciso, seal("policy", good.body, [world.ciso_key])) == (403, "bad_signature")
    assert refused(ciso, Signed(good.body + b"x", good.signatures)) == (403, "bad_signature")
    changed = msgspec.msgpack.encode({**msgspec.msgpack.decode(good.body), "target": PC2})
    assert refused(ciso, Signed(changed, good.signatures)) == (403, "bad_signature")
    assert refused(ciso, seal("order", b"\xc0", [world.ciso_key])) == (422, "malformed_body")
    assert ciso.get("/orders") == []


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"city": "他市"}, 403, "foreign"),
        ({"target": "x" * 32}, 404, "not_found"),
        ({"target": PC3}, 422, "wrong_target"),
        ({"valid_until_us": 1}, 409, "stale"),
        ({"ground": Ground("nagoya", " ")}, 422, "bad_value"),
        ({"ground": Ground("", "第58条")}, 422, "bad_value"),
        ({"reason": ""}, 422, "bad_value"),
        ({"expires_us": 1}, 422, "bad_value"),
        ({"release_hash": b""}, 422, "bad_value"),
        ({"order_id": "x" * 65}, 422, "bad_value"),
        ({"incident": "x" * 65}, 422, "bad_value"),
        ({"kind": "restore", "restores": "none"}, 404, "not_found"),
    ],
)
def test_an_order_that_says_something_wrong(
    sign_in: SignIn, world: World, changes: dict[str, Any], status: int, name: str
) -> None:
    assert refused(sign_in("ciso"), world.order(**changes)) == (status, name)


def test_an_order_is_taken_once(sign_in: SignIn, world: World) -> None:
    ciso, order = sign_in("ciso"), world.order()
    ciso.post("/orders", {"document": order})
    assert refused(ciso, order) == (409, "replayed")


@pytest.mark.parametrize(
    ("ground", "warning"),
    [
        (Ground("nagoya", "第35条第4号"), ""),
        (Ground("nagoya", "第35条"), ""),
        (Ground("nagoya", "第999条"), "ground_unknown_article"),
        (Ground("elsewhere", "第1条"), "ground_unknown_ordinance"),
    ],
)
def test_an_odd_ground_warns_and_never_stops_a_cut(
    sign_in: SignIn, world: World, ground: Ground, warning: str
) -> None:
    warnings = sign_in("ciso").post("/orders", {"document": world.order(ground=ground)})["warnings"]
    assert [text.partition(":")[0] for text in warnings] == ([warning] if warning else [])


def test_the_state_is_measured(sign_in: SignIn, world: World) -> None:
    ciso = sign_in("ciso")
    number = ciso.post("/orders", {"document": world.order()})["id"]
    path = f"/orders/{number}"
    assert ciso.get(path)["state"] == "desired"
    world.result(number, "sent")
    assert ciso.get(path)["state"] == "sent"
    world.now_us += 10 * SECOND
    late = ciso.get(path)
    assert (late["state"], late["recorded"]) == ("unreachable", "sent")
    assert ciso.get("/hosts/zeimu-01")["order_state"] == "unreachable"
    world.result(number, "verified", must_succeed=True, must_fail=True, latency_us=4200)
    done = ciso.get(path, wait_s=20)
    assert (done["state"], done["result"]["must_fail"]) == ("verified", True)
    assert sign_in("section_head").get(path)["id"] == number


def test_a_long_poll_follows_each_step(sign_in: SignIn, world: World) -> None:
    ciso = sign_in("ciso")
    number = ciso.post("/orders", {"document": world.order()})["id"]
    seen: list[str] = []

    def follow() -> None:
        state = "desired"
        while state != "verified":
            state = ciso.get(f"/orders/{number}", wait_s=20, unless=state)["state"]
            seen.append(state)

    watcher = threading.Thread(target=follow)
    watcher.start()
    for count, state in enumerate(["sent", "applied", "verified"], 1):
        world.result(number, state)
        for _ in range(200):
            if len(seen) >= count:
                break
            watcher.join(0.05)
    watcher.join(10)
    assert seen == ["sent", "applied", "verified"]


def test_another_sections_order_does_not_exist_for_a_section_head(sign_in: SignIn, world: World) -> None:
    number = sign_in("ciso").post("/orders", {"document": world.order(PC2)})["id"]
    head = sign_in("section_head")
    assert head.get("/orders") == []
    assert head.refused("GET", f"/orders/{number}") == (404, "not_found")


def test_the_blast_radius(sign_in: SignIn, world: World) -> None:
    ciso = sign_in("ciso")
    before = ciso.get("/orders/preview", target="zeimu-01")
    radius = before["radius"]
    assert (radius["section"], radius["people"], radius["section_hosts"]) == (TAX, ["加藤", "田中"], 0)
    assert (radius["stops"], radius["keeps"]) == (["everything but the collector"], ["192.0.2.1"])
    assert radius["recent"] == {"connections": 0, "destinations": []}
    world.journal(
        PC1,
        *(ConnectionOpened(time_us=world.now_us - n, dest_ip="10.2.0.9", dest_port=443) for n in range(3)),
        ConnectionOpened(time_us=world.now_us - 4000 * SECOND, dest_ip="10.2.0.8", dest_port=1),
    )
    recent = ciso.get("/orders/preview", target="zeimu-01")["radius"]["recent"]
    assert recent == {"connections": 3, "destinations": ["10.2.0.9:443 ×3"]}
    assert (before["standing"], before["order_signatures"]) == ("", 1)
    assert {signer["role"] for signer in before["signers"]} == {"ciso", "deputy"}
    release(sign_in("network_admin"), world)
    assert ciso.get("/orders/preview", target="zeimu-01")["radius"]["stops"] == ["lgwan (10.2.0.0/16)"]
    assert ciso.refused("GET", "/orders/preview") == (400, "bad_request")
    assert ciso.refused("GET", "/orders/preview", target="nobody") == (404, "not_found")


def test_restoring_names_the_standing_isolation(sign_in: SignIn, world: World) -> None:
    ciso = sign_in("ciso")
    cut = ciso.post("/orders", {"document": world.order()})["id"]
    assert ciso.get("/orders/preview", target=PC1)["standing"] == cut
    assert refused(ciso, world.order(PC2, "restore", restores=cut)) == (422, "wrong_target")
    world.now_us += SECOND
    restored = ciso.post("/orders", {"document": world.order(PC1, "restore", restores=cut)})["id"]
    assert ciso.get("/orders/preview", target=PC1)["standing"] == ""
    assert [order["id"] for order in ciso.get("/orders", host="zeimu-01")] == [restored, cut]
    world.result(restored, "failed")
    assert ciso.get("/orders/preview", target=PC1)["standing"] == cut


def test_a_quarantined_pc_can_be_isolated_and_a_revoked_one_not(sign_in: SignIn, world: World) -> None:
    ciso = sign_in("ciso")
    clone = ciso.get("/hosts/clone-pc")["id"]
    ciso.post("/orders", {"document": world.order(clone)})
    with world.console.store.write() as session:
        session.get_one(Agent, PC1).status = "revoked"
    assert refused(ciso, world.order(PC1)) == (422, "wrong_target")


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[World]:
    data = tmp_path / "strict"
    data.mkdir()
    world = World(data, order_signatures=2)
    with TestClient(world.app, raise_server_exceptions=False) as world.client:
        yield world


def test_a_co_signer_is_needed_where_the_trust_root_asks(strict: World) -> None:
    ciso = Caller(strict, "ciso")
    assert refused(ciso, strict.order()) == (403, "role_missing")
    assert refused(ciso, strict.order(pairs=(strict.ciso_key, strict.ciso_key))) == (403, "role_missing")
    assert (
        ciso.post("/orders", {"document": strict.order(pairs=(strict.ciso_key, strict.deputy_key))})["state"]
        == "desired"
    )
