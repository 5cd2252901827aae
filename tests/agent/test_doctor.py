"""The doctor tells for each control what this PC can do and why, in both languages."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, get_args

import pytest

from agent.doctor import ALL_GOOD, NOT_ALL, as_table, examine, is_sound, width
from agent.enforcers import Enforcer
from agent.platform import Platform
from agent.platform.ports import Readiness, UnsupportedError
from agent.sensors import Sensor
from policies.model import Control
from policies.view import PolicyView
from protocol.events import DeviceAttached, Event
from protocol.text import Text

NOTHING = Text("無", "none")
CONTROLS: tuple[Control, ...] = get_args(Control)


def eye(of: Control, problem: Exception | None = None) -> type[Sensor]:
    class Eye(Sensor):
        name = f"eye_{of}"
        control = of
        emits: ClassVar[tuple[type[Event], ...]] = (DeviceAttached,)
        doc = limits = NOTHING
        example = DeviceAttached(time_us=0)
        closed: ClassVar[list[bool]] = []

        def open(self) -> Iterable[Event]:
            if problem:
                raise problem
            return ()

        def close(self) -> None:
            self.closed.append(True)

    del Sensor.registry[Eye.name]
    return Eye


def hand(of: Control | None, ready: Readiness | Exception) -> type[Enforcer]:
    class Hand(Enforcer):
        name = f"hand_{of}"
        control = of

        def readiness(self) -> Readiness:
            if isinstance(ready, Exception):
                raise ready
            return ready

        def apply(self, policy: PolicyView) -> None: ...
        def observe(self) -> dict[str, str]:
            return {}

        def clean(self) -> None: ...

    del Enforcer.registry[Hand.name]
    return Hand


def levels(
    tmp_path: Path, eyes: list[type[Sensor]], hands: list[type[Enforcer]]
) -> tuple[dict[str, str], bool, str]:
    findings = examine(
        Platform(state=tmp_path), {one.name: one for one in eyes}, {one.name: one for one in hands}
    )
    return {one.control: one.level for one in findings}, is_sound(findings), as_table(findings, "en")


READY = Readiness("enforce")


def test_a_sound_pc(tmp_path: Path) -> None:
    eyes = [eye(control) for control in CONTROLS]
    hands = [hand(control, READY) for control in CONTROLS if control != "software"] + [hand(None, READY)]
    found, sound, text = levels(tmp_path, eyes, hands)
    assert found == dict.fromkeys((*CONTROLS, "isolation"), "enforce") | {"software": "observe"}
    assert sound
    assert ALL_GOOD.en in text
    assert all(one.closed for one in eyes)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "problem",
    [UnsupportedError("no_nft", "nft is missing", "install nftables"), RuntimeError("nft is missing")],
)
def test_what_lacks_is_named(tmp_path: Path, problem: Exception) -> None:
    found, sound, text = levels(tmp_path, [eye("connections")], [hand("connections", problem)])
    assert found["connections"] == "observe"
    assert found["devices"] == "unsupported"
    assert not sound
    assert "nft is missing" in text
    assert NOT_ALL.en in text


def test_an_enforcer_without_eyes_cannot_enforce(tmp_path: Path) -> None:
    found, _, text = levels(
        tmp_path, [eye("media", UnsupportedError("no_mounts", "no mount table"))], [hand("media", READY)]
    )
    assert found["media"] == "unsupported"
    assert "no mount table" in text


def test_japanese_columns_line_up(tmp_path: Path) -> None:
    findings = examine(Platform(state=tmp_path), {}, {})
    lines = as_table(findings, "ja").splitlines()
    assert lines[0].startswith("項目")
    column = width(lines[0][: lines[0].index("状態")])
    assert all(width(line[: line.index("非対応")]) == column for line in lines[1:7])


def test_sensors_of_a_running_agent_are_not_opened_again(tmp_path: Path) -> None:
    kinds = [eye("media", RuntimeError("opened twice")), eye("devices", RuntimeError("opened twice"))]
    findings = examine(
        Platform(state=tmp_path),
        {one.name: one for one in kinds},
        {"hand_media": hand("media", READY), "hand_devices": hand("devices", READY)},
        {"eye_media": "running", "eye_devices": "failed: OSError"},
    )
    by_control = {finding.control: finding for finding in findings}
    assert by_control["media"].level == "enforce"
    assert (by_control["devices"].level, by_control["devices"].why) == ("unsupported", "failed: OSError")
