"""The control lane over real sockets: heartbeats, clones, policy, trust, orders."""

import secrets
import time
from collections.abc import Callable

import msgspec
import pytest

from collector.gateway import deliveries
from collector.registers.models import OrderRow, TrustDocument
from collector.registers.store import now_us
from protocol.messages import (
    HeartbeatReply,
    OrderDelivery,
    OrderResult,
    PolicyBundle,
    PolicyFetch,
    Refusal,
    TrustUpdate,
)
from protocol.orders import Ground, Order, sign_order, verify_order
from protocol.trust import TrustRoot, next_root, sign_root
from tests.collector.gateway.pc import PC, City, Running, eventually, findings, running

New = Callable[..., PC]
MINUTE_US = 60_000_000


@pytest.fixture
def pc(gateway: Running, new_pc: New) -> PC:
    return new_pc("kikaku-01").connect(gateway)


# -- heartbeats ------------------------------------------------------------------------------------------------------


def test_what_a_pc_says_of_itself_reaches_the_register(city: City, pc: PC) -> None:
    pc.ask("data", pc.batch(5))
    beat = pc.beat(
        time_us=now_us() + 5 * MINUTE_US,
        policy_generation=3,
        policy_digest="d" * 64,
        spool_depth=7,
        spooled=12,
        dropped=2,
        health=("gate_dead",),
        isolation="isolated",
        isolation_order="o-1",
        controls={"media": "enforce"},
        agent_version="0.1.0",
    )
    reply = pc.ask("control", beat)
    assert isinstance(reply, HeartbeatReply)
    assert abs(reply.time_us - now_us()) < MINUTE_US
    row = eventually(lambda: one if (one := city.agent(pc)).last_seen_us else None)
    assert row.hostname == "kikaku-01"
    assert (row.policy_generation, row.policy_digest) == (3, "d" * 64)
    assert (row.spool_depth, row.spooled, row.stored, row.dropped) == (7, 12, 5, 2)
    assert (row.health, row.controls) == (["gate_dead"], {"media": "enforce"})
    assert (row.isolation, row.isolation_order) == ("isolated", "o-1")
    assert 4 * MINUTE_US < row.skew_us < 6 * MINUTE_US


def test_a_quarantined_pc_is_told_so(city: City, gateway: Running, new_pc: New) -> None:
    pc = new_pc(status="quarantined").connect(gateway, "control")
    refusal = pc.ask("control", pc.beat())
    assert (refusal.name, bool(refusal.hint)) == ("quarantined_key", True)


def test_a_locked_control_database_holds_up_no_batch_and_loses_no_heartbeat(
    city: City, gateway: Running, pc: PC
) -> None:
    with city.store() as store, store.write() as session:
        session.connection()
        pc.ask("control", pc.beat(spooled=77))
        time.sleep(1.2)  # the ledger writes once a second: let it run into the lock
        began = time.monotonic()
        for _ in range(20):
            assert pc.ask("data", pc.batch()).seq
        assert time.monotonic() - began < 2
    eventually(lambda: city.agent(pc).spooled == 77)


# -- clones ----------------------------------------------------------------------------------------------------------


def test_of_two_machines_with_one_key_the_first_stays(city: City, gateway: Running, pc: PC) -> None:
    other = pc.twin("copy", machine_id="another-machine").connect(gateway, source="127.0.0.2")
    pc.ask("control", pc.beat())
    assert pc.ask("data", pc.batch()).seq == 3
    refusal = other.ask("control", other.beat())
    assert isinstance(refusal, Refusal)
    assert refusal.name == "quarantined_key"
    # Neither its batches nor its words about orders are taken; the first goes on.
    assert other.ask("data", other.batch()).name == "quarantined_key"
    other.send("control", OrderResult(order_id="o", state="verified"))
    assert other.ask("control", other.beat()).name == "quarantined_key"
    assert gateway.gateway.stats.counters["order_results"] == 0
    assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)
    assert pc.ask("data", pc.batch()).seq == 6
    (finding,) = eventually(lambda: findings(city, "clone"))
    assert finding.agent_id == pc.id
    assert (finding.detail["hostname"], finding.detail["why"]) == ("copy", "other_machine")
    assert "release-quarantine" in finding.detail["fix_ja"]
    assert "release-quarantine" in finding.detail["fix_en"]
    assert city.agent(pc).status == "active"
    other.close()


def test_two_copies_of_one_image_are_told_apart_by_their_processes(
    city: City, gateway: Running, pc: PC, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.gateway.clones.GRACE_S", 0.0)
    other = pc.twin("copy", instance="second").connect(gateway)
    assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)
    assert isinstance(other.ask("control", other.beat()), HeartbeatReply)  # could be a restart
    assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)  # it was not
    assert other.ask("control", other.beat()).name == "quarantined_key"
    assert eventually(lambda: findings(city, "clone"))[0].detail["why"] == "two_alive"
    other.close()


def test_a_restarted_agent_is_no_clone(city: City, gateway: Running, pc: PC) -> None:
    pc.ask("control", pc.beat())
    for number in range(5):
        pc.instance = f"run-{number}"
        pc.connect(gateway)
        assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)
    assert findings(city) == []


def test_releasing_lets_a_replaced_machine_take_over(city: City, gateway: Running, pc: PC) -> None:
    from collector.gateway.seats import release

    pc.ask("control", pc.beat())
    new = pc.twin("new-box", machine_id="new-machine").connect(gateway)
    assert new.ask("control", new.beat()).name == "quarantined_key"
    pc.close()
    with city.store() as store, store.write() as session:
        release(session, pc.id, now_us())
    eventually(lambda: isinstance(new.ask("control", new.beat()), HeartbeatReply))
    eventually(lambda: city.agent(pc).machine_id == "new-machine")
    new.close()


# -- policy and trust ------------------------------------------------------------------------------------------------


def test_a_release_is_pushed_to_who_is_connected(city: City, gateway: Running, pc: PC) -> None:
    pc.ask("control", pc.beat())
    document = city.release(1, body=bytes(1024 * 1024))
    bundle = pc.expect("control", PolicyBundle)
    assert (bundle.generation, bundle.document) == (1, document)
    # Not again with each heartbeat while the PC still works on it.
    assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)
    assert pc.receive("control", 0.3) is None


def test_a_pc_with_an_older_generation_gets_the_release_with_its_heartbeat(city: City, new_pc: New) -> None:
    city.release(7)
    old, new = new_pc("old"), new_pc("new")
    with running(city) as gateway:
        for one in (old, new):
            one.connect(gateway, "control")
        old.send("control", old.beat(policy_generation=6))
        assert old.expect("control", HeartbeatReply).policy_generation == 7
        assert old.expect("control", PolicyBundle).generation == 7
        assert isinstance(new.ask("control", new.beat(policy_generation=7)), HeartbeatReply)
        assert new.receive("control", 0.3) is None


def test_a_pc_may_fetch(city: City, new_pc: New) -> None:
    city.release(7)
    pc = new_pc()
    with running(city) as gateway:
        pc.connect(gateway, "control")
        pc.send("control", pc.beat(policy_generation=7))
        pc.expect("control", HeartbeatReply)
        assert pc.ask("control", PolicyFetch(have=6)).generation == 7
        assert isinstance(pc.ask("control", PolicyFetch(have=7)), HeartbeatReply)


def test_a_new_trust_root_reaches_every_pc(city: City, gateway: Running, pc: PC) -> None:
    pc.ask("control", pc.beat())
    newer = msgspec.structs.replace(city.trust, serial=2, addresses=("127.0.0.1", "127.0.0.9"))
    document = sign_root(newer, city.root)
    with city.store() as store, store.write() as session:
        session.add(TrustDocument(serial=2, document=msgspec.msgpack.encode(document), created_us=now_us()))
    update = pc.expect("control", TrustUpdate)
    assert isinstance(next_root(city.trust, update.document), TrustRoot)


# -- orders ----------------------------------------------------------------------------------------------------------


def ordered(city: City, pc: PC, *, lapses_in_us: int = 10 * MINUTE_US, state: str = "desired") -> str:
    order = Order(
        order_id=secrets.token_hex(8),
        kind="isolate",
        city=city.trust.city,
        issuer="CISO",
        target=pc.id,
        ground=Ground("nagoya", "第18条"),
        reason="test",
        issued_us=now_us(),
        valid_until_us=now_us() + lapses_in_us,
        nonce=secrets.token_bytes(16),
    )
    with city.store() as store, store.write() as session:
        session.add(
            OrderRow(
                id=order.order_id,
                kind="isolate",
                agent_id=pc.id,
                issuer="CISO",
                ordinance="nagoya",
                article="第18条",
                reason="test",
                document=msgspec.msgpack.encode(sign_order(order, [city.ciso])),
                state=state,
                issued_us=order.issued_us,
                received_us=now_us(),
                posted_by="test",
                result={},
            )
        )
    return order.order_id


def row(city: City, order_id: str) -> OrderRow:
    with city.store() as store, store.read() as session:
        found = session.get(OrderRow, order_id)
    assert found is not None
    return found


def test_an_order_is_delivered_and_its_results_recorded(city: City, gateway: Running, pc: PC) -> None:
    pc.ask("control", pc.beat())
    order_id = ordered(city, pc)
    delivery = pc.expect("control", OrderDelivery)
    assert verify_order(delivery.document, city.trust, target=pc.id, now_us=now_us()).order_id == order_id
    eventually(lambda: row(city, order_id).state == "sent")
    pc.send("control", OrderResult(order_id=order_id, state="applied"))
    eventually(lambda: row(city, order_id).state == "applied")
    proof = OrderResult(
        order_id=order_id,
        state="verified",
        must_succeed=True,
        must_fail=True,
        sockets_destroyed=3,
        latency_us=900,
    )
    pc.send("control", proof)
    found = eventually(lambda: one if (one := row(city, order_id)).state == "verified" else None)
    assert (found.result["must_fail"], found.result["sockets_destroyed"]) == (True, 3)
    assert found.result_us >= found.sent_us > 0
    # What was verified stays verified, whatever comes later.
    pc.send("control", OrderResult(order_id=order_id, state="refused", refusal="replayed"))
    pc.ask("control", pc.beat())
    other = ordered(city, pc)
    pc.send("control", OrderResult(order_id=other, state="failed", detail="no nftables"))
    eventually(lambda: row(city, other).state == "failed")
    assert row(city, order_id).state == "verified"


def test_results_sent_before_the_first_heartbeat_of_a_connection_count(
    city: City, gateway: Running, pc: PC
) -> None:
    """So does an agent after a reconnect; the answered heartbeat tells it that they are safe."""
    pc.ask("control", pc.beat())
    order_id = ordered(city, pc)
    pc.expect("control", OrderDelivery)
    pc.connect(gateway, "control")
    pc.send("control", OrderResult(order_id=order_id, state="verified"))
    pc.send("control", pc.beat())
    pc.expect("control", HeartbeatReply)
    assert row(city, order_id).state == "verified"


def test_a_heartbeat_is_answered_only_when_the_results_before_it_are_durable(
    city: City, gateway: Running, pc: PC
) -> None:
    pc.ask("control", pc.beat())
    order_id = ordered(city, pc)
    pc.expect("control", OrderDelivery)
    eventually(lambda: row(city, order_id).state == "sent")
    with city.store() as store, store.write() as session:
        session.connection()
        pc.send("control", OrderResult(order_id=order_id, state="verified"))
        pc.send("control", pc.beat())
        assert pc.receive("control", 0.5) is None
    assert isinstance(pc.receive("control"), HeartbeatReply)
    assert row(city, order_id).state == "verified"


def test_orders_that_were_pending_at_a_restart_are_delivered(city: City, new_pc: New) -> None:
    pc = new_pc()
    desired, sent, unreachable = (
        ordered(city, pc, state=state) for state in ("desired", "sent", "unreachable")
    )
    done = ordered(city, pc, state="verified")
    with running(city) as gateway:
        pc.connect(gateway, "control")
        pc.send("control", pc.beat())
        got = [pc.expect("control", OrderDelivery) for _ in range(3)]
        ids = [verify_order(one.document, city.trust, target=pc.id, now_us=now_us()).order_id for one in got]
        assert ids == [desired, sent, unreachable]
        assert done not in ids
        assert pc.receive("control", 0.3) is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "UNREACHABLE_S", 0.5)
    monkeypatch.setattr(deliveries, "RESEND_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_an_order_for_an_absent_pc_is_unreachable_until_it_returns(
    city: City, gateway: Running, new_pc: New
) -> None:
    pc = new_pc()
    order_id = ordered(city, pc)
    eventually(lambda: row(city, order_id).state == "unreachable")
    pc.connect(gateway, "control")
    pc.send("control", pc.beat())
    pc.expect("control", OrderDelivery)
    eventually(lambda: row(city, order_id).state == "sent")
    pc.send("control", OrderResult(order_id=order_id, state="verified"))
    eventually(lambda: row(city, order_id).state == "verified")


@pytest.mark.usefixtures("impatient")
def test_an_order_without_a_result_is_sent_again(city: City, gateway: Running, pc: PC) -> None:
    pc.ask("control", pc.beat())
    ordered(city, pc)
    pc.expect("control", OrderDelivery)
    time.sleep(0.3)  # past the time after which it goes out again
    pc.send("control", pc.beat())
    pc.expect("control", OrderDelivery)


@pytest.mark.usefixtures("impatient")
def test_a_lapsed_order_is_no_longer_delivered(city: City, gateway: Running, new_pc: New) -> None:
    pc = new_pc()
    order_id = ordered(city, pc, lapses_in_us=1)
    eventually(lambda: row(city, order_id).state == "unreachable")
    pc.connect(gateway, "control")
    assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)
    assert pc.receive("control", 0.3) is None


def test_nobody_reports_on_an_order_of_somebody_else(
    city: City, gateway: Running, pc: PC, new_pc: New
) -> None:
    liar = new_pc("liar").connect(gateway, "control")
    for one in (pc, liar):
        one.ask("control", one.beat())
    order_id = ordered(city, pc)
    pc.expect("control", OrderDelivery)
    liar.send("control", OrderResult(order_id=order_id, state="verified"))
    eventually(lambda: gateway.refused("control/wrong_target"))
    assert row(city, order_id).state == "sent"
    # It was not taken off the list either: the PC's own word still counts.
    pc.send("control", OrderResult(order_id=order_id, state="applied"))
    eventually(lambda: row(city, order_id).state == "applied")


def test_orders_get_through_while_batches_pour_in(city: City, gateway: Running, pc: PC, new_pc: New) -> None:
    noisy = [new_pc(f"noisy-{number}").connect(gateway, "data") for number in range(4)]
    pc.ask("control", pc.beat())
    body = b"x" * 100_000
    for _ in range(100):
        for one in noisy:
            one.send("data", one.batch(100, body=body))
    began = time.monotonic()
    order_id = ordered(city, pc)
    gateway.poke("orders")
    pc.expect("control", OrderDelivery)
    assert time.monotonic() - began < 2
    assert order_id
