"""The part of the agent that deals with files, wired as the runtime does, and what acts on its places and media."""

from __future__ import annotations

import random
import select
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.enforcers import Outcome
from agent.enforcers.files import FilesEnforcer
from agent.judge import decide
from agent.platform import Platform
from agent.platform.ports import OverflowedError
from agent.scan.mynumber import check_digit
from agent.sensors import Sensor
from agent.sensors.files import FilesSensor
from agent.sensors.writes import MediaWritesSensor
from policies.compile import compile_file
from policies.model import Bundle, ConfidentialPlace, Label, Mode, Permit, Setting
from policies.ordinance import load_ordinances
from policies.shipped import shipped_directory
from policies.view import PolicyView
from protocol.events import Event, FileAccessed, MediaFileWritten, decode_event, encode_event

RULES = (
    "mynumber_to_medium",
    "label_to_medium",
    "confidential_copy",
    "confidential_on_city_medium",
    "unscannable_to_medium",
    "file_access_by_stranger",
    "bulk_file_access",
)
STRANGER = 65533
"""A user id nobody has."""
_EVENTS = {1: select.POLLIN, 2: select.POLLPRI}
Kind = TypeVar("Kind", bound=Event)


def my_number(dice: random.Random) -> str:
    """A number of the published form, made up."""
    eleven = "".join(dice.choice("0123456789") for _ in range(11))
    return eleven + str(check_digit(eleven))


def policy(
    place: Path, *permits: Permit, mode: Mode = "enforce", handlers: tuple[str, ...] = ()
) -> PolicyView:
    """The shipped rules about files, one confidential place, two labels."""
    ordinances = load_ordinances(shipped_directory("ordinances"))
    juki = ConfidentialPlace(
        name="juki", title_ja="住基", title_en="residents", path=str(place), handlers=handlers
    )
    elsewhere = ConfidentialPlace(
        name="tax", title_ja="税", title_en="tax", path=f"{place}-tax", sections=("税務課",)
    )
    bundle = Bundle(
        city="test",
        generation=1,
        issued_us=0,
        expires_us=4_000_000_000_000_000,
        ordinances=("nagoya",),
        rules=tuple(compile_file(shipped_directory("rules") / f"{name}.yml", ordinances) for name in RULES),
        permits=permits,
        zones=(),
        settings={"files": {"*": Setting(mode)}, "media": {"*": Setting("observe")}},
        places=(juki, elsewhere),
        labels=(Label("confidential3", ("機密性3",)), Label("handle_with_care", ("取扱注意",))),
    )
    return PolicyView(bundle, "0" * 64, "agent")


class Pc:
    """Both sensors, the judge and the enforcer over the real kernel."""

    def __init__(self, folder: Path, view: PolicyView, *, media: bool = True) -> None:
        self.platform = Platform(state=folder / "state", run=folder / "run")
        self.sensors: list[Sensor] = [FilesSensor(self.platform)]
        if media:
            self.sensors.append(MediaWritesSensor(self.platform))
        self.enforcer = FilesEnforcer(self.platform)
        self.view = view
        self.events: list[Event] = []
        self.outcomes: list[tuple[Event, Outcome | None]] = []
        self.overflows = 0
        for sensor in self.sensors:
            self.take(sensor.open())
            self.take(sensor.follow(view))

    def take(self, events: Iterable[Event]) -> None:
        """Judge and enforce."""
        for event in events:
            assert decode_event(encode_event(event)) == event
            _, verdict, _ = decide(self.view, event, self.platform.now_us())
            self.events.append(event)
            self.outcomes.append((event, self.enforcer.stop(event, verdict)))

    def turn(self, wait_ms: int = 50) -> None:
        """One turn of the main loop, and a tick."""
        poller = select.poll()
        owners = {}
        for sensor in self.sensors:
            for fileno, events in sensor.filenos():
                poller.register(fileno, _EVENTS[events])
                owners[fileno] = sensor
        for fileno, _ in poller.poll(wait_ms):
            self._run(owners[fileno], partial(owners[fileno].read, fileno))

    def _run(self, sensor: Sensor, work: Callable[[], Iterable[Event]]) -> None:
        try:
            self.take(work())
        except OverflowedError:
            self.overflows += 1
            self.take(sensor.recover())

    def until(self, found: Callable[[], object], seconds: float = 20.0) -> None:
        """Turn until something is found; fails when it is not."""
        end = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < end, self.events
            self.turn()
            for sensor in self.sensors:
                self._run(sensor, sensor.tick)

    def written(self, path: str = "") -> list[MediaFileWritten]:
        """What was told of a file on a medium."""
        return [one for one in self.events if isinstance(one, MediaFileWritten) and path in {"", one.path}]

    def accessed(self, access: str = "", path: str = "") -> list[FileAccessed]:
        """What was told of a confidential place."""
        return [
            one
            for one in self.events
            if isinstance(one, FileAccessed) and access in {"", one.access} and one.path.endswith(path)
        ]

    def rules(self, event: Event) -> set[str]:
        """The rules that fire on an event."""
        return {
            hit.rule.id for hit in self.view.match(event, self.view.enrich(event, self.platform.now_us()))
        }

    def close(self) -> None:
        """End the sensors."""
        for sensor in self.sensors:
            sensor.close()


def run_as(
    uid: int, script: str, *arguments: str, turn: Callable[[], object] = lambda: time.sleep(0.01)
) -> None:
    """Run a shell script as a user, the agent turning meanwhile."""
    command = [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        "sh",
        "-c",
        script,
        "sh",
        *arguments,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as script_run:
        while script_run.poll() is None:
            turn()
        assert script_run.stderr is not None
        assert script_run.returncode == 0, script_run.stderr.read()
