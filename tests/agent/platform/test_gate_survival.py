"""The execution gate under attack and load: killed, hung and stopped processes, storms."""

import os
import signal
from pathlib import Path

import pytest

from agent.platform.execution_ports import GatePlan
from tests.gatelab import DPKG, REFUSED, finish, gated_pc, program, run, start
from tests.isolated import isolated

pytestmark = pytest.mark.needs("linux", "root", "fanotify", "loop", "mountns", "ext4")


@pytest.mark.parametrize("half", ["handler", "keeper"])
@pytest.mark.parametrize("closed", [False, True])
def test_killed_half_is_replaced_and_nothing_slips_through(tmp_path: Path, half: str, closed: bool) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=True, closed=closed, packages=DPKG))
            for _ in range(3):
                before = lab.pid(half)
                os.kill(before, signal.SIGKILL)
                assert run(own) == REFUSED
                assert run(str(lab.root / "usr/bin/good")) == 0
                lab.until(lambda before=before: lab.state.get(half) not in {None, str(before)})  # type: ignore[misc]
            losses = [report for report in lab.reports if report.what == f"{half}_lost"]
            assert len(losses) == 3
            assert all(report.by_force for report in losses)

    isolated(body)


@pytest.mark.parametrize("closed", [False, True])
def test_hung_handler_is_replaced(tmp_path: Path, closed: bool) -> None:
    """What waits in the kernel's queue is judged by the new one, in both fail modes."""

    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=True, closed=closed, packages=DPKG))
            handler = lab.pid("handler")
            os.kill(handler, signal.SIGSTOP)
            waiting = [start(own) for _ in range(3)]
            assert finish(waiting[0], 0.3) is None
            assert [finish(child, 4.0) for child in waiting] == [REFUSED] * 3
            lab.until(lambda: any(report.what == "handler_lost" for report in lab.reports))
            assert next(report for report in lab.reports if report.what == "handler_lost").by_force

    isolated(body)


def test_hung_keeper_is_replaced(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            keeper = lab.pid("keeper")
            os.kill(keeper, signal.SIGSTOP)
            assert run(own) == REFUSED
            lab.until(lambda: lab.state.get("keeper") not in {None, str(keeper)})
            assert run(own) == REFUSED

    isolated(body)


def test_both_killed_is_a_gap_that_is_told_and_closed(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            pids = lab.pid("keeper"), lab.pid("handler")
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            lab.until(lambda: any(report.what == "lost" for report in lab.reports))
            count = len(lab.reports)
            lab.until(lambda: any(report.what == "started" for report in lab.reports[count - 1 :]))
            lab.until(lambda: lab.state.get("gate") == "running")
            assert run(own) == REFUSED

    isolated(body)


def test_storm_is_attributed_whole(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            good, own = str(lab.root / "usr/bin/good"), lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            children = [start(path) for _ in range(500) for path in (good, own)]
            codes = [finish(child, 20.0) for child in children]
            assert codes == [0, REFUSED] * 500
            lab.until(lambda: len(lab.seen) >= 1000)
            assert {one.pid: one.denied for one in lab.seen} == dict(
                zip(children, [False, True] * 500, strict=True)
            )
            assert lab.platform.execution_log.lost() == 0

    isolated(body)


def test_stopped_gate_leaves_everything_free(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=True, closed=True, packages=DPKG))
            pids = lab.pid("keeper"), lab.pid("handler")
            lab.platform.execution_gate.stop()
            assert run(own) == 0
            assert not any(Path(f"/proc/{pid}/fd/0").exists() for pid in pids)

    isolated(body)
