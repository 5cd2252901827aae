"""Files that tell about the run itself: the lock of the only agent, and the marker of a run that did not end."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from protocol.refusal import RefusedError

RUNNING_FILE, LOCK_FILE = "running", "agent.lock"


def hold_lock(run: Path) -> int:
    """Make sure that this is the only agent using a run directory; returns the descriptor that holds the lock.

    Raises RefusedError ``overloaded`` when another one runs.
    """
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(run / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RefusedError("overloaded", f"another agent already runs with {run}", "stop it first") from error
    return descriptor


class Marker:
    """A file that is there while the agent runs: found at the start, it tells that the run before crashed.

    It lies in the state directory, so that a power loss counts too.
    """

    def __init__(self, state: Path, proc: Path) -> None:
        self._path = state / RUNNING_FILE
        self.boot_id = _first_line(proc / "sys/kernel/random/boot_id")
        """The kernel's id of this boot (random(4))."""

    def set(self) -> bool:
        """Set it; tells whether it was there already. A disk that takes nothing does not keep the agent from running."""
        crashed = self._path.exists()
        try:
            self._path.write_text(self.boot_id, encoding="ascii")
        except OSError:
            return crashed
        return crashed

    def clear(self) -> None:
        """The run ends cleanly."""
        self._path.unlink(missing_ok=True)


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
