"""The book of refusals: bounded, fair, and what a permit for each would be for."""

import msgspec
import pytest

from agent.refusals import MAX_REFUSALS, RefusalBook, wanted_of
from policies.model import Rule
from protocol.events import (
    KINDS,
    ConnectionBlocked,
    Event,
    LinkChanged,
    MediaMounted,
    ProcessDenied,
    SoftwareInstalled,
)
from tests.agent.strict_policy import STICK, policy


def rule() -> Rule:
    return policy().rule("device-without-permit")


def test_book_counts_what_is_the_same_and_forgets_the_oldest() -> None:
    book = RefusalBook()
    assert book.add(STICK, rule(), ()).number == book.add(STICK, rule(), ()).number == 1
    first = book.get(1, 0)
    assert first is not None
    assert first.count == 2
    first.requests[1000] = "r"
    for number in range(MAX_REFUSALS + 20):
        book.add(msgspec.structs.replace(STICK, serial=f"N{number}"), rule(), ())
    assert len(book.kept().refusals) == MAX_REFUSALS
    assert book.get(1, 0) is first  # somebody waits for it
    assert book.get(2, 0) is None


def test_who_fills_the_book_pushes_out_nobody_else() -> None:
    book = RefusalBook()
    book.add(STICK, rule(), (1000,))
    for number in range(2 * MAX_REFUSALS):
        book.add(msgspec.structs.replace(STICK, serial=f"N{number}"), rule(), (1001,))
    assert book.get(1, 1000) is not None
    assert len(book.kept().refusals) == MAX_REFUSALS


WANTED = [
    (STICK, "device", {"device_id", "vendor_id", "product_id", "serial"}),
    (
        MediaMounted(time_us=1, media_id="m", fs_uuid="u", serial="s"),
        "medium",
        {"media_id", "fs_uuid", "serial"},
    ),
    (MediaMounted(time_us=1), "", set()),
    (ProcessDenied(time_us=1, digest="d", package="p"), "software", {"digest"}),
    (ProcessDenied(time_us=1, target="/x"), "", set()),
    (SoftwareInstalled(time_us=1, source="dpkg", name="vlc"), "software", {"source", "package"}),
    (SoftwareInstalled(time_us=1, source="user_place", name="/x", digest="d"), "software", {"digest"}),
    (
        ConnectionBlocked(time_us=1, dest_ip="203.0.113.7", dest_port=443, protocol="tcp"),
        "destination",
        {"network", "port", "protocol"},
    ),
    (
        ConnectionBlocked(time_us=1, dest_ip="203.0.113.7", dest_port=8, protocol="icmp"),
        "destination",
        {"network", "protocol"},
    ),
    (
        ConnectionBlocked(
            time_us=1, dest_ip="203.0.113.7", dest_name="www.example.jp", dest_port=443, protocol="tcp"
        ),
        "destination",
        {"name", "port", "protocol"},
    ),
    (LinkChanged(time_us=1, link_type="wireless", ssid="cafe", bssid="aa:bb"), "wireless", {"ssid", "mac"}),
    (LinkChanged(time_us=1, link_type="tether", mac="aa:bb"), "joint", {"mac"}),
]


@pytest.mark.parametrize(("event", "kind", "fields"), WANTED)
def test_wanted(event: Event, kind: str, fields: set[str]) -> None:
    assert wanted_of(event)[0] == kind
    assert wanted_of(event)[1].keys() == fields


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_written_down(kind: str) -> None:
    RefusalBook().add(KINDS[kind](time_us=1), rule(), ())
