"""What this PC can enforce, what it can only see, and why: looked up without changing anything."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from agent.enforcing import CONTROLS
from agent.platform.ports import Readiness, UnsupportedError
from protocol.text import Lang, Text

if TYPE_CHECKING:
    from agent.enforcers import Enforcer
    from agent.platform import Platform
    from agent.sensors import Sensor

Level = Literal["enforce", "observe", "unsupported"]

TITLES: dict[str, Text] = {
    "devices": Text("機器の接続", "devices"),
    "media": Text("記録媒体", "media"),
    "software": Text("ソフトウェアの導入", "software"),
    "execution": Text("プログラムの実行", "execution"),
    "connections": Text("通信先", "connections"),
    "neighbours": Text("周囲の機器", "neighbours"),
    "links": Text("ネットワークの経路", "links"),
    "files": Text("機密の置き場所", "files"),
    "logons": Text("ログオン", "logons"),
    "posture": Text("端末の守り", "posture"),
    "isolation": Text("端末の隔離", "isolation"),
}
LEVELS: dict[Level, Text] = {
    "enforce": Text("遮断可", "enforce"),
    "observe": Text("監視のみ", "observe only"),
    "unsupported": Text("非対応", "unsupported"),
}
NO_ENFORCER = Text(
    "導入は監視し、実行の段階で遮断します。",
    "installing is observed; what is not allowed is stopped when it runs",
)
HEADER = Text("項目", "control"), Text("状態", "level"), Text("理由と対処", "why, and what to do")
ALL_GOOD = Text(
    "すべての項目を遮断できます（監視で足りる項目を除く）。",
    "Everything that can be enforced is enforced here when the policy says so.",
)
NOT_ALL = Text("この端末では遮断できない項目があります。", "This PC cannot enforce everything.")


class Finding(Struct, frozen=True):
    """One control of this PC. ``sensors`` are those that work here; ``expected`` is what a sound PC reaches."""

    control: str
    level: Level
    expected: Level
    why: str
    hint: str
    sensors: tuple[str, ...] = ()


def examine(
    platform: Platform,
    sensors: dict[str, type[Sensor]],
    enforcers: dict[str, type[Enforcer]],
    running: dict[str, str] | None = None,
) -> list[Finding]:
    """Look at every control, isolation included.

    ``running`` is what a resident agent says of its sensors: those are not opened a second time, which could disturb
    them. Otherwise sensors are tried with an empty state of their own.
    """
    with tempfile.TemporaryDirectory() as scratch:
        apart = replace(platform, state=Path(scratch), run=Path(scratch))
        seen = {
            name: try_sensor(apart, kind)
            if running is None
            else _as_told(name, running.get(name, "not running"))
            for name, kind in sorted(sensors.items())
        }
    findings = []
    for control in (*CONTROLS, "isolation"):
        kinds = [kind for kind in enforcers.values() if (kind.control or "isolation") == control]
        eyes = {name: why for name, why in seen.items() if sensors[name].control == control}
        findings.append(_finding(control, [try_enforcer(platform, kind) for kind in kinds], eyes))
    return findings


def _as_told(name: str, state: str) -> UnsupportedError | None:
    return (
        None if state in {"running", "standby", "off"} else UnsupportedError(f"sensor_failed.{name}", state)
    )


def _finding(control: str, hands: list[Readiness], eyes: dict[str, UnsupportedError | None]) -> Finding:
    working = tuple(name for name, error in eyes.items() if error is None)
    errors = [error for error in eyes.values() if error is not None]
    expected: Level = "enforce" if hands or control == "isolation" else "observe"
    best = max(hands, key=lambda hand: ("unsupported", "observe", "enforce").index(hand.level), default=None)
    if best is not None and best.level == "enforce" and not errors:
        return Finding(control, "enforce", expected, best.why, best.hint, working)
    why = "; ".join(filter(None, [best.why if best else "", *(error.why for error in errors)]))
    hint = "; ".join(filter(None, [best.hint if best else "", *(error.hint for error in errors)]))
    level: Level = "observe" if working else "unsupported"
    if best is not None and not eyes:
        level = best.level
    return Finding(control, level, expected, why, hint, working)


def try_sensor(platform: Platform, kind: type[Sensor]) -> UnsupportedError | None:
    """Open a sensor and close it again; returns why it does not work."""
    sensor = None
    try:
        sensor = kind(platform)
        for _ in sensor.open():
            break
    except UnsupportedError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a broken sensor is a finding
        return UnsupportedError(f"sensor_failed.{kind.name}", f"{type(error).__name__}: {error}")
    finally:
        if sensor is not None:
            with contextlib.suppress(Exception):  # what is broken may not even close
                sensor.close()
    return None


def try_enforcer(platform: Platform, kind: type[Enforcer]) -> Readiness:
    """Ask an enforcer whether this PC can do it."""
    try:
        return kind(platform).readiness()
    except UnsupportedError as error:
        return Readiness("unsupported", error.why, error.hint)
    except Exception as error:  # noqa: BLE001 - a broken enforcer is a finding
        return Readiness("unsupported", f"{type(error).__name__}: {error}")


def is_sound(findings: list[Finding]) -> bool:
    """Whether every control reaches what it can reach on a sound PC."""
    return all(finding.level == finding.expected for finding in findings)


def as_table(findings: list[Finding], lang: Lang) -> str:
    """The findings for a person."""
    rows = [[text.say(lang) for text in HEADER]]
    for finding in findings:
        why = finding.why or (NO_ENFORCER.say(lang) if finding.control == "software" else "")
        reason = " → ".join(filter(None, [why, finding.hint]))
        rows.append([TITLES[finding.control].say(lang), LEVELS[finding.level].say(lang), reason])
    widths = [max(width(row[column]) for row in rows) for column in range(2)]
    lines = [
        "  ".join(
            [*(cell + " " * (widths[at] - width(cell)) for at, cell in enumerate(row[:2])), row[2]]
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", (ALL_GOOD if is_sound(findings) else NOT_ALL).say(lang)])


def width(text: str) -> int:
    """Columns a text takes on a terminal: two for each wide character (Unicode Annex 11)."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
