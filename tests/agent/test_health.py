"""Health: grace, holding, what explains what away, both languages."""

import pytest

from agent.health import CONDITIONS, OTHER, Health, condition
from protocol.events import AgentHealth


def codes(events: list[AgentHealth]) -> list[tuple[str, bool]]:
    return [(event.code, event.raised) for event in events]


def test_every_condition_is_in_both_languages_and_explained_by_known_codes() -> None:
    for code, row in CONDITIONS.items():
        assert row.text.ja, code
        assert row.text.en, code
        assert set(row.behind) <= CONDITIONS.keys()


@pytest.mark.parametrize(
    ("code", "known"), [("disk_full", "disk_full"), ("sensor_unsupported.media", "sensor_unsupported")]
)
def test_dotted_codes_share_a_row(code: str, known: str) -> None:
    assert condition(code) is CONDITIONS[known]
    assert condition("made_up.by.somebody") is OTHER


def test_a_code_is_told_once_when_raised_and_once_when_cleared() -> None:
    health = Health()
    health.raise_("disk_full", "no space", now_s=0)
    health.raise_("disk_full", "still none", now_s=1)
    assert codes(health.changes(now_s=1, time_us=5)) == [("disk_full", True)]
    assert health.changes(now_s=2, time_us=5) == []
    assert health.shown()["disk_full"].detail == "still none"
    assert health.counters["disk_full"] == 1
    health.clear("disk_full")
    assert codes(health.changes(now_s=3, time_us=5)) == [("disk_full", False)]
    assert not health.is_raised("disk_full")


def test_grace_hides_what_passes_by() -> None:
    health = Health()
    health.raise_("collector_unreachable", "", now_s=0)
    assert health.changes(now_s=29, time_us=0) == []
    health.clear("collector_unreachable")
    assert health.changes(now_s=31, time_us=0) == []
    health.raise_("collector_unreachable", "", now_s=40)
    assert codes(health.changes(now_s=70, time_us=0)) == [("collector_unreachable", True)]


def test_a_consequence_stays_behind_its_cause() -> None:
    health = Health()
    health.raise_("collector_unreachable", "", now_s=0)
    health.raise_("no_policy", "", now_s=0)
    assert codes(health.changes(now_s=100, time_us=0)) == [("collector_unreachable", True)]
    health.clear("collector_unreachable")
    assert codes(health.changes(now_s=101, time_us=0)) == [
        ("collector_unreachable", False),
        ("no_policy", True),
    ]


def test_a_happening_clears_by_itself_after_it_was_last_seen() -> None:
    health = Health()
    health.raise_("bad_frames", "", now_s=0, hold_s=10)
    health.changes(now_s=0, time_us=0)
    health.raise_("bad_frames", "", now_s=9, hold_s=10)
    assert health.changes(now_s=11, time_us=0) == []
    assert codes(health.changes(now_s=19, time_us=0)) == [("bad_frames", False)]
