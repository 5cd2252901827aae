"""What a frame reader takes and refuses."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import messages, wire
from protocol.messages import LIMITS, Lane, Message, Role
from protocol.refusal import RefusedError
from tests.protocol import samples

LANES: tuple[Lane, ...] = ("enrol", "control", "data")
ROLES: tuple[Role, ...] = ("agent", "collector")


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("sender", ROLES)
def test_a_lane_takes_exactly_its_own_messages(lane: Lane, sender: Role) -> None:
    reader = wire.FrameReader(lane, sender)
    for message in samples.MESSAGES.values():
        entry = LIMITS[lane].get(type(message))
        if entry is not None and entry[0] == sender:
            assert reader.read(wire.encode(message)) == message
        else:
            with pytest.raises(RefusedError) as refused:
                reader.read(wire.encode(message))
            assert refused.value.name == "wrong_tag"


@pytest.mark.parametrize("name", sorted(samples.MESSAGES))
def test_every_truncation_is_refused(name: str) -> None:
    message = samples.MESSAGES[name]
    lane, sender = next(
        (lane, LIMITS[lane][type(message)][0]) for lane in LANES if type(message) in LIMITS[lane]
    )
    reader, frame = wire.FrameReader(lane, sender), wire.encode(message)
    for length in range(len(frame)):
        with pytest.raises(RefusedError) as refused:
            reader.read(frame[:length])
        assert refused.value.name == "truncated"


def test_oversized_is_refused_before_parsing() -> None:
    with pytest.raises(RefusedError, match="oversized"):
        wire.FrameReader("enrol", "agent").read(b"\xc1" * 5000)


def test_oversized_for_its_own_type_is_refused() -> None:
    fetch = msgpack.packb({"type": "policy_fetch", "have": 1, "padding": "x" * 2000})
    with pytest.raises(RefusedError, match="oversized"):
        wire.FrameReader("control", "agent").read(fetch)


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (msgpack.packb({"type": "shell", "command": "id"}), "wrong_tag"),
        (msgpack.packb({"type": 7}), "wrong_type"),
        (msgpack.packb([1, 2]), "wrong_type"),
        (msgpack.packb({"type": "policy_fetch", "have": "seven"}), "wrong_type"),
        (msgpack.packb({"have": 7}), "wrong_type"),
        (msgpack.packb({"type": "policy_fetch", "version": 2}), "version"),
        (msgpack.packb({"type": "policy_fetch"}) + b"\x00", "truncated"),
        (b"\x82\xa4type\xa1\x80\xa4have\x07", "truncated"),
        (b"\x82\xa4type\xacpolicy_fetch\xa1x" + b"\x91" * 500, "truncated"),
    ],
)
def test_refusals_have_names(frame: bytes, name: str) -> None:
    with pytest.raises(RefusedError) as refused:
        wire.FrameReader("control", "agent").read(frame)
    assert refused.value.name == name


@given(frame=st.binary(max_size=400), lane=st.sampled_from(LANES), sender=st.sampled_from(ROLES))
def test_random_bytes_are_read_or_refused_by_name(frame: bytes, lane: Lane, sender: Role) -> None:
    with suppress(RefusedError):
        assert isinstance(wire.FrameReader(lane, sender).read(frame), Message)


@given(
    position=st.integers(0, 10_000), value=st.integers(0, 255), name=st.sampled_from(sorted(samples.MESSAGES))
)
def test_one_changed_byte_is_read_or_refused_by_name(position: int, value: int, name: str) -> None:
    message = samples.MESSAGES[name]
    lane, sender = next(
        (lane, LIMITS[lane][type(message)][0]) for lane in LANES if type(message) in LIMITS[lane]
    )
    frame = bytearray(wire.encode(message))
    frame[position % len(frame)] = value
    with suppress(RefusedError):
        wire.FrameReader(lane, sender).read(bytes(frame))


def test_batch_digest_covers_everything() -> None:
    base = messages.batch_digest(1, 2, messages.ZERO_DIGEST, b"body")
    others = {
        messages.batch_digest(2, 2, messages.ZERO_DIGEST, b"body"),
        messages.batch_digest(1, 3, messages.ZERO_DIGEST, b"body"),
        messages.batch_digest(1, 2, base, b"body"),
        messages.batch_digest(1, 2, messages.ZERO_DIGEST, b"bodY"),
    }
    assert len(others) == 4
    assert base not in others
