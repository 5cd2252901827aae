"""Keys, tokens, enrolment and the chain of trust roots."""

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.enrolment import ADVICE, advice, enrol, machine_id
from agent.identity import KEYS_FILE, TRUST_FILE, Identity, Target, parse_pin, parse_token, verify_chain
from protocol.keys import fingerprint, new_curve_pair, new_sign_pair, verify
from protocol.messages import EnrolReply, EnrolRequest, Message, Refusal
from protocol.refusal import RefusedError
from protocol.signed import signing_input
from protocol.trust import sign_root
from tests.agent.collector_double import Collector, running


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running() as one:
        yield one


def token_text(target: Target) -> str:
    raw = target.collector_key + base64.b32decode(target.root_fingerprint.upper()) + target.secret
    return "SKT1-" + base64.b32encode(raw).decode().rstrip("=").lower()


def target_of(collector: Collector, secret: bytes = b"s" * 16) -> Target:
    return Target(collector.city.curve.public, fingerprint(collector.city.root.public), secret)


def join(collector: Collector, state: Path, **changes: object) -> Identity:
    identity = Identity.load_or_make(state)
    options = {"address": "127.0.0.1", "port": collector.ports["enrol"], "deadline_s": 10.0} | changes
    enrol(identity, target_of(collector), **options)  # type: ignore[arg-type]
    return identity


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
)
def test_token_round_trip(key: bytes, root: bytes, secret: bytes) -> None:
    target = Target(key, fingerprint(root), secret)
    assert parse_token(token_text(target)) == target
    assert parse_token(f"  {token_text(target).upper()}\n") == target
    assert parse_pin(key.hex(), fingerprint(root)) == Target(key, fingerprint(root))


@given(st.text(max_size=200))
def test_nonsense_is_no_token(text: str) -> None:
    for attempt in (text, "SKT1-" + text):
        with pytest.raises(RefusedError, match="malformed_body"):
            parse_token(attempt)


@given(st.text(max_size=70), st.text(max_size=40))
def test_nonsense_is_no_pin(key: str, root: str) -> None:
    with pytest.raises(RefusedError, match="malformed_body"):
        parse_pin(key, root)


def test_secrets_do_not_show() -> None:
    identity = Target(b"k" * 32, "root", b"very secret text")
    assert "secret" not in repr(identity)
    assert "very" not in str(identity)


def test_enrolment_pins_the_root_and_proves_the_signing_key(collector: Collector, tmp_path: Path) -> None:
    identity = join(collector, tmp_path / "state")
    (request,) = collector.of(EnrolRequest)
    proof = signing_input("enrol", identity.keys.curve.public)
    assert verify(request.sign_key, proof, request.proof)
    assert request.token == b"s" * 16
    again = Identity.load(tmp_path / "state")
    assert again.root == collector.root
    assert again.agent_id == fingerprint(identity.keys.curve.public)
    assert (tmp_path / "state" / KEYS_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name", ["token_unknown", "token_expired", "token_used_up", "revoked_key", "some_new_name"]
)
def test_refusals_reach_the_user_by_name(collector: Collector, tmp_path: Path, name: str) -> None:
    collector.answers[EnrolRequest] = lambda _: [Refusal(name=name, detail="why")]
    with pytest.raises(RefusedError) as refused:
        join(collector, tmp_path)
    assert refused.value.name == name
    assert advice(name).ja
    assert not Identity.load(tmp_path).enrolled


def test_every_advice_is_in_both_languages() -> None:
    assert all(text.ja and text.en for text in ADVICE.values())


def test_waiting_for_approval_reports_and_ends(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.enrolment.POLL_S", 0.05)
    pending, accepted = EnrolReply(status="pending"), EnrolReply(status="accepted", trust=collector.trust())
    answers: list[Message | bytes] = [pending, pending, pending, accepted]
    collector.answers[EnrolRequest] = lambda _: [answers.pop(0)]
    seen: list[float] = []
    join(collector, tmp_path / "a", progress=seen.append)
    assert len(seen) == 3
    collector.answers[EnrolRequest] = lambda _: [EnrolReply(status="pending")]
    with pytest.raises(RefusedError, match="expired"):
        join(collector, tmp_path / "b", deadline_s=0.5)


def test_a_collector_with_another_key_is_not_reached(collector: Collector, tmp_path: Path) -> None:
    identity = Identity.load_or_make(tmp_path)
    target = Target(new_curve_pair().public, "a" * 32)
    with pytest.raises(RefusedError, match="collector_unreachable"):
        enrol(identity, target, address="127.0.0.1", port=collector.ports["enrol"], deadline_s=1)
    assert not collector.received


def test_a_foreign_root_is_refused(collector: Collector, tmp_path: Path) -> None:
    other = new_sign_pair()
    forged = collector.city.trust(collector.ports, root_key=other.public)
    collector.answers[EnrolRequest] = lambda _: [
        EnrolReply(status="accepted", trust=sign_root(forged, other))
    ]
    with pytest.raises(RefusedError, match="foreign"):
        join(collector, tmp_path)
    elsewhere = collector.city.trust(collector.ports, collector_key=b"x" * 32)
    document = sign_root(elsewhere, collector.city.root)
    collector.answers[EnrolRequest] = lambda _: [EnrolReply(status="accepted", trust=document)]
    with pytest.raises(RefusedError, match="another collector key"):
        join(collector, tmp_path)


@pytest.mark.parametrize("frame", [b"", b"\xff\xff", b"\x81\xa4type\xa3ack", b"\x90"])
def test_bad_frames_are_refused_by_name(collector: Collector, tmp_path: Path, frame: bytes) -> None:
    collector.answers[EnrolRequest] = lambda _: [frame]
    with pytest.raises(RefusedError) as refused:
        join(collector, tmp_path)
    assert refused.value.name in {"truncated", "wrong_tag", "wrong_type"}


def test_trust_moves_forward_only_and_the_whole_chain_is_verified(
    collector: Collector, tmp_path: Path
) -> None:
    identity = join(collector, tmp_path)
    new_root = new_sign_pair()
    second = collector.city.trust(collector.ports, serial=2, root_key=new_root.public)
    identity.advance(sign_root(second, collector.city.root))
    third = collector.city.trust(collector.ports, serial=3, root_key=new_root.public)
    with pytest.raises(RefusedError, match="foreign"):
        identity.advance(sign_root(third, collector.city.root))
    identity.advance(sign_root(third, new_root))
    with pytest.raises(RefusedError, match="older_generation"):
        identity.advance(sign_root(second, new_root))
    assert Identity.load(tmp_path).root == third


def test_a_changed_trust_file_is_refused(collector: Collector, tmp_path: Path) -> None:
    join(collector, tmp_path)
    other = new_sign_pair()
    forged = sign_root(collector.city.trust(collector.ports, root_key=other.public), other)
    (tmp_path / TRUST_FILE).write_bytes(msgspec.msgpack.encode((forged,)))
    with pytest.raises(RefusedError, match="foreign"):
        Identity.load(tmp_path)
    (tmp_path / TRUST_FILE).write_bytes(b"\x00")
    with pytest.raises(RefusedError, match="corrupt"):
        Identity.load(tmp_path)
    (tmp_path / TRUST_FILE).unlink()
    with pytest.raises(RefusedError, match="corrupt"):
        Identity.load(tmp_path)
    with pytest.raises(RefusedError, match="corrupt"):
        verify_chain((), "x")


def test_keys_others_can_read_are_refused(tmp_path: Path) -> None:
    Identity.load_or_make(tmp_path)
    (tmp_path / KEYS_FILE).chmod(0o644)
    with pytest.raises(RefusedError, match="foreign"):
        Identity.load(tmp_path)


def test_not_enrolled_has_no_root(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="not enrolled"):
        _ = Identity.load_or_make(tmp_path).root


def test_machine_id_is_read_below_the_root(tmp_path: Path) -> None:
    assert machine_id(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("abc\n")
    assert machine_id(tmp_path) == "abc"
