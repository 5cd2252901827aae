from collections.abc import Callable

import msgspec
import pytest
import zstandard

from collector.detection.batch import LARGEST
from collector.detection.runtime import Detector
from collector.registers.models import Finding
from protocol.events import DeviceAttached, encode_event
from tests.collector.detection.city import ANY_DEVICE, T0, City

Found = Callable[..., City]
Detect = Callable[[City], Detector]


def attached(number: int = 0) -> DeviceAttached:
    return DeviceAttached(time_us=T0 + number, device_id="usb-1")


def pack(*parts: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(b"\xdc" + len(parts).to_bytes(2, "big") + b"".join(parts))


BOMB = zstandard.ZstdCompressor().compress(bytes(LARGEST + 1))
TOO_LARGE = msgspec.msgpack.encode({"kind": "device.attached", "time_us": T0, "serial": "x" * 300})
HOSTILE = {
    "no zstd": b"nonsense",
    "empty": b"",
    "bomb": BOMB,
    "no array": zstandard.ZstdCompressor().compress(b"\xc0"),
    "deep": zstandard.ZstdCompressor().compress(b"\x91" * 100_000),
    "cut off": zstandard.ZstdCompressor().compress(b"\x92" + encode_event(attached())[:-3]),
    "no size": zstandard.ZstdCompressor(write_content_size=False).compress(b"\x90"),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_body_that_cannot_be_read_is_a_finding_and_stops_nothing(
    found: Found, detect: Detect, body: bytes
) -> None:
    city = found([ANY_DEVICE])
    city.send_body("pc1", body, 2)
    city.send("pc1", [attached()])
    detector = detect(city)
    assert [(one.rule_id, one.seq) for one in city.alerts()] == [
        ("finding:bad_event", None),
        ("any_device", 3),
    ]
    assert detector.pipeline.bad_events == 2
    with city.store.read() as session:
        (finding,) = session.query(Finding).all()
    assert finding.alerted
    assert (finding.name, finding.detail["first"], finding.detail["last"]) == ("bad_event", 1, 2)


def test_the_readable_events_of_a_damaged_body_keep_their_numbers(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    city.send_body("pc1", pack(encode_event(attached()), TOO_LARGE, b"\x01", encode_event(attached(1))), 4)
    detect(city)
    assert [(one.rule_id, one.seq) for one in city.alerts()] == [
        ("finding:bad_event", None),
        ("any_device", 1),
        ("any_device", 4),
    ]
    assert city.alerts()[0].event["count"] == 2


def test_events_beyond_the_signed_count_get_no_number_of_the_next_batch(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    city.send_body("pc1", pack(*(encode_event(attached(n)) for n in range(3))), 2)
    city.send("pc1", [attached(9)])
    detect(city)
    assert [one.seq for one in city.alerts() if one.seq] == [1, 2, 3]


def test_times_that_no_clock_shows_stop_nothing(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    body = msgspec.msgpack.encode(
        [{"kind": "device.attached", "time_us": when} for when in ((1 << 64) - 1, -(1 << 63), 0)]
    )
    city.send_body("pc1", zstandard.ZstdCompressor().compress(body), 3)
    detect(city)
    assert [(one.seq, one.event_us) for one in city.alerts()] == [(1, (1 << 63) - 2), (2, 0), (3, 0)]
