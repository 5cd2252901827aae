"""What the agent costs a PC: memory and processor when idle, and what it adds to connections and program starts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench.figures import added, percentile
from tests.bench.hall import PYTHON, Hall
from tests.e2e.testbed.cityhall import CLOUD_V4
from tests.e2e.testbed.machine import wait_for

IDLE_S = 20.0
WINDOW_S, BUSY = 2.0, 0.01
ROUNDS, CONNECTS, STARTS = 6, 1_000, 400
PROGRAM = "/usr/bin/true"
TICKS_S = os.sysconf("SC_CLK_TCK")


def rss_mib(pids: Iterable[int]) -> float:
    """Resident memory, pages shared with other processes counted in full (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                total += int(line.split()[1])
    return total / 1024


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time used so far, user and system: to the ns where the kernel keeps it so for each thread (schedstat)."""
    total = 0.0
    for pid in pids:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        try:
            total += sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9
        except FileNotFoundError:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS_S
    return total


def settle(hall: Hall) -> None:
    """Wait until the first inventory (a minute or so of a process of low priority) is done. Raises TimeoutError."""

    def quiet() -> bool:
        resident, children = hall.resident(), hall.gate()
        before = cpu_s([resident])
        time.sleep(WINDOW_S)
        return hall.gate() == children and not hall.looks() and cpu_s([resident]) - before < WINDOW_S * BUSY

    wait_for("the agent's first inventory", quiet, seconds=300)


def idle(hall: Hall) -> dict[str, float]:
    """Memory after ``IDLE_S`` without work, and processor time over as long again."""
    settle(hall)
    time.sleep(IDLE_S)
    resident, gate = [hall.resident()], hall.gate()
    begin, ours, theirs = time.monotonic(), cpu_s(resident), cpu_s(gate)
    time.sleep(IDLE_S)
    took = time.monotonic() - begin
    return {
        "agent.rss_mib": rss_mib(resident),
        "agent.gate_rss_mib": rss_mib(gate),
        "agent.idle_cpu_percent": (cpu_s(resident) - ours) / took * 100,
        "agent.gate_idle_cpu_percent": (cpu_s(gate) - theirs) / took * 100,
    }


def _times(hall: Hall, *command: str) -> list[float]:
    """Microseconds of each try, by an ordinary user."""
    done = hall.pc.run([*PYTHON, *command], user="tanaka", timeout=120)
    return [ns / 1000 for ns in json.loads(done.stdout)]


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """Idle first; then with and without the agent in turns, so that both see the same machine."""
    connect: dict[bool, list[list[float]]] = {True: [], False: []}
    start: dict[bool, list[list[float]]] = {True: [], False: []}
    say("building a city hall")
    with Hall() as hall:
        say("an idle agent")
        figures = idle(hall)
        for number in range(ROUNDS):
            settle(hall)
            for running in (True, False):
                say(f"round {number + 1} of {ROUNDS}, {'with' if running else 'without'} the agent")
                connect[running].append(_times(hall, "connects", CLOUD_V4, "443", str(CONNECTS)))
                start[running].append(_times(hall, "starts", PROGRAM, str(STARTS)))
                if running:
                    hall.stop_agent()
                elif number + 1 < ROUNDS:
                    hall.start_agent()
    return {
        **figures,
        "agent.connect_added_us_p50": added(connect[False], connect[True]),
        "agent.connect_us_p50": percentile([one for turn in connect[False] for one in turn], 50),
        "agent.exec_added_us_p50": added(start[False], start[True]),
        "agent.exec_us_p50": percentile([one for turn in start[False] for one in turn], 50),
    }
