"""The data lane over real sockets: what is stored, what is refused, and what is said about it."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from collector.evidence.files import EPOCH_BITS
from protocol.keys import new_sign_pair
from protocol.messages import ZERO_DIGEST, BatchAck, Refusal, RetryAfter
from tests.collector.gateway.pc import PC, City, Running, eventually, findings, running, sign_batch, stored

New = Callable[..., PC]


@pytest.fixture
def pc(gateway: Running, new_pc: New) -> PC:
    return new_pc().connect(gateway)


def test_many_batches_in_flight_are_all_stored_in_order_and_acknowledged(city: City, pc: PC) -> None:
    for _ in range(100):
        pc.send("data", pc.batch(7))
    while pc.expect("data", BatchAck).seq < 700:
        pass
    assert stored(city, pc) == [(first, 7) for first in range(1, 701, 7)]
    assert findings(city) == []


def test_a_batch_sent_again_is_acknowledged_again_and_stored_once(
    city: City, gateway: Running, pc: PC
) -> None:
    first, second = pc.batch(), pc.batch()
    assert pc.ask("data", first) == BatchAck(seq=3)
    assert pc.ask("data", first) == BatchAck(seq=3)
    assert pc.ask("data", second) == BatchAck(seq=6)
    assert pc.ask("data", first) == BatchAck(seq=6)
    assert stored(city, pc) == [(1, 3), (4, 3)]
    assert gateway.gateway.stats.counters["duplicates"] == 2
    assert findings(city) == []


def test_the_same_batch_twice_in_one_group_is_stored_once(city: City, pc: PC) -> None:
    batch = pc.batch()
    for _ in range(20):
        pc.send("data", batch)
    assert pc.receive("data") == BatchAck(seq=3)
    pc.send("data", pc.batch())
    eventually(lambda: pc.expect("data", BatchAck).seq == 6)
    assert stored(city, pc) == [(1, 3), (4, 3)]


def test_batches_out_of_order_are_asked_for_again_not_taken_for_a_gap(city: City, pc: PC) -> None:
    first, second, third = pc.batch(), pc.batch(), pc.batch()
    assert pc.ask("data", first).seq == 3
    again = pc.ask("data", third)
    assert isinstance(again, RetryAfter)
    assert again.seq == 3
    assert pc.ask("data", second).seq == 6
    assert pc.ask("data", third).seq == 9
    assert stored(city, pc) == [(1, 3), (4, 3), (7, 3)]
    assert findings(city) == []


def test_events_given_up_leave_a_gap_that_is_reported_with_its_range(city: City, pc: PC) -> None:
    pc.ask("data", pc.batch(3))
    assert pc.ask("data", pc.batch(2, skip=10)).seq == 15
    (gap,) = eventually(lambda: findings(city, "gap"))
    assert gap.agent_id == pc.id
    assert gap.detail == {"first": 4, "last": 13, "chained": True}


def test_a_lost_spool_that_begins_its_chain_anew_is_taken_and_reported(city: City, pc: PC) -> None:
    pc.ask("data", pc.batch(3))
    pc.digest = ZERO_DIGEST
    assert pc.ask("data", pc.batch(2)).seq == 5
    assert eventually(lambda: findings(city, "chain_restarted"))[0].detail == {"first": 4}
    pc.digest = ZERO_DIGEST
    assert pc.ask("data", pc.batch(2, skip=5)).seq == 12
    assert eventually(lambda: findings(city, "gap"))[0].detail == {"first": 6, "last": 10, "chained": False}


def test_a_pc_that_lost_a_formed_batch_gets_through_by_insisting(city: City, pc: PC) -> None:
    pc.ask("data", pc.batch(3))
    pc.batch(4)  # formed, and lost on its disk
    third = pc.batch(2)
    assert isinstance(pc.ask("data", third), RetryAfter)
    eventually(lambda: isinstance(pc.ask("data", third), BatchAck))
    assert stored(city, pc) == [(1, 3), (8, 2)]
    assert eventually(lambda: findings(city, "gap"))[0].detail == {"first": 4, "last": 7, "chained": False}


def test_a_fork_is_refused_and_reported_once(city: City, pc: PC) -> None:
    other = pc.twin("copy")
    assert pc.ask("data", pc.batch(3)).seq == 3
    for _ in range(5):
        refusal = pc.ask("data", sign_batch(pc.sign, 1, 3, ZERO_DIGEST, b"another history"))
        assert (refusal.name, refusal.first_seq) == ("forked_batch", 1)
    assert pc.ask("data", sign_batch(pc.sign, 4, 1, b"x" * 32, b"another end")).name == "forked_batch"
    (finding,) = eventually(lambda: findings(city, "forked_batch"))
    assert finding.agent_id == pc.id == other.id
    assert stored(city, pc) == [(1, 3)]
    # The true chain goes on.
    assert pc.ask("data", pc.batch(3)).seq == 6


def test_a_rewind_is_refused_and_reported(city: City, pc: PC) -> None:
    """A PC put back from an image numbers its new events from where it was then."""
    pc.ask("data", pc.batch(3))
    image = (pc.seq, pc.digest)
    pc.ask("data", pc.batch(4))
    pc.ask("data", pc.batch(4))
    pc.seq, pc.digest = image
    refusal = pc.ask("data", pc.batch(2))
    assert (refusal.name, refusal.first_seq) == ("forked_batch", 4)
    refusal = pc.ask("data", pc.batch(2))
    assert (refusal.name, refusal.first_seq) == ("replayed_batch", 6)
    assert eventually(lambda: findings(city, "replayed_batch"))
    assert stored(city, pc) == [(1, 3), (4, 4), (8, 4)]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"digest": bytes(32)}, "bad_digest"),
        ({"count": 9}, "bad_digest"),
        ({"signature": bytes(64)}, "bad_signature"),
    ],
)
def test_a_changed_batch_is_refused_reported_and_harms_nobody(
    city: City, gateway: Running, pc: PC, change: dict[str, object], name: str
) -> None:
    good = pc.batch()
    refusal = pc.ask("data", replace(good, **change))
    assert isinstance(refusal, Refusal)
    assert refusal.name == name
    assert gateway.refused(f"data/{name}") == 1
    assert eventually(lambda: findings(city, name))
    assert pc.ask("data", good).seq == 3


def test_a_batch_signed_by_another_key_is_refused(pc: PC) -> None:
    assert pc.ask("data", sign_batch(new_sign_pair(), 1, 1, ZERO_DIGEST, b"")).name == "bad_signature"


def test_two_pcs_in_one_group_do_not_touch_each_other(city: City, gateway: Running, new_pc: New) -> None:
    many = [new_pc(f"pc-{number}").connect(gateway, "data") for number in range(8)]
    for _ in range(10):
        for pc in many:
            pc.send("data", pc.batch(2))
    for pc in many:
        while pc.expect("data", BatchAck).seq < 20:
            pass
        assert stored(city, pc) == [(first, 2) for first in range(1, 21, 2)]
    counters = gateway.gateway.stats.counters
    assert counters["batches"] == 80
    assert counters["commits"] < 80


def test_a_restarted_gateway_goes_on_where_it_was(city: City, new_pc: New) -> None:
    pc = new_pc()
    with running(city) as gateway:
        pc.connect(gateway, "data")
        unanswered = pc.batch()
        pc.ask("data", unanswered)
    with running(city) as gateway:
        pc.connect(gateway, "data")
        assert pc.ask("data", unanswered) == BatchAck(seq=3)
        assert pc.ask("data", pc.batch()) == BatchAck(seq=6)
    assert stored(city, pc) == [(1, 3), (4, 3)]


def test_a_corrupt_journal_is_set_aside_reported_and_asks_for_nothing_again(city: City, new_pc: New) -> None:
    pc = new_pc()
    with running(city) as gateway:
        pc.connect(gateway)
        pc.ask("data", pc.batch(5))
        pc.ask("control", pc.beat())
        eventually(lambda: city.agent(pc).stored == 5)
    city.layout.journal.write_bytes(b"\xa5" * 4 * 8192)
    with running(city) as gateway:
        pc.connect(gateway)
        assert pc.ask("data", pc.batch(2)) == BatchAck(seq=7)
        (finding,) = eventually(lambda: findings(city, "journal_corrupt"))
        assert finding.detail["aside"] == "journal.db.corrupt-0"
        assert gateway.gateway.stats.health["journal_corrupt"]
        assert gateway.gateway.journal.last_rowid >> EPOCH_BITS == 1
    assert findings(city, "gap") == []
