"""Finding and ending the processes of a gate from outside, by the trace its keeper leaves."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from agent.platform.linux.gate_keeper import start_time

Pids = list[tuple[int, str]]
"""Process id and start time of keeper and handler."""
END_S = 3.0
_ROUNDS = 5


def read_pids(path: Path) -> Pids:
    """Read the trace; empty when there is none."""
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    pairs = (line.split() for line in lines)
    return [(int(pair[0]), pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdigit()]


def end_pair(path: Path) -> None:
    """End the gate that left this trace, and the one that a survivor of it may have made meanwhile."""
    for _ in range(_ROUNDS):
        pids = [(pid, started) for pid, started in read_pids(path) if start_time(pid) == started]
        if not pids:
            break
        end(pids)
    path.unlink(missing_ok=True)


def end(pids: Pids) -> None:
    """End processes, if they are still those written down, and wait until they are gone.

    They are stopped first: the half that outlives the other would take its place with a new one.
    """
    there = [pid for pid, started in pids if started and start_time(pid) == started]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + END_S
    for pid in there:
        with contextlib.suppress(ProcessLookupError):
            _wait(pid, deadline)


def _wait(pid: int, deadline: float) -> None:
    fd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
    finally:
        os.close(fd)
