import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.detection.runtime import Detector
from collector.search.events import EventQuery, EventSearch, Found, matches, person_of
from collector.search.index import END_US, IndexWriter, clamped
from protocol.events import (
    KINDS,
    AnyEvent,
    ConnectionOpened,
    DeviceAttached,
    MediaMounted,
    ProcessStarted,
    SoftwareInstalled,
    encode_event,
)
from protocol.refusal import RefusedError
from tests.collector.detection.city import City

AGENTS = ["pc1", "pc2", "pc3"]
TEXTS = st.sampled_from(
    ["", "sato", "Suzuki", "税務課", "SANDISK", "k", "K", "a.exe"]
)  # the second k is the Kelvin sign
TIMES = st.integers(0, 60) | st.sampled_from([-1, END_US + 5])


def event() -> st.SearchStrategy[AnyEvent]:
    return st.one_of(
        st.builds(
            DeviceAttached, time_us=TIMES, label=TEXTS, interfaces=st.lists(TEXTS, max_size=2).map(tuple)
        ),
        st.builds(ProcessStarted, time_us=TIMES, user=TEXTS, target=TEXTS),
        st.builds(ConnectionOpened, time_us=TIMES, user=TEXTS, dest_ip=TEXTS),
        st.builds(SoftwareInstalled, time_us=TIMES, owner=TEXTS, name=TEXTS),
    )


BATCHES = st.lists(st.tuples(st.sampled_from(AGENTS), st.lists(event(), min_size=1, max_size=6)), max_size=8)
QUERIES = st.builds(
    EventQuery,
    agent=st.sampled_from(["", *AGENTS]),
    agents=st.none() | st.frozensets(st.sampled_from([*AGENTS, "pc9"])),
    kinds=st.frozensets(st.sampled_from(["device.attached", "process.started", "agent.health"]), max_size=2),
    since_us=st.integers(0, 60),
    until_us=st.integers(0, 70) | st.just(END_US),
    user=TEXTS,
    text=TEXTS,
    limit=st.integers(1, 40),
    order=st.sampled_from(["newest", "oldest"]),
)


def brute_force(batches: list[tuple[str, list[AnyEvent]]], query: EventQuery) -> list[Found]:
    seen: dict[str, int] = {}
    found = []
    for agent, events in batches:
        for one in events:
            seen[agent] = seen.get(agent, 0) + 1
            if matches(query, agent, one):
                found.append(Found(agent, seen[agent], one))
    sign = -1 if query.order == "newest" else 1
    found.sort(key=lambda one: (sign * clamped(one.event.time_us), one.agent_id, sign * one.seq))
    return found[: query.limit]


@settings(max_examples=40, deadline=None)
@given(BATCHES, st.lists(QUERIES, min_size=1, max_size=20))
def test_the_index_finds_what_reading_everything_finds(
    batches: list[tuple[str, list[AnyEvent]]], queries: list[EventQuery]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        city = City(Path(directory))
        for agent, events in batches:
            city.send(agent, events)
        detector = Detector(city.data)
        detector.settle()
        detector.close()
        search = EventSearch(city.data)
        for query in queries:
            assert list(search.run(query)) == brute_force(batches, query)
        search.close()
        city.close()


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    made = City(tmp_path)
    yield made
    made.close()


def index(city: City) -> None:
    detector = Detector(city.data)
    detector.settle()
    detector.close()


def run(city: City, query: EventQuery) -> list[Found]:
    search = EventSearch(city.data)
    try:
        return list(search.run(query))
    finally:
        search.close()


def test_nothing_is_found_before_anything_was_indexed(city: City) -> None:
    assert run(city, EventQuery()) == []


def test_a_kind_that_does_not_exist_is_refused(city: City) -> None:
    with pytest.raises(RefusedError, match="bad_value"):
        run(city, EventQuery(kinds=frozenset({"device.eaten"})))


def test_a_search_opens_only_batches_that_can_hold_what_is_sought(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        city.send("pc1", [DeviceAttached(time_us=number)])
    city.send("pc2", [MediaMounted(time_us=25)])
    index(city)
    search = EventSearch(city.data)
    opened: list[int] = []
    read_after = search._journal.read_after

    def counting(rowid: int, limit: int) -> object:
        opened.append(rowid)
        return read_after(rowid, limit)

    monkeypatch.setattr(search._journal, "read_after", counting)
    for query in (
        EventQuery(limit=3),
        EventQuery(limit=3, order="oldest"),
        EventQuery(since_us=10, until_us=12),
        EventQuery(kinds=frozenset({"media.mounted"})),
        EventQuery(agent="pc2"),
    ):
        opened.clear()
        assert list(search.run(query))
        assert len(opened) <= 4, query
    search.close()


def test_text_ignores_case_of_ascii_and_looks_into_lists(city: City) -> None:
    city.send("pc1", [DeviceAttached(time_us=1, label="SanDisk Ultra", interfaces=("08:06:50",))])
    index(city)
    assert run(city, EventQuery(text="sandisk"))
    assert run(city, EventQuery(text="06:50"))
    assert not run(city, EventQuery(text="kingston"))


def test_a_damaged_body_hides_only_itself(city: City) -> None:
    whole = encode_event(DeviceAttached(time_us=2))
    city.send_body("pc1", b"nonsense", 1, received_us=2)
    body = zstandard.ZstdCompressor().compress(b"\x92\x01" + whole)
    city.send_body("pc1", body, 2)
    city.send("pc1", [DeviceAttached(time_us=3)])
    index(city)
    assert [one.seq for one in run(city, EventQuery(text="device"))] == [4, 3]


def test_the_index_is_built_anew_when_the_catalogue_changed(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    city.send("pc1", [DeviceAttached(time_us=1)])
    index(city)
    monkeypatch.setattr("collector.search.index._CATALOGUE", "older")
    writer = IndexWriter(city.data / "index.db")
    assert writer.cursor() == 0
    writer.close()
    assert run(city, EventQuery()) == []
    monkeypatch.undo()
    index(city)
    assert len(run(city, EventQuery())) == 1


def test_there_is_a_bit_for_each_kind() -> None:
    assert len(KINDS) <= 63


def test_person_of_an_event() -> None:
    assert person_of(ProcessStarted(time_us=1, user="sato")) == "sato"
    assert person_of(SoftwareInstalled(time_us=1, owner="suzuki")) == "suzuki"
    assert person_of(DeviceAttached(time_us=1)) == ""
    assert msgspec.to_builtins(Found("pc1", 1, DeviceAttached(time_us=1)))["seq"] == 1
