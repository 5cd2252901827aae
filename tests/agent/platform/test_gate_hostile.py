"""Files made to break the execution gate, or to hold it up."""

import os
import signal
from pathlib import Path

import pytest

from agent.platform.execution_ports import GatePlan
from agent.platform.linux.gate_content import LARGE
from tests.gatelab import DPKG, REFUSED, finish, gated_pc, program, run, start
from tests.isolated import isolated

pytestmark = pytest.mark.needs("linux", "root", "fanotify", "loop", "mountns", "ext4")


def test_hostile_files_are_refused_and_hold_nobody_up(tmp_path: Path) -> None:
    """A header that lies, a path too long to be named, and a terabyte out of nothing."""

    def body() -> None:
        with gated_pc(tmp_path) as lab:
            liar = bytearray(program())
            liar[32:40] = b"\xff" * 8
            names = [lab.write("home/yamada/liar", bytes(liar), 0o755)]
            giant = lab.write("home/yamada/giant", program("giant"), 0o755)
            os.truncate(giant, 1 << 40)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            handler = lab.pid("handler")
            waiting = start(giant)
            good = str(lab.root / "usr/bin/good")
            assert run(good) == 0
            assert run(names[0]) == REFUSED
            assert finish(waiting, 0.5) is None
            assert run_deep(lab.root / "tmp", program("deep")) == REFUSED
            assert finish(waiting, 0.1) is None
            os.kill(waiting, signal.SIGKILL)
            os.waitpid(waiting, 0)
            lab.until(lambda: len(lab.seen) >= 3)
            lab.pump()
            assert lab.pid("handler") == handler

    isolated(body)


@pytest.mark.parametrize(("closed", "outcome"), [(False, 0), (True, REFUSED)])
@pytest.mark.parametrize("half", ["keeper", "handler"])
def test_question_for_a_large_file_outlives_no_change_of_guard(
    tmp_path: Path, half: str, closed: bool, outcome: int
) -> None:
    """What is being read when a half of the gate is lost is answered by the fail mode."""

    def body() -> None:
        with gated_pc(tmp_path) as lab:
            giant = lab.write("home/yamada/giant", program("giant"), 0o755)
            os.truncate(giant, 1 << 40)
            lab.load(GatePlan(enforce=True, closed=closed, packages=DPKG))
            waiting = start(giant)
            assert finish(waiting, 0.3) is None
            os.kill(lab.pid(half), signal.SIGKILL)
            assert finish(waiting, 5.0) == outcome

    isolated(body)


def run_deep(folder: Path, content: bytes) -> int:
    """Execute a program 4,500 bytes of path below ``folder``."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for _ in range(18):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
        Path("tool").write_bytes(content)
        Path("tool").chmod(0o755)
        os._exit(run("./tool") & 0xFF)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code - 256 if code > 128 else code


def test_large_program_is_read_beside_the_others(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            content = program("large") + bytes(LARGE)
            large = lab.write("usr/bin/large", content, 0o755)
            lab.register("large", {"usr/bin/large": content})
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            assert run(large) == 0
            assert run(large) == 0
            Path(large).write_bytes(content + b"x")
            assert run(large) == REFUSED
            lab.until(
                lambda: (
                    [(one.package, one.reason) for one in lab.seen]
                    == [("large", ""), ("large", ""), ("", "changed")]
                )
            )

    isolated(body)
