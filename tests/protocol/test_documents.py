"""Keys, signed documents, trust roots, orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85 as zmq_z85

from protocol import keys, orders, signed, trust
from protocol.refusal import RefusedError
from tests.protocol import samples

OTHER = keys.new_sign_pair()
ROOT_ID = keys.fingerprint(samples.ROOT.public)


def name_of(refused: pytest.ExceptionInfo[RefusedError]) -> str:
    return refused.value.name


@given(st.binary(min_size=32, max_size=32))
def test_z85_is_that_of_zeromq(key: bytes) -> None:
    assert keys.z85(key) == zmq_z85.encode(key)


def test_fingerprint_is_short_text_of_one_case() -> None:
    found = keys.fingerprint(samples.ROOT.public)
    assert len(found) == 32
    assert found == found.lower()


def test_secrets_do_not_show(tmp_path: Path) -> None:
    pair = keys.new_sign_pair()
    assert pair.seed.hex() not in repr(pair)
    assert str(pair.seed) not in repr(pair)
    path = tmp_path / "key"
    keys.write_private(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.read_private(path) == b"secret"
    path.chmod(0o644)
    with pytest.raises(RefusedError, match="chmod 600"):
        keys.read_private(path)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_verify_never_raises(public: bytes, data: bytes, signature: bytes) -> None:
    assert keys.verify(public, data, signature) is False


def test_a_signature_for_one_purpose_is_worth_nothing_for_another() -> None:
    document = signed.seal("policy", b"body", [samples.ROOT])
    with pytest.raises(RefusedError) as refused:
        signed.signers("order", document, {ROOT_ID: samples.ROOT.public})
    assert name_of(refused) == "bad_signature"


def test_unsigned_and_foreign_have_their_names() -> None:
    ours = {ROOT_ID: samples.ROOT.public}
    with pytest.raises(RefusedError) as refused:
        signed.signers("order", signed.Signed(b"x"), ours)
    assert name_of(refused) == "unsigned"
    with pytest.raises(RefusedError) as refused:
        signed.signers("order", signed.seal("order", b"x", [OTHER]), ours)
    assert name_of(refused) == "foreign"


def test_one_key_counts_once_however_often_it_signs() -> None:
    document = signed.seal("order", b"x", [samples.ROOT, samples.ROOT])
    assert signed.signers("order", document, {ROOT_ID: samples.ROOT.public}) == [ROOT_ID]


def test_first_root_must_be_the_one_the_token_names() -> None:
    assert trust.first_root(samples.TRUST_DOCUMENT, ROOT_ID) == samples.TRUST
    with pytest.raises(RefusedError) as refused:
        trust.first_root(samples.TRUST_DOCUMENT, keys.fingerprint(OTHER.public))
    assert name_of(refused) == "foreign"


def test_trust_changes_only_by_the_old_root() -> None:
    later = msgspec.structs.replace(samples.TRUST, serial=2, root_key=OTHER.public)
    assert trust.next_root(samples.TRUST, trust.sign_root(later, samples.ROOT)) == later
    for document, name in (
        (trust.sign_root(later, OTHER), "foreign"),
        (trust.sign_root(samples.TRUST, samples.ROOT), "older_generation"),
        (trust.sign_root(msgspec.structs.replace(later, city="他市"), samples.ROOT), "foreign"),
    ):
        with pytest.raises(RefusedError) as refused:
            trust.next_root(samples.TRUST, document)
        assert name_of(refused) == name


def verify(document: signed.Signed, *, target: str = "pc-1", now_us: int = 1_500_000) -> orders.Order:
    return orders.verify_order(document, samples.TRUST, target=target, now_us=now_us)


def test_an_order_is_taken_only_whole_for_us_and_in_time() -> None:
    document = samples.order_document()
    assert verify(document) == samples.ORDER
    assert verify(document, now_us=2_000_000) == samples.ORDER
    changed = signed.Signed(document.body[:-1] + b"\x00", document.signatures)
    other_city = orders.sign_order(msgspec.structs.replace(samples.ORDER, city="他市"), [samples.ROOT])
    cases: tuple[tuple[signed.Signed, dict[str, Any], str], ...] = (
        (signed.Signed(document.body), {}, "unsigned"),
        (orders.sign_order(samples.ORDER, [OTHER]), {}, "foreign"),
        (changed, {}, "bad_signature"),
        (document, {"target": "pc-2"}, "wrong_target"),
        (document, {"now_us": 2_000_001}, "stale"),
        (other_city, {}, "foreign"),
        (signed.seal("order", b"\xc1", [samples.ROOT]), {}, "malformed_body"),
    )
    for bad, how, name in cases:
        with pytest.raises(RefusedError) as refused:
            verify(bad, **how)
        assert name_of(refused) == name


def test_a_clock_set_back_does_not_stop_an_order() -> None:
    """A PC whose clock went back a day sees the order as of the future; it is no reason to refuse a cut."""
    assert verify(samples.order_document(), now_us=-86_400_000_000) == samples.ORDER


def test_two_signatures_where_the_site_asks_for_two() -> None:
    second = trust.OrderKey(OTHER.public, "deputy", "Deputy")
    root = msgspec.structs.replace(
        samples.TRUST, order_keys=(*samples.TRUST.order_keys, second), order_signatures=2
    )
    with pytest.raises(RefusedError) as refused:
        orders.verify_order(orders.sign_order(samples.ORDER, [samples.ROOT]), root, target="pc-1", now_us=0)
    assert name_of(refused) == "role_missing"
    both = orders.sign_order(samples.ORDER, [samples.ROOT, OTHER])
    assert orders.verify_order(both, root, target="pc-1", now_us=0) == samples.ORDER


@given(st.binary(max_size=300))
def test_random_documents_are_refused_by_name(body: bytes) -> None:
    with pytest.raises(RefusedError):
        verify(signed.seal("order", body, [samples.ROOT]))


def test_release_codes_forgive_how_they_are_typed() -> None:
    code = orders.new_code()
    assert len(code) == 24
    plain = orders.hash_code("o", code)
    assert orders.hash_code("o", code.lower().replace("-", " ")) == plain
    assert orders.hash_code("p", code) != plain
