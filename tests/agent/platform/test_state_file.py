"""State files: private, whole, and no trouble when damaged."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.enforcers.usb import Held
from agent.platform.state_file import load_state, save_state


def test_what_was_saved_comes_back_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "state" / "held"
    assert load_state(file, Held) is None
    save_state(file, Held(closed=["usb1"]))
    save_state(file, Held(closed=["usb2"]))
    assert load_state(file, Held) == Held(closed=["usb2"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["held"]


@given(noise=st.binary(max_size=200))
def test_damage_is_as_if_there_were_none(noise: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("state") / "held"
    file.write_bytes(noise)
    assert load_state(file, Held) is None or noise.strip().startswith(b"{")
