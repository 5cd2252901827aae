"""A city hall with one PC, and a collector with its data on the real disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench import inside
from tests.bench.disk import put_on_disk
from tests.e2e.testbed.cityhall import CityHall
from tests.e2e.testbed.installation import DATA, STATE, Installation
from tests.e2e.testbed.machine import PROJECT, Machine, wait_for

PC = "lgwan-01"
STRANGE = "/usr/local/bin/strange"
PYTHON = ("/usr/bin/python3", "-S", str(Path(inside.__file__)))
"""Runs a command of ``inside`` on a machine."""


class Hall:
    """Built, installed, a policy in force, the agent running as the service would run it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        # In the project, not below /tmp: that may be a RAM disk.
        name = self._stack.enter_context(tempfile.TemporaryDirectory(dir=PROJECT, prefix=".bench-"))
        self.folder = Path(name)
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        self.hall = self._stack.enter_context(CityHall((PC,)))
        self.pc = self.hall.pcs[PC]
        office = self._stack.enter_context(Machine("office"))
        # File systems of their own: the execution gate of the PC marks whole ones (FAN_MARK_FILESYSTEM), and with the
        # real machine's disk bound into the PC it refused programs on the real machine.
        put_on_disk(self.hall.collector, self.folder / "collector.img", DATA)
        put_on_disk(self.pc, self.folder / "agent.img", STATE)
        self.site = Installation(self.hall, office, self.folder)
        self._stack.callback(self.site.close)
        self.site.install_collector()
        self.site.start_collector()
        self.id = self.site.enrol(PC)
        shutil.copy(self.pc.path("/usr/bin/true"), self.pc.path(STRANGE))
        with self.pc.path(STRANGE).open("ab") as file:
            file.write(b"strange")
        self.generation = self.site.release_policy("bench")
        self.start_agent()

    def start_agent(self) -> None:
        """Start it (with its default heartbeat) and wait until every control is in force and the collector answers."""
        argv = ["sekisho-agent", "run", "--state", STATE]
        self.site.agents[PC] = self.pc.spawn(argv, log=self.folder / "agent.log")
        wait_for("the agent to be at work", self._at_work, seconds=60)

    def stop_agent(self) -> None:
        """SIGTERM, until it has ended: it leaves nothing behind that stops or sees anything."""
        process = self.site.agents.pop(PC)
        os.kill(self.pc.agent_pid(process), signal.SIGTERM)
        process.wait(30)

    def resident(self) -> int:
        """The resident agent's process as seen from here."""
        return self.pc.agent_pid(self.site.agents[PC])

    def gate(self) -> list[int]:
        """Its execution gate: the processes below the resident one that stay."""
        return [pid for pid in _below(self.resident()) if not _looks(pid)]

    def looks(self) -> bool:
        """Is the software of the PC being looked at?"""
        return any(_looks(pid) for pid in _below(self.resident()))

    def status(self) -> dict[str, Any]:
        """The agent's ``status.json``; empty while there is none."""
        try:
            return dict(json.loads(self.pc.path("/run/sekisho-agent/status.json").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def _at_work(self) -> bool:
        if self.site.agents[PC].poll() is not None:
            raise RuntimeError(f"the agent ended: {(self.folder / 'agent.log').read_text()}")
        status = self.status()
        controls = status.get("controls", {})
        return (
            status.get("collector") == "connected"
            and status.get("policy_generation") == self.generation
            and controls.get("connections") == controls.get("execution") == "enforce"
            and not self._runs_strange()
        )

    def _runs_strange(self) -> bool:
        """Whether a program that nothing covers can be started: the gate says by its deeds that it is at work."""
        return self.pc.run([STRANGE], user="tanaka", check=False).returncode == 0

    def close(self) -> None:
        """Switch everything off."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _below(pid: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(one for child in children for one in _below(child))]


def _looks(pid: int) -> bool:
    """Whether a process is the inventory child of the agent."""
    try:
        return b"agent.inventory" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def until_closed(process: subprocess.Popen[str]) -> str:
    """Close the standard input of a command of ``inside`` and return what it says at its end."""
    said, _ = process.communicate(timeout=30)
    return said
