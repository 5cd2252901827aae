"""Which segments a PC watches: from the collector's answer to the sensors, and back in its heartbeats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from agent.health import Health
from agent.platform import Platform
from agent.reports import DutyTold
from agent.sensing import SensorHost
from agent.sensors import Sensor
from policies.model import Control
from protocol.events import Event, NeighbourSeen
from protocol.messages import Heartbeat, HeartbeatReply
from protocol.text import Text
from tests.agent.collector_double import running
from tests.agent.test_uplink import Station

LAN, OTHER = "10.1.0.0/24 00:00:5e:00:53:01", "10.2.0.0/24 00:00:5e:00:53:02"


class Watching(Sensor):
    """Watches what it is told to, and says so."""

    name: ClassVar[str] = "watching"
    control: ClassVar[Control] = "neighbours"
    emits: ClassVar[tuple[type[Event], ...]] = (NeighbourSeen,)
    doc: ClassVar[Text] = Text("無", "none")
    limits: ClassVar[Text] = doc
    example: ClassVar[Event] = NeighbourSeen(time_us=0)

    def open(self) -> Iterable[Event]:
        self.segments, self.standby = (LAN, OTHER), True
        return ()

    def watch(self, segments: tuple[str, ...]) -> Iterable[Event]:
        self.standby = not segments
        return [NeighbourSeen(time_us=1, segment=one) for one in segments]

    def close(self) -> None:
        pass


Sensor.registry.pop("watching")  # a test's own, not for the agent


def host(tmp_path: Path, told: list[Event]) -> SensorHost:
    return SensorHost(Platform(state=tmp_path), {"watching": Watching}, Health(), told.append)


def test_a_sensor_stands_by_until_it_is_told_and_says_so(tmp_path: Path) -> None:
    told: list[Event] = []
    sensors = host(tmp_path, told)
    assert sensors.segments() == ()
    sensors.open(off=set())
    assert (sensors.states(), sensors.segments()) == ({"watching": "standby"}, (LAN, OTHER))
    sensors.watch((LAN,))
    assert sensors.states() == {"watching": "running"}
    assert told == [NeighbourSeen(time_us=1, segment=LAN)]
    sensors.watch(())
    assert sensors.states() == {"watching": "standby"}


def test_one_that_starts_later_hears_its_duty_at_its_start(tmp_path: Path) -> None:
    told: list[Event] = []
    sensors = host(tmp_path, told)
    sensors.watch((OTHER,))
    sensors.open(off=set())
    assert sensors.states() == {"watching": "running"}
    sensors.open(off={"neighbours"})
    assert (sensors.states(), sensors.segments()) == ({"watching": "off"}, ())


def test_a_duty_is_reported_when_it_changes(tmp_path: Path) -> None:
    duties = iter([(LAN,), (LAN,), (), (OTHER,)])
    with running() as collector:
        collector.answers[Heartbeat] = lambda _beat: [HeartbeatReply(time_us=1, watch=next(duties, (OTHER,)))]
        station = Station(tmp_path, collector)
        try:
            station.told(DutyTold, lambda report: report.segments == (OTHER,))
            told = [one.segments for one in station.reports if isinstance(one, DutyTold)]
            assert told == [(LAN,), (), (OTHER,)]
        finally:
            station.close()
