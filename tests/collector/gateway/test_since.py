"""Since when a control or sensor is as it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.gateway.since import named, turned, write_since
from collector.registers.models import Agent
from collector.registers.store import Store, migrate, open_store

STATES = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["running", "off", "failed"]))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    migrate(tmp_path / "control.db")
    opened = open_store(tmp_path / "control.db")
    yield opened
    opened.close()


@given(st.lists(STATES, min_size=1, max_size=8))
def test_a_state_keeps_the_time_it_began(history: list[dict[str, str]]) -> None:
    before: dict[str, str] = {}
    since: dict[str, int] = {}
    for moment, now in enumerate(history, 1):
        since = turned(before, since, now, moment)
        before = now
    for name, state in history[-1].items():
        began = since[name]
        assert all(past.get(name) == state for past in history[began - 1 :])
        assert began == 1 or history[began - 2].get(name) != state
    assert since.keys() == history[-1].keys()


def test_controls_and_sensors_of_one_name_stay_apart() -> None:
    assert named({"media": "off"}, {"media": "running"}) == {
        "controls.media": "off",
        "sensors.media": "running",
    }


def test_only_what_changed_gets_a_new_time(store: Store) -> None:
    with store.write() as session:
        session.add(Agent(id="a", curve_key=b"", sign_key=b"", status="active", enrolled_us=1))
    for moment, media in ((10, "running"), (20, "running"), (30, "failed: gone")):
        beat = {
            "id": "a",
            "controls": {"media": "enforce"},
            "sensors": {"media": media},
            "last_seen_us": moment,
        }
        with store.write() as session:
            write_since(session, [beat])
            row = session.get(Agent, "a")
            assert row is not None
            row.controls, row.sensors = beat["controls"], beat["sensors"]  # type: ignore[assignment]
    with store.read() as session:
        row = session.get(Agent, "a")
        assert row is not None
        assert row.states_since == {"controls.media": 10, "sensors.media": 30}


def test_a_pc_that_is_not_there_is_left_out(store: Store) -> None:
    with store.write() as session:
        write_since(session, [{"id": "gone", "controls": {}, "sensors": {}, "last_seen_us": 1}])
