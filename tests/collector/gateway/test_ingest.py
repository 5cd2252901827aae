"""The decision about a batch, by example and as a state machine: a PC, a lossy way, and a store."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.evidence.files import Tail
from collector.evidence.journal import Place
from collector.gateway.ingest import INSIST_S, Decision, check_signature, decide
from protocol.keys import new_sign_pair
from protocol.messages import ZERO_DIGEST, Batch
from protocol.refusal import RefusedError
from tests.collector.gateway.pc import sign_batch

PAIR = new_sign_pair()
FIRST = sign_batch(PAIR, 1, 10, ZERO_DIGEST, b"first")
TAIL = Tail(10, FIRST.digest)
STORED = Place(10, ZERO_DIGEST, FIRST.digest)


def following(first: int = 11, prev: bytes = FIRST.digest, body: bytes = b"next") -> Batch:
    return sign_batch(PAIR, first, 5, prev, body)


def judge(
    batch: Batch, tail: Tail = TAIL, place: Place | None = None, waited: float | None = None
) -> Decision | str:
    try:
        return decide(tail, batch, lambda: place, waited)
    except RefusedError as error:
        return error.name


def gap(first: int, last: int, *, chained: bool) -> Decision:
    return Decision("accept", ("gap", {"first": first, "last": last, "chained": chained}))


CASES = [
    ("the first batch ever", FIRST, Tail(), None, None, Decision("accept")),
    ("the next one", following(), TAIL, None, None, Decision("accept")),
    ("the same again", FIRST, TAIL, STORED, None, Decision("duplicate")),
    ("events given up before batching", following(20), TAIL, None, None, gap(11, 19, chained=True)),
    (
        "a chain begun anew behind a hole",
        following(20, ZERO_DIGEST),
        TAIL,
        None,
        None,
        gap(11, 19, chained=False),
    ),
    (
        "a chain begun anew without a hole",
        following(11, ZERO_DIGEST),
        TAIL,
        None,
        None,
        Decision("accept", ("chain_restarted", {"first": 11})),
    ),
    ("one before it is missing", following(20, b"x" * 32), TAIL, None, None, Decision("again")),
    ("it insists too soon", following(20, b"x" * 32), TAIL, None, INSIST_S / 2, Decision("again")),
    ("it insists", following(20, b"x" * 32), TAIL, None, INSIST_S, gap(11, 19, chained=False)),
    ("another next one", following(11, b"x" * 32), TAIL, None, None, "forked_batch"),
    (
        "another one at a stored place",
        sign_batch(PAIR, 1, 10, ZERO_DIGEST, b"other"),
        TAIL,
        STORED,
        None,
        "forked_batch",
    ),
    ("numbering went back", following(4, b"x" * 32), TAIL, None, None, "replayed_batch"),
    ("numbering went back to a stored place", following(1, b"x" * 32), TAIL, STORED, None, "replayed_batch"),
    ("it overlaps the end", following(8, FIRST.digest), TAIL, None, None, "replayed_batch"),
    ("the end's digest is lost", following(11, b"x" * 32), Tail(10, None), None, None, Decision("accept")),
]


@pytest.mark.parametrize(
    ("batch", "tail", "place", "waited", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_decision(
    batch: Batch, tail: Tail, place: Place | None, waited: float | None, expected: Decision | str
) -> None:
    assert judge(batch, tail, place, waited) == expected


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("body", b"changed", "bad_digest"),
        ("first_seq", 12, "bad_digest"),
        ("count", 6, "bad_digest"),
        ("prev_digest", bytes(32), "bad_digest"),
        ("digest", bytes(32), "bad_digest"),
        ("signature", bytes(64), "bad_signature"),
    ],
)
def test_whatever_is_changed_on_the_way_is_refused_by_name(field: str, value: object, name: str) -> None:
    batch = following()
    check_signature(batch, PAIR.public)
    with pytest.raises(RefusedError) as caught:
        check_signature(replace(batch, **{field: value}), PAIR.public)
    assert caught.value.name == name


def test_a_batch_signed_by_another_key_is_refused() -> None:
    with pytest.raises(RefusedError) as caught:
        check_signature(sign_batch(new_sign_pair(), 11, 5, FIRST.digest, b"next"), PAIR.public)
    assert caught.value.name == "bad_signature"


class Shelf:
    """What a journal would hold of one PC."""

    def __init__(self) -> None:
        self.tail = Tail()
        self.places: dict[int, Place] = {}
        self.seqs: list[int] = []

    def take(self, batch: Batch, waited: float | None = None) -> str:
        try:
            decision = decide(self.tail, batch, lambda: self.places.get(batch.first_seq), waited)
        except RefusedError as error:
            return error.name
        if decision.do == "accept":
            self.tail = Tail(batch.first_seq + batch.count - 1, batch.digest)
            self.places[batch.first_seq] = Place(batch.count, batch.prev_digest, batch.digest)
            self.seqs += range(batch.first_seq, batch.first_seq + batch.count)
        return decision.do


@given(seed=st.integers(0, 2**32), counts=st.lists(st.integers(1, 20), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_an_honest_pc_over_a_way_that_loses_repeats_and_disorders_stores_all_exactly_once(
    seed: int, counts: list[int]
) -> None:
    """The PC sends from the last acknowledged number; frames are lost, come twice and out of order."""
    dice = random.Random(seed)
    chain: list[Batch] = []
    seq, digest = 0, ZERO_DIGEST
    for count in counts:
        chain.append(sign_batch(PAIR, seq + 1, count, digest, b"%d" % seq))
        seq, digest = seq + count, chain[-1].digest
    shelf = Shelf()
    for _ in range(1000):
        waiting = [one for one in chain if one.first_seq > shelf.tail.seq]
        if not waiting:
            break
        window = waiting[:4] + dice.sample(chain, min(2, len(chain)))
        dice.shuffle(window)
        for one in window[: dice.randint(1, len(window))]:
            assert shelf.take(one) in ("accept", "duplicate", "again")
    assert shelf.seqs == list(range(1, seq + 1))


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_sequence_of_signed_batches_stores_a_number_twice_or_backwards(data: st.DataObject) -> None:
    shelf = Shelf()
    digests = [ZERO_DIGEST, b"x" * 32]
    for _ in range(data.draw(st.integers(1, 25))):
        first, count = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 10))
        batch = sign_batch(
            PAIR, first, count, data.draw(st.sampled_from(digests)), data.draw(st.binary(max_size=2))
        )
        shelf.take(batch, data.draw(st.sampled_from([None, 0.0, INSIST_S])))
        digests.append(batch.digest)
    assert all(before < after for before, after in zip(shelf.seqs, shelf.seqs[1:], strict=False))
