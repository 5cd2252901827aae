"""What the execution sensor tells of programs the gate let start."""

import shutil
import subprocess
from pathlib import Path

from agent.platform import Platform
from agent.platform.execution_ports import Execution
from agent.sensors.execution import ExecutionSensor
from protocol.events import (
    AgentDropped,
    ProcessStarted,
)


class Log:
    """Executions as a test hands them over."""

    def __init__(self, *, lost: int = 0) -> None:
        self.waiting: list[Execution] = []
        self._lost = lost

    def fileno(self) -> int:
        return 0

    def executions(self) -> list[Execution]:
        found, self.waiting = self.waiting, []
        return found

    def lost(self) -> int:
        return self._lost


def test_sensor_tells_what_was_lost(tmp_path: Path) -> None:
    sensor = ExecutionSensor(Platform(state=tmp_path, run=tmp_path))
    sensor._log = Log(lost=3)
    events = list(sensor.tick())
    assert [(type(event), getattr(event, "count", 0)) for event in events] == [(AgentDropped, 3)]


def started_as(program: Path, pid: int, exe: str = "/usr/bin/bash") -> Execution:
    return Execution(time_us=1, pid=pid, ppid=1, uid=0, exe=exe, cmdline="bash", target=str(program))


def started(sensor: ExecutionSensor) -> list[ProcessStarted]:
    return [event for event in sensor.tick() if isinstance(event, ProcessStarted)]


def test_sensor_reads_the_command_line_of_what_was_started(tmp_path: Path) -> None:
    sleep = Path(shutil.which("sleep") or "").resolve()
    sensor = ExecutionSensor(Platform(state=tmp_path, run=tmp_path))
    sensor._log = log = Log()
    process = subprocess.Popen([sleep, "600"])
    try:
        log.waiting.append(started_as(sleep, process.pid))
        (event,) = started(sensor) or started(
            sensor
        )  # the kernel puts the command line in place a moment after
        assert (event.args, event.cmdline) == (f"{sleep} 600", "bash")
        # Still the caller: looked at once more, and no longer.
        log.waiting.append(started_as(Path("/usr/bin/other"), process.pid, exe=str(sleep)))
        assert started(sensor) == []
        (event,) = started(sensor)
        assert (event.target, event.args) == ("/usr/bin/other", "")
    finally:
        process.kill()
        process.wait()
    log.waiting.append(started_as(sleep, process.pid))
    (event,) = started(sensor)
    assert event.args == ""
