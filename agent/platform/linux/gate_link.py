"""The agent's side of the execution gate: has the list built, starts the pair, notices when it is gone, ends leftovers."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.platform.execution_ports import GatePlan, GateReport
from agent.platform.linux import gate_pair
from agent.platform.linux.fanotify import probe
from agent.platform.linux.gate_build import Built
from agent.platform.linux.gate_maker import ListMaker, own_folders
from agent.platform.linux.gate_pair import Options
from agent.platform.linux.gate_pids import Pids, end, end_pair, read_pids
from agent.platform.linux.packages import databases_stamp
from agent.platform.ports import UnsupportedError

if TYPE_CHECKING:
    from agent.platform import Platform
    from agent.platform.linux.gate_channel import GateChannel

BOOT = Path(__file__).with_name("gate_boot.py")
SILENCE_S = 6.0
"""A pair that says nothing for so long is stopped as a whole: each half would have replaced the other by then."""
CALM_S = 10.0
"""A pair that lived this long is started again at once, others after a growing pause."""
LONGEST_PAUSE_S = 30.0
STOP_S = 3.0
RETRY_S = 30.0
"""After a list could not be built."""


class GateLink:
    """Implements ``ports.ExecutionGate``."""

    def __init__(self, platform: Platform, channel: GateChannel) -> None:
        self.exempt = own_folders()
        self._platform = platform
        self._channel = channel
        self._maker = ListMaker(platform.root, platform.state)
        self._pids = platform.run / "gate.pids"
        self._epoll = select.epoll()
        self._plan: GatePlan | None = None
        self._stamp: tuple[int, ...] = ()
        self._retry_due = 0.0
        self._built: Built | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._command: socket.socket | None = None
        self._closed = False
        self._leftovers: Pids = []
        self._status: dict[str, str] = {}
        self._heard_at = self._started_at = self._start_due = self._pause = 0.0
        self._reports: list[GateReport] = []

    def probe(self) -> None:
        self._folders()
        try:
            probe(str(self._platform.run))
        except OSError as problem:
            hint = "needs CAP_SYS_ADMIN and a kernel with fanotify permission events"
            raise UnsupportedError("execution_gate", str(problem), hint) from problem

    def load(self, plan: GatePlan) -> None:
        """Build the list unless it was built from this plan and these packages. Raises OSError."""
        stamp = self._stamp_of(plan)
        if plan == self._plan and stamp == self._stamp:
            return
        self._folders()
        self._plan, self._stamp = plan, stamp
        self._epoll.register(self._maker.begin(plan), select.EPOLLIN)  # leaves by itself when it is closed

    def watch(self) -> int:
        return self._epoll.fileno()

    def reports(self) -> tuple[list[GateReport], dict[str, str]]:
        for report in self._channel.reports():
            self._take(report)
        self._take_list()
        self._look_after()
        if self._plan is not None and not self._maker.busy and time.monotonic() >= self._retry_due:
            self.load(self._plan)
        taken, self._reports = self._reports, []
        return taken, self._state()

    def stop(self) -> None:
        self._plan = self._built = None
        self._maker.end()
        self._end_gate()

    def _take_list(self) -> None:
        made = self._maker.finished()
        if made is None or self._plan is None:
            return
        if isinstance(made, str):
            self._reports.append(GateReport("failed", made))
            self._stamp, self._retry_due = (), time.monotonic() + RETRY_S
            return
        self._retry_due = 0.0
        self._built = made
        if made.result == "unsafe":
            uncovered = ", ".join(made.uncovered) or "no package at all"
            self._reports.append(GateReport("unsafe", f"would refuse what repairs a PC: {uncovered}"))
        else:
            self._reports.append(GateReport("built"))
        if self._command is not None and self._closed != self._plan.closed:
            self._end_gate()
        if self._command is None:
            self._start()
        else:
            self._command.send(gate_pair.RELOAD)

    def _start(self) -> None:
        if self._plan is None or time.monotonic() < self._start_due:
            return
        self._leftovers = read_pids(self._pids)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._closed = self._plan.closed
        platform, inlet = self._platform, self._channel.inlet
        options = Options(
            str(platform.root),
            str(platform.sys),
            str(self._maker.list_file),
            str(self._pids),
            self._closed,
            inlet.fileno(),
            theirs.fileno(),
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(BOOT), *options.arguments()],
            stdin=subprocess.DEVNULL,
            pass_fds=(inlet.fileno(), theirs.fileno()),
            start_new_session=True,
        )
        theirs.close()
        self._command = ours
        self._epoll.register(ours.fileno(), select.EPOLLIN)
        self._started_at = self._heard_at = time.monotonic()

    def _look_after(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # reaped; the other half may live on
        if self._command is None:
            if self._plan is not None and self._built is not None:
                self._start()
            return
        with contextlib.suppress(BlockingIOError):
            if not self._command.recv(1):
                self._lost("both processes of the gate are gone")
                return
        if time.monotonic() - self._heard_at > SILENCE_S:
            end_pair(self._pids)
            self._lost("both processes of the gate were stopped or hung")

    def _lost(self, why: str) -> None:
        self._close_command()
        now = time.monotonic()
        calm = now - self._started_at > CALM_S
        self._pause = 0.0 if calm else min(max(self._pause * 2, 0.5), LONGEST_PAUSE_S)
        self._start_due = now + self._pause
        self._status = {}
        self._reports.append(GateReport("lost", why, by_force=True))
        self._start()

    def _take(self, report: dict[str, str]) -> None:
        self._heard_at = time.monotonic()
        what = report.get("what", "")
        if what == "status":
            self._status = report
            if report.get("unmarked"):
                self._reports.append(GateReport("incomplete", report["unmarked"]))
        elif what == "loaded":
            end(self._leftovers)
            self._leftovers = []
            self._reports.append(GateReport("started"))
        elif what in {"handler_lost", "keeper_lost"}:
            self._reports.append(_loss(report))
        elif what == "handler_crashed":
            self._reports.append(GateReport(what, report.get("why", "")))
        elif what in {"failed", "load_failed"}:
            self._reports.append(GateReport("failed", report.get("why", "")))

    def _end_gate(self) -> None:
        """Have the pair quit and wait for it; whatever does not, or was left by an agent before, is killed."""
        if self._command is not None:
            self._command.settimeout(STOP_S)
            with contextlib.suppress(OSError):
                self._command.send(gate_pair.QUIT)
                self._command.recv(1)  # ends with the pair
        end_pair(self._pids)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._close_command()
        self._status = {}

    def _close_command(self) -> None:
        if self._command is not None:
            self._command.close()
            self._command = None

    def _stamp_of(self, plan: GatePlan) -> tuple[int, ...]:
        return databases_stamp(
            self._platform.root, places=not plan.packages.keys().isdisjoint(("pip", "npm"))
        )

    def _folders(self) -> None:
        for folder in (self._platform.state, self._platform.run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _state(self) -> dict[str, str]:
        running = "running" if self._status and self._command else "starting" if self._command else "stopped"
        built = self._built
        made = f"{built.result} paths={built.paths} digests={built.digests}" if built else "none"
        known = {name: value for name, value in self._status.items() if name != "what"}
        return {**known, "gate": running, "list": made, "fail": "closed" if self._closed else "open"}


def _loss(report: dict[str, str]) -> GateReport:
    half = report["what"].removesuffix("_lost")
    cause, code, settled = (report.get(name, "") for name in ("cause", "code", "settled"))
    detail = f"{half}: {cause}"
    if code:
        detail += f" (exit {code})"
    if settled.strip("0"):
        how = "allowed" if report.get("allowed") == "1" else "refused"
        detail += f"; {settled} program start(s) {how} without a look"
    by_force = cause == "stopped" or (cause == "died" and (half == "keeper" or code.startswith("-")))
    return GateReport(report["what"], detail, by_force=by_force)
