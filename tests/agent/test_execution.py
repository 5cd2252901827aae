"""Control ``execution`` end to end: policy in, programs refused by the kernel, events out."""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers import Verdict
from agent.enforcers.execution import DEAD, LIST, ExecutionEnforcer, plan_of
from agent.platform import Platform
from agent.sensors.execution import ExecutionSensor
from policies.model import Bundle, Citation, FailMode, Mode, Permit, Scope, Setting, SoftwareAllow, Subject
from policies.view import PolicyView
from protocol.events import (
    AgentHealth,
    AgentTampered,
    Event,
    ProcessDenied,
    ProcessStarted,
    decode_event,
    encode_event,
)
from tests.gatelab import REFUSED, Pc, gated_pc, program, run
from tests.isolated import isolated

FAR_US = 4_000_000_000_000_000
DIGEST = "ab" * 32

needs_kernel = pytest.mark.needs("linux", "root", "fanotify", "loop", "mountns", "ext4")


def permit(id: str, *, users: tuple[str, ...] = (), until_us: int = FAR_US, **subject: Any) -> Permit:
    return Permit(
        id=id,
        kind="software",
        subject=Subject(**subject),
        scope=Scope(users=users),
        from_us=0,
        until_us=until_us,
        article=Citation("nagoya", "第35条第3号"),
    )


def policy(
    *permits: Permit,
    mode: Mode = "enforce",
    fail: FailMode = "open",
    software: tuple[SoftwareAllow, ...] = (SoftwareAllow("dpkg", "*"),),
) -> PolicyView:
    bundle = Bundle(
        city="test",
        generation=1,
        issued_us=0,
        expires_us=FAR_US,
        ordinances=(),
        rules=(),
        permits=permits,
        zones=(),
        settings={"execution": {"*": Setting(mode, fail)}},
        software=software,
    )
    return PolicyView(bundle, "0" * 64, "agent")


def test_plan_holds_what_the_policy_covers_now() -> None:
    view = policy(
        permit("P1", source="rpm", package="gimp"),
        permit("P2", digest=DIGEST, users=("yamada", "sato")),
        permit("P3", source="rpm", package="old", until_us=5),
        permit("P4", source="pip", package="requests", users=("yamada",)),
        software=(SoftwareAllow("dpkg", "*"), SoftwareAllow(digest="CD" * 32)),
        fail="closed",
    )
    plan = plan_of(view, 10)
    assert (plan.enforce, plan.closed) == (True, True)
    assert plan.packages == {"dpkg": {"*": ()}, "rpm": {"gimp": ()}, "pip": {"requests": ("yamada",)}}
    assert plan.digests == {DIGEST: ("sato", "yamada"), "cd" * 32: ()}


def test_observing_plan() -> None:
    plan = plan_of(policy(mode="observe", software=()), 10)
    assert (plan.enforce, plan.closed, plan.packages, plan.digests) == (False, False, {}, {})


class Agent:
    """Enforcer and sensor on a small PC, looked after as the agent's loop does."""

    def __init__(self, platform: Platform) -> None:
        self.enforcer = ExecutionEnforcer(platform)
        self.sensor = ExecutionSensor(platform)
        self.events: list[Event] = list(self.sensor.open())

    def until(self, done: Callable[[], Any], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, (self.events[-10:], self.enforcer.observe())
            self.look()
            time.sleep(0.01)

    def look(self) -> None:
        self.events += self.enforcer.tick()
        self.events += self.sensor.tick()

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def enforce(self, view: PolicyView) -> None:
        self.enforcer.apply(view)
        self.until(lambda: self.enforcer.observe().get("marks") not in {None, "0"})


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[tuple[Pc, Agent]]:
    with gated_pc(folder) as pc:
        yield pc, Agent(pc.platform)


@needs_kernel
def test_refused_and_started_programs_are_reported(tmp_path: Path) -> None:
    def body() -> None:
        with lab(tmp_path) as (pc, agent):
            assert agent.enforcer.readiness().level == "enforce"
            own = pc.write("home/yamada/own", program("own"), 0o755)
            agent.enforce(policy())
            assert run(own) == REFUSED
            assert run(str(pc.root / "usr/bin/good")) == 0
            agent.until(lambda: len(agent.of(ProcessStarted)) == len(agent.of(ProcessDenied)) == 1)
            denied, started = agent.of(ProcessDenied)[0], agent.of(ProcessStarted)[0]
            assert decode_event(encode_event(denied)) == denied
            assert (denied.target, denied.reason, denied.action, denied.package) == (
                own,
                "no_cover",
                "blocked",
                "",
            )
            assert denied.digest == hashlib.sha256(program("own")).hexdigest()
            assert (denied.user, denied.uid, denied.ppid) == ("root", 0, os.getpid())
            assert (started.package, started.exe) == ("good", denied.exe)
            remembered = pc.platform.processes.info(started.pid)
            assert remembered is not None
            assert remembered.exe == started.target
            outcome = agent.enforcer.stop(started, Verdict(block=False))
            assert outcome is not None
            assert outcome.action == "allowed"
            blocked = agent.enforcer.stop(denied, Verdict(block=True))
            assert blocked is not None
            assert blocked.action == "blocked"

    isolated(body)


@needs_kernel
def test_permit_that_ends_is_withdrawn(tmp_path: Path) -> None:
    def body() -> None:
        with lab(tmp_path) as (pc, agent):
            own = pc.write("home/yamada/own", program("own"), 0o755)
            digest = hashlib.sha256(program("own")).hexdigest()
            until_us = time.time_ns() // 1000 + 2_500_000
            agent.enforce(policy(permit("P1", digest=digest, until_us=until_us)))
            assert run(own) == 0
            agent.until(lambda: run(own) == REFUSED)
            assert time.time_ns() // 1000 >= until_us

    isolated(body)


@needs_kernel
def test_killed_gate_is_tampering(tmp_path: Path) -> None:
    def body() -> None:
        with lab(tmp_path) as (pc, agent):
            own = pc.write("home/yamada/own", program("own"), 0o755)
            agent.enforce(policy())
            first = agent.enforcer.observe()["handler"]
            os.kill(int(first), signal.SIGKILL)
            agent.until(lambda: agent.of(AgentTampered))
            agent.until(lambda: agent.enforcer.observe()["handler"] != first)
            assert (agent.of(AgentTampered)[0].what, agent.of(AgentTampered)[0].repaired) == (
                "execution",
                True,
            )
            assert agent.of(AgentHealth) == []
            state = agent.enforcer.observe()
            for half in ("keeper", "handler"):
                os.kill(int(state[half]), signal.SIGSTOP)
            for half in ("keeper", "handler"):
                os.kill(int(state[half]), signal.SIGKILL)
            agent.until(
                lambda: [(e.code, e.raised) for e in agent.of(AgentHealth)] == [(DEAD, True), (DEAD, False)]
            )
            assert agent.of(AgentTampered)[-1].repaired is False
            assert run(own) == REFUSED

    isolated(body)


@needs_kernel
def test_list_that_would_lock_out_is_told(tmp_path: Path) -> None:
    def body() -> None:
        with lab(tmp_path) as (pc, agent):
            own = pc.write("home/yamada/own", program("own"), 0o755)
            pc.install("dash", {"usr/bin/sh": program("sh")})
            agent.enforce(policy(software=()))
            assert [(e.code, e.raised) for e in agent.of(AgentHealth)] == [(LIST, True)]
            assert run(own) == 0
            agent.until(lambda: agent.of(ProcessStarted))
            outcome = agent.enforcer.stop(agent.of(ProcessStarted)[0], Verdict(block=True))
            assert outcome is not None
            assert outcome.action == "failed"
            agent.enforcer.apply(policy())
            agent.until(lambda: run(own) == REFUSED)
            assert [(e.code, e.raised) for e in agent.of(AgentHealth)][-1] == (LIST, False)

    isolated(body)


@needs_kernel
@pytest.mark.parametrize(("fail", "alone"), [("open", 0), ("closed", REFUSED)])
def test_agent_that_dies(tmp_path: Path, fail: FailMode, alone: int) -> None:
    """Fail mode closed: the gate goes on without its agent, and the next agent replaces it; open: it goes too."""

    def body() -> None:
        with lab(tmp_path) as (pc, agent):
            own = pc.write("home/yamada/own", program("own"), 0o755)
            pids = tmp_path / "run/gate.pids"
            child = os.fork()
            if child == 0:
                agent.enforce(policy(fail=fail))
                os._exit(0)
            os.waitpid(child, 0)
            deadline = time.monotonic() + 5
            while run(own) != alone:
                assert time.monotonic() < deadline
            before = pids.read_text()
            agent.enforce(policy(fail=fail))
            agent.until(lambda: pids.read_text() != before)
            agent.until(
                lambda: (
                    not any(Path(f"/proc/{line.split()[0]}/fd/0").exists() for line in before.splitlines())
                )
            )
            assert run(own) == REFUSED
            agent.enforcer.clean()
            assert run(own) == 0

    isolated(body)


@needs_kernel
def test_fresh_process_cleans_what_a_crashed_agent_left(tmp_path: Path) -> None:
    def body() -> None:
        with lab(tmp_path) as (pc, agent):
            own = pc.write("home/yamada/own", program("own"), 0o755)
            child = os.fork()
            if child == 0:
                agent.enforce(policy(fail="closed"))
                os._exit(0)
            os.waitpid(child, 0)
            assert run(own) == REFUSED
            ExecutionEnforcer(pc.platform).clean()
            assert run(own) == 0

    isolated(body)
