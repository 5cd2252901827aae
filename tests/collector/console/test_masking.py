from hypothesis import given
from hypothesis import strategies as st

from collector.console.masking import PERSONAL, mask_event


def test_the_catalogue_says_what_is_personal() -> None:
    assert {"user", "cmdline", "args", "owner", "path", "purpose", "target_user"} == PERSONAL


def test_names_in_paths_go_too() -> None:
    event = {
        "kind": "process.started",
        "user": "tanaka",
        "exe": "/home/tanaka/.local/x",
        "uid": 1001,
        "target": "/usr/bin/ls",
    }
    assert mask_event(event) == {
        "kind": "process.started",
        "user": "***",
        "exe": "/home/***/.local/x",
        "uid": 1001,
        "target": "/usr/bin/ls",
    }


@given(
    st.dictionaries(
        st.text(max_size=9) | st.sampled_from(sorted(PERSONAL)), st.none() | st.integers() | st.text()
    )
)
def test_nothing_personal_is_left(event: dict[str, object]) -> None:
    masked = mask_event(event)
    assert masked.keys() == event.keys()
    assert all(masked[name] == "***" or not event[name] for name in PERSONAL & event.keys())
