"""A release arrives whole and signed, or is refused by name."""

import contextlib
import hashlib
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.bundle import open_bundle, seal_bundle
from policies.model import Bundle, Compare, Destination, Not, Subject, Zone
from protocol.keys import new_sign_pair
from protocol.refusal import RefusedError
from protocol.signed import Signature, Signed, seal
from tests.policies.releases import BUNDLE, WEDNESDAY_NOON_US, changed, permit

NOW = WEDNESDAY_NOON_US
PAIR, OTHER = new_sign_pair(), new_sign_pair()
SEALED = seal_bundle(BUNDLE, [PAIR])


def opened(document: Signed, **changes: Any) -> tuple[Bundle, str]:
    facts: dict[str, Any] = {"city": "nagoya", "newer_than": 11, "now_us": NOW} | changes
    return open_bundle(document, [PAIR.public], **facts)


def refusal(document: Signed, **changes: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        opened(document, **changes)
    return caught.value.name


def test_what_was_sealed_is_what_is_opened() -> None:
    bundle, digest = opened(SEALED)
    assert bundle == BUNDLE
    assert digest == hashlib.sha256(SEALED.body).hexdigest()
    assert seal_bundle(bundle, [PAIR]).body == SEALED.body


def test_any_policy_key_will_do_and_a_signature_by_a_stranger_beside_it_does_no_harm() -> None:
    document = seal_bundle(BUNDLE, [OTHER, PAIR])
    assert open_bundle(document, [OTHER.public], city="nagoya", now_us=NOW)[0] == BUNDLE
    assert opened(document)[0] == BUNDLE


def test_refusals() -> None:
    assert refusal(Signed(SEALED.body)) == "unsigned"
    assert refusal(seal_bundle(BUNDLE, [OTHER])) == "foreign"
    assert refusal(SEALED, city="meguro") == "foreign"
    assert refusal(replace(SEALED, body=SEALED.body + b"x")) == "bad_signature"
    assert refusal(seal("order", SEALED.body, [PAIR])) == "bad_signature"
    assert refusal(SEALED, now_us=BUNDLE.expires_us) == "expired"
    assert refusal(SEALED, newer_than=12) == "older_generation"
    assert refusal(SEALED, newer_than=13) == "older_generation"


def test_the_last_good_one_loads_whatever_its_age() -> None:
    assert opened(SEALED, newer_than=0, now_us=0)[0].generation == 12


BOMB = zstandard.ZstdCompressor().compress(bytes(65 << 20))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not zstd",
        zstandard.ZstdCompressor().compress(b""),
        zstandard.ZstdCompressor().compress(b"\xc1"),
        zstandard.ZstdCompressor().compress(msgspec.msgpack.encode({"city": "nagoya"})),
        SEALED.body[: len(SEALED.body) // 2],
        BOMB,
    ],
    ids=["empty", "not zstd", "nothing inside", "no msgpack", "fields missing", "cut", "bomb"],
)
def test_bodies_that_are_no_bundle(body: bytes) -> None:
    assert refusal(seal("policy", body, [PAIR])) == "malformed_body"


def test_a_predicate_without_end_is_refused() -> None:
    node: Any = Compare("label", "eq", ("x",))
    for _ in range(400):
        node = Not(node)
    plain = msgspec.msgpack.encode(changed(rules=(replace(BUNDLE.rules[0], predicate=node),)))
    # 400 levels still encode here; make it 100,000 by hand, as only an attacker would.
    inner = msgspec.msgpack.encode(node)
    prefix = msgspec.msgpack.encode({"node": "not", "part": 0})[:-1]
    deep = plain.replace(inner, prefix * 100_000 + inner)
    assert refusal(seal("policy", zstandard.compress(deep), [PAIR])) == "malformed_body"


CONTRADICTIONS = [
    changed(rules=BUNDLE.rules * 2),
    changed(permits=BUNDLE.permits * 2),
    changed(zones=BUNDLE.zones * 2),
    changed(zones=(Zone(name="z", title_ja="", title_en="", networks=("10.0.0.0/99",)),)),
    changed(zones=(Zone(name="z", title_ja="", title_en="", allow=(Destination("nowhere"),)),)),
    changed(permits=(permit("p", "destination", network="x"),)),
    changed(permits=(replace(permit("p", "device", device_id="d"), until_us=0),)),
    changed(permits=(replace(permit("p", "destination"), subject=Subject(port=1)),)),
]


@pytest.mark.parametrize("bundle", CONTRADICTIONS, ids=range(len(CONTRADICTIONS)))
def test_contradictions_are_refused(bundle: Bundle) -> None:
    assert refusal(seal_bundle(bundle, [PAIR])) == "malformed_body"


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_never_get_past_a_refusal(body: bytes, packed: bool) -> None:
    document = seal("policy", zstandard.compress(body) if packed else body, [PAIR])
    assert refusal(document) == "malformed_body"


@given(st.data())
def test_a_flipped_byte_in_a_signed_body_is_refused_or_still_a_bundle(data: st.DataObject) -> None:
    plain = bytearray(zstandard.decompress(SEALED.body))
    at = data.draw(st.integers(0, len(plain) - 1))
    plain[at] ^= data.draw(st.integers(1, 255))
    # Whatever else it raised would fail the test.
    with contextlib.suppress(RefusedError):
        assert opened(seal("policy", zstandard.compress(bytes(plain)), [PAIR]), newer_than=0, now_us=0)


@given(st.binary(max_size=200), st.binary(min_size=64, max_size=64), st.text(max_size=40))
def test_unsigned_junk_is_never_unpacked(body: bytes, value: bytes, key_id: str) -> None:
    assert refusal(Signed(body, (Signature(key_id, value),))) == "foreign"
