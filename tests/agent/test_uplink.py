"""The uplink against a real ROUTER with CURVE on loopback: order, resend, window, refusals, policy, trust, orders."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.enrolment import enrol
from agent.identity import Identity, Target
from agent.lanes import MISSED, RESEND_S, WINDOW, ControlLane, DataLane
from agent.outbox import Outbox
from agent.reports import DataFlows, LinkChanged, OrderArrived, PolicyArrived, Refused, Report, TrustChanged
from agent.spool import Spool
from agent.uplink import Uplink
from policies.bundle import seal_bundle
from policies.model import Bundle
from protocol.events import ConnectionOpened, DeviceBlocked
from protocol.keys import fingerprint, new_sign_pair, verify
from protocol.messages import (
    ZERO_DIGEST,
    Batch,
    BatchAck,
    Heartbeat,
    HeartbeatReply,
    Message,
    OrderDelivery,
    OrderResult,
    PolicyBundle,
    PolicyFetch,
    Refusal,
    RetryAfter,
    TrustUpdate,
    batch_digest,
)
from protocol.signed import Signed, signing_input
from protocol.trust import sign_root
from tests.agent.collector_double import Collector, running, until

BEAT = Heartbeat(time_us=0, instance="i", machine_id="m")


def bundle(generation: int, **changes: Any) -> Bundle:
    values: dict[str, Any] = {
        "city": "testcity",
        "generation": generation,
        "issued_us": 0,
        "expires_us": 4_000_000_000 * 1_000_000,
        "ordinances": (),
        "rules": (),
        "permits": (),
        "zones": (),
        "settings": {},
    }
    return Bundle(**{**values, **changes})


class Station:
    """An enrolled PC with spool and uplink, and everything the main thread was told."""

    def __init__(self, state: Path, collector: Collector) -> None:
        self.collector = collector
        self.identity = Identity.load_or_make(state)
        target = Target(collector.city.curve.public, fingerprint(collector.city.root.public))
        enrol(self.identity, target, address="127.0.0.1", port=collector.ports["enrol"])
        self.spool = Spool(state / "spool.db")
        self.reports: list[Report] = []
        self.start()

    def start(self, interval_s: float = 0.1) -> None:
        sign = self.identity.keys.sign.sign
        outbox = Outbox(self.spool.file, lambda digest: sign(signing_input("batch", digest)))
        self.uplink = Uplink(self.identity, outbox, BEAT, interval_s=interval_s)
        self.spool.wake = self.uplink.wake
        self.uplink.start()

    def write(self, count: int) -> None:
        for at in range(count):
            self.spool.append(ConnectionOpened(time_us=at))
        self.spool.flush()

    def told(self, kind: type[Any], condition: Callable[[Any], bool] = lambda _: True) -> Any:
        def found() -> Any:
            self.reports += self.uplink.inbox.take()
            return next((one for one in self.reports if isinstance(one, kind) and condition(one)), None)

        return until(found)

    def drained(self) -> None:
        until(lambda: self.spool.depth == 0)

    def close(self) -> None:
        self.uplink.stop()
        self.spool.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running() as one:
        yield one


@pytest.fixture
def station(collector: Collector, tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path, collector)
    try:
        yield station
    finally:
        station.close()


def check_chain(batches: list[Batch], key: bytes) -> list[int]:
    """Each number once, in order, chained and signed; repeated batches must be the same to the byte."""
    unique: dict[int, Batch] = {}
    for batch in batches:
        assert unique.setdefault(batch.first_seq, batch) == batch
    previous: bytes = ZERO_DIGEST
    numbers: list[int] = []
    for batch in unique.values():
        assert batch.prev_digest == previous
        assert batch.digest == batch_digest(batch.first_seq, batch.count, previous, batch.body)
        assert verify(key, signing_input("batch", batch.digest), batch.signature)
        previous = batch.digest
        numbers += range(batch.first_seq, batch.first_seq + batch.count)
    return numbers


def test_events_arrive_in_order_signed_and_chained(station: Station, collector: Collector) -> None:
    station.write(1000)
    station.drained()
    numbers = check_chain(collector.of(Batch), station.identity.keys.sign.public)
    assert numbers == list(range(1, 1001))
    assert station.spool.file.acknowledged == 1000


def test_an_urgent_event_is_on_its_way_at_once(station: Station, collector: Collector) -> None:
    station.told(LinkChanged)
    station.spool.append(DeviceBlocked(time_us=1))
    (batch,) = collector.wait_for(Batch)
    assert batch.count == 1


def test_collector_away_and_back_drains_in_order(station: Station, collector: Collector) -> None:
    station.write(300)
    station.drained()
    collector.stop()
    station.told(LinkChanged, lambda one: not one.up)
    station.write(2500)
    collector.start()
    station.drained()
    assert check_chain(collector.of(Batch), station.identity.keys.sign.public) == list(range(1, 2801))


def test_what_was_not_acknowledged_is_sent_again_unchanged_after_a_restart(
    station: Station, collector: Collector
) -> None:
    collector.answers[Batch] = lambda _: []
    station.write(500)
    collector.wait_for(Batch, 1)
    station.uplink.stop()
    del collector.answers[Batch]
    station.start()
    station.write(10)
    station.drained()
    assert check_chain(collector.of(Batch), station.identity.keys.sign.public) == list(range(1, 511))


def test_window_is_limited(station: Station, collector: Collector) -> None:
    collector.answers[Batch] = lambda _: []
    station.write(200 * (WINDOW + 4))
    collector.wait_for(Batch, WINDOW)
    station.write(1)
    beats = len(collector.of(Heartbeat))
    collector.wait_for(Heartbeat, beats + 2)
    assert len(collector.of(Batch)) == WINDOW


def test_retry_after_is_honoured(station: Station, collector: Collector) -> None:
    answers: list[Message | bytes] = [RetryAfter(ms=300, seq=0)]
    collector.answers[Batch] = lambda batch: (
        [answers.pop()] if answers else [BatchAck(seq=batch.first_seq + batch.count - 1)]
    )
    station.write(10)
    station.drained()
    first, second = collector.of(Batch)
    assert first == second


def test_refused_batch_is_a_named_report_and_a_fork_ends_sending(
    station: Station, collector: Collector
) -> None:
    collector.answers[Batch] = lambda batch: [Refusal(name="forked_batch", first_seq=batch.first_seq)]
    station.write(1)
    assert station.told(Refused).name == "forked_batch"
    del collector.answers[Batch]
    station.write(1)
    beats = len(collector.of(Heartbeat))
    collector.wait_for(Heartbeat, beats + 3)
    assert len(collector.of(Batch)) == 1
    assert station.spool.depth == 2


def test_acknowledging_what_was_never_sent_is_refused(station: Station, collector: Collector) -> None:
    collector.answers[Batch] = lambda _: [BatchAck(seq=1_000_000)]
    station.write(5)
    assert station.told(Refused).name == "foreign"
    assert station.spool.depth == 5


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b"", "truncated"),
        (b"\xc1", "truncated"),
        (b"\x81\xa4type\xa5batch", "wrong_tag"),
        (b"\x81\xa4type\xa4nope", "wrong_tag"),
        (b"\x82\xa4type\xaeheartbeat_reply\xa7time_us\xa1x", "wrong_type"),
        (b"\x83\xa4type\xafheartbeat_reply\xa7time_us\x01\xa7version\x63", "version"),
        (b"\x82\xa4type\xafheartbeat_reply\xa7time_us\x01" + b"\xc0" * (17 << 20), "oversized"),
    ],
)
def test_bad_frames_are_refused_by_name(
    station: Station, collector: Collector, frame: bytes, name: str
) -> None:
    station.told(LinkChanged)
    collector.push("control", frame)
    report = station.told(Refused)
    assert (report.what, report.name) in {("frame", name), ("frame", "wrong_tag")}
    station.write(3)
    station.drained()


def test_a_key_that_is_not_admitted_is_told(collector: Collector, tmp_path: Path) -> None:
    identity = Identity.load_or_make(tmp_path)
    collector.denied.add(identity.keys.curve.public)
    collector.denied.clear()
    station = Station(tmp_path, collector)
    station.uplink.stop()
    collector.denied.add(station.identity.keys.curve.public)
    station.start()
    assert station.told(Refused).name == "unknown_key"
    station.close()


# -- policy, trust, orders ---------------------------------------------------------------------------------------------


def test_newer_policy_is_fetched_and_verified(station: Station, collector: Collector) -> None:
    collector.bundle = seal_bundle(bundle(7), [collector.city.policy])
    collector.generation = 7
    arrived = station.told(PolicyArrived)
    assert arrived.view.generation == 7
    assert arrived.document == collector.bundle
    assert collector.of(PolicyFetch)[0].have == 0


def refused_bundles(collector: Collector) -> list[tuple[str, Signed]]:
    good = seal_bundle(bundle(9), [collector.city.policy])
    return [
        ("unsigned", Signed(good.body)),
        ("foreign", seal_bundle(bundle(9), [new_sign_pair()])),
        ("foreign", seal_bundle(bundle(9, city="elsewhere"), [collector.city.policy])),
        ("bad_signature", msgspec.structs.replace(good, body=good.body + b"x")),
        ("expired", seal_bundle(bundle(9, expires_us=1), [collector.city.policy])),
        ("older_generation", seal_bundle(bundle(6), [collector.city.policy])),
    ]


@pytest.mark.parametrize("case", range(6))
def test_bad_policy_is_refused_by_name(station: Station, collector: Collector, case: int) -> None:
    collector.bundle = seal_bundle(bundle(7), [collector.city.policy])
    collector.generation = 7
    station.told(PolicyArrived)
    name, document = refused_bundles(collector)[case]
    collector.push(
        "control", PolicyBundle(generation=6 if name == "older_generation" else 9, document=document)
    )
    assert station.told(Refused).name == name
    assert not [one for one in station.reports if isinstance(one, PolicyArrived) and one.view.generation != 7]


def test_orders_reach_the_main_thread_and_results_the_collector(
    station: Station, collector: Collector
) -> None:
    station.told(LinkChanged)
    document = Signed(b"order body")
    collector.push("control", OrderDelivery(document=document))
    assert station.told(OrderArrived).document == document
    result = OrderResult(order_id="o1", state="verified")
    station.uplink.say(result)
    assert collector.wait_for(OrderResult) == [result]


def test_a_result_is_told_again_when_the_collector_was_away(station: Station, collector: Collector) -> None:
    station.told(LinkChanged)
    collector.stop()
    station.told(LinkChanged, lambda one: not one.up)
    station.uplink.say(OrderResult(order_id="o2", state="applied"))
    collector.start()
    assert collector.wait_for(OrderResult)[0].order_id == "o2"


def test_trust_update_is_kept_and_the_connection_follows(station: Station, collector: Collector) -> None:
    station.told(LinkChanged)
    new = collector.city.trust(collector.ports, serial=2, addresses=("127.0.0.2", "127.0.0.1"))
    collector.push("control", TrustUpdate(document=sign_root(new, new_sign_pair())))
    assert station.told(Refused).name == "foreign"
    collector.push("control", TrustUpdate(document=sign_root(new, collector.city.root)))
    assert station.told(TrustChanged).root == new
    assert Identity.load(station.identity.state).root == new
    station.write(3)
    station.drained()


class Wire(list[Message]):
    """Takes everything a lane sends."""

    def send(self, message: Message) -> bool:
        self.append(message)
        return True


# -- the lanes by themselves -------------------------------------------------------------------------------------------


def test_unanswered_batches_are_sent_again_after_the_timeout(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for at in range(500):
        spool.append(ConnectionOpened(time_us=at))
    spool.flush()
    sent = Wire()
    lane = DataLane(Outbox(spool.file, lambda digest: digest * 2), sent.send)
    lane.pump(0)
    lane.pump(0.1)
    first = list(sent)
    assert len(first) == 3
    lane.pump(RESEND_S - 0.1)
    assert sent == first
    lane.pump(RESEND_S + 0.2)
    assert sent == first * 2
    assert lane.timeouts == 1
    lane.handle(BatchAck(seq=400), RESEND_S + 1)
    assert lane.timeouts == 0
    assert spool.depth == 100
    spool.close()


def test_poison_batch_is_tried_again_later_and_the_recovery_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.append(DeviceBlocked(time_us=1))
    sent = Wire()
    lane = DataLane(Outbox(spool.file, lambda digest: digest * 2), sent.send)
    lane.pump(0)
    assert isinstance(lane.handle(Refusal(name="bad_event", first_seq=1), 1), Refused)
    lane.pump(2)
    assert len(sent) == 1
    due = lane.due_s()
    assert due is not None
    lane.pump(due)
    assert len(sent) == 2
    assert isinstance(lane.handle(BatchAck(seq=1), due), DataFlows)
    spool.close()


def test_three_missed_heartbeats_give_the_connection_up() -> None:
    sent = Wire()
    lane = ControlLane(lambda: BEAT, sent.send, interval_s=10)
    lane.reset(0)
    now = 0.0
    assert lane.pump(now)
    beats = 1
    while lane.pump(now := lane.due_s()):
        beats += 1
    assert beats == MISSED
    assert 8 * MISSED <= now <= 12 * MISSED
    lane.reset(now)
    lane.pump(now)
    lane.answered(HeartbeatReply(time_us=1, policy_generation=0))
    assert lane.missed == 0


def test_a_result_is_repeated_until_a_later_heartbeat_was_answered() -> None:
    sent = Wire()
    lane = ControlLane(lambda: BEAT, sent.send, interval_s=10)
    lane.reset(0)
    lane.pump(0)
    result = OrderResult(order_id="o", state="applied")
    lane.say(result)
    lane.pump(0.1)
    lane.answered(HeartbeatReply(time_us=1))  # to the heartbeat before the result
    lane.lost()
    lane.reset(1)
    lane.pump(1)
    assert sent.count(result) == 2
    lane.answered(HeartbeatReply(time_us=2))
    lane.lost()
    lane.reset(2)
    lane.pump(2)
    assert sent.count(result) == 2
