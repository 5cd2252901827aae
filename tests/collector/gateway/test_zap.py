"""ZAP requests, without sockets: who is let in, and what malformed requests get."""

from hypothesis import given
from hypothesis import strategies as st

from collector.gateway.roster import Roster, Row
from collector.gateway.zap import REMEMBERED, Admission, answer
from protocol.keys import fingerprint

KEY = b"k" * 32


def admission(status: str = "") -> Admission:
    roster = Roster()
    if status:
        roster.update([Row(fingerprint(KEY), status, b"s" * 32, "m1", "")])
    return Admission(roster)


def request(lane: str, key: bytes = KEY, version: bytes = b"1.0", mechanism: bytes = b"CURVE") -> list[bytes]:
    return [version, b"7", lane.encode(), b"127.0.0.1", b"", mechanism, key]


EXPECTED = {
    ("", "control"): "unknown_key",
    ("", "data"): "unknown_key",
    ("pending", "control"): "unknown_key",
    ("pending", "data"): "unknown_key",
    ("active", "control"): None,
    ("active", "data"): None,
    ("quarantined", "control"): None,
    ("quarantined", "data"): "quarantined_key",
    ("revoked", "control"): "revoked_key",
    ("revoked", "data"): "revoked_key",
    ("active", "inspector"): "wrong_lane",
}


def test_who_may_connect_where() -> None:
    for (status, lane), refusal in EXPECTED.items():
        reply, _, name = answer(request(lane), admission(status).admit)
        assert name == refusal, (status, lane)
        assert reply[:3] == [b"1.0", b"7", b"200" if refusal is None else b"400"]
        assert reply[4] == (fingerprint(KEY).encode() if refusal is None else b"")


def test_any_key_may_ask_to_enrol_and_is_remembered_for_that() -> None:
    desk = admission()
    assert answer(request("enrol"), desk.admit)[2] is None
    assert desk.key_of(fingerprint(KEY)) == KEY
    for number in range(REMEMBERED):
        desk.admit("enrol", number.to_bytes(32, "big"))
    assert desk.key_of(fingerprint(KEY)) is None


def test_other_mechanisms_versions_and_key_lengths_are_refused() -> None:
    desk = admission("active")
    for wrong in (
        request("data", mechanism=b"NULL"),
        request("data", mechanism=b"PLAIN"),
        request("data", version=b"2.0"),
        request("data", key=b"k" * 31),
        [*request("data"), b"more"],
        request("data")[:-1],
        [],
    ):
        reply, _, name = answer(wrong, desk.admit)
        assert (reply[2], name) == (b"500", "wrong_type")


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_no_request_gets_in_by_accident_or_breaks_the_handler(frames: list[bytes]) -> None:
    reply, _, name = answer(frames, admission("active").admit)
    assert len(reply) == 6
    assert reply[2] != b"200" or (name is None and frames[2] == b"enrol")
