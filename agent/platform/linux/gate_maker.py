"""Has the allow-list built by a process of its own, beside the agent's loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

import agent
from agent.platform.execution_ports import GatePlan
from agent.platform.linux.gate_build import Built, Plan
from agent.platform.linux.gate_list import EVERYBODY
from agent.platform.linux.processes import Users
from protocol.refusal import UNREADABLE

_SHARED_PREFIXES = frozenset(("/", "/usr", "/usr/local"))
"""A Python that lives here is a package's; its prefix is not the agent's own."""


def own_folders() -> tuple[str, ...]:
    """Folders of the Python the agent runs in, with a slash at the end."""
    return tuple(sorted(f"{prefix}/" for prefix in {sys.prefix, sys.base_prefix} - _SHARED_PREFIXES))


class ListMaker:
    """At most one building process at a time."""

    def __init__(self, root: Path, state: Path) -> None:
        self._root = root
        self._users = Users(root)
        self._plan_file = state / "gate.plan"
        self.list_file = state / "gate.list"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def busy(self) -> bool:
        """Is a list being built?"""
        return self._process is not None

    def begin(self, plan: GatePlan) -> int:
        """Begin anew; returns a descriptor that becomes readable at the end. Raises OSError."""
        self.end()
        _write(self._plan_file, msgspec.msgpack.encode(self._body(plan)))
        roots = [str(Path(agent.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agent.platform.linux.gate_build", self._plan_file, self.list_file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
        )
        return self._output()

    def finished(self) -> Built | str | None:
        """What came of it, or why nothing did; None while it is still at work. To be called until it is not None."""
        process = self._process
        if process is None or process.poll() is None or process.stdout is None:
            return None
        with process.stdout as output:
            text = output.read()
        self._process = None
        try:
            return msgspec.json.decode(text, type=Built)
        except UNREADABLE:
            return f"the allow-list could not be built (exit {process.returncode})"

    def end(self) -> None:
        """Give up what is being built."""
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def _output(self) -> int:
        if self._process is None or self._process.stdout is None:
            raise OSError("the building process has no output")
        return self._process.stdout.fileno()

    def _body(self, plan: GatePlan) -> Plan:
        return Plan(
            root=str(self._root),
            enforce=plan.enforce,
            cover={
                source: {name: self._mark(users) for name, users in packages.items()}
                for source, packages in plan.packages.items()
            },
            digests=tuple(
                (digest, uid)
                for digest, users in plan.digests.items()
                for uid in (self._uids(users) if users else [EVERYBODY])
            ),
            folders=own_folders(),
        )

    def _mark(self, users: tuple[str, ...]) -> str:
        """Cover mark as the list has it. Users this PC does not know drop out."""
        return (",".join(map(str, self._uids(users))) or "-") if users else "+"

    def _uids(self, users: tuple[str, ...]) -> list[int]:
        return [uid for user in users if (uid := self._users.uid(user)) is not None]


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
