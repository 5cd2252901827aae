"""Programs that nothing covers do not start: supervises the execution gate and hands it what the policy allows.

The gate answers the kernel by itself (``agent.platform.linux.gate``); this is its supervisor. It survives the death or
hang of either of its two processes without letting a program slip through; when both are gone at once the kernel lets
programs pass until the new pair is up, which is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.platform.execution_ports import GatePlan, GateReport
from agent.platform.ports import Readiness, UnsupportedError
from agent.sensors import POLLIN
from policies.model import Control, Subject
from protocol.events import AgentHealth, AgentTampered, Event, ProcessDenied, ProcessStarted

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

EVERYBODY: tuple[str, ...] = ()
DEAD, LIST, MARKS = "gate_dead", "enforcer_failed.gate_list", "enforcer_failed.gate_marks"
"""Health codes: no gate; no (safe) allow-list, so everything may run; file systems that could not be covered."""


def plan_of(policy: PolicyView, now_us: int) -> GatePlan:
    """What may be executed on this PC at ``now_us`` (UTC µs), with the users each thing is for."""
    setting = policy.setting("execution")
    bundle = policy.bundle
    permits = [permit for permit in bundle.permits if permit.kind == "software"]
    users = sorted({user for permit in permits for user in permit.scope.users})
    subjects = [permit.subject for permit in permits] + [
        Subject(source=allow.source, package=allow.package, digest=allow.digest) for allow in bundle.software
    ]
    packages: dict[str, dict[str, tuple[str, ...]]] = {}
    digests: dict[str, tuple[str, ...]] = {}
    for subject in subjects:
        if subject.digest:
            if (who := _who(policy, subject, users, now_us)) is not None:
                digests[subject.digest.lower()] = who
            continue
        seen = Subject(source=subject.source, package=subject.package)
        if (who := _who(policy, seen, users, now_us)) is not None:
            packages.setdefault(subject.source, {})[subject.package] = who
    return GatePlan(
        enforce=setting.mode == "enforce", closed=setting.fail == "closed", packages=packages, digests=digests
    )


def _who(policy: PolicyView, seen: Subject, users: list[str], now_us: int) -> tuple[str, ...] | None:
    """Users something is allowed for: everybody, some, or None = nobody."""

    def covered(user: str) -> bool:
        return policy.covers_software(seen.source, seen.package, seen.digest, now_us, user) is not None

    if covered(""):
        return EVERYBODY
    return tuple(user for user in users if covered(user)) or None


class ExecutionEnforcer(Enforcer):
    """Control ``execution``."""

    name: ClassVar[str] = "execution"
    control: ClassVar[Control | None] = "execution"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._gate = platform.execution_gate
        self._policy: PolicyView | None = None
        self._next_us: int | None = None
        self._raised: dict[str, str] = {}
        self._state: dict[str, str] = {}

    def readiness(self) -> Readiness:
        try:
            self._gate.probe()
        except UnsupportedError as problem:
            return Readiness("unsupported", problem.why, problem.hint)
        return Readiness("enforce")

    def apply(self, policy: PolicyView) -> None:
        """Have the allow-list built and the gate run with it. It is in force when :meth:`observe` says so (< 2 s)."""
        self._policy = policy
        if policy.setting("execution").mode == "off":
            self.clean()
            return
        now_us = self.platform.now_us()
        self._next_us = policy.next_change_us(now_us)
        self._gate.load(plan_of(policy, now_us))

    def observe(self) -> dict[str, str]:
        return dict(self._state)

    def clean(self) -> None:
        self._next_us = None
        self._gate.stop()
        self._state = {"gate": "stopped"}

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        """The gate has answered long ago: tell what it did. ``failed``: a block was due and the program ran."""
        if isinstance(event, ProcessDenied):
            return Outcome(action="blocked")
        if isinstance(event, ProcessStarted) and self._state.get("list", "").startswith("enforce"):
            return Outcome(action="failed" if verdict.block and not self._exempt(event) else "allowed")
        return Outcome(action="failed") if isinstance(event, ProcessStarted) and verdict.block else None

    def filenos(self) -> list[tuple[int, int]]:
        return [(self._gate.watch(), POLLIN)]

    def read(self, fileno: int) -> list[Event]:
        return self.tick()

    def tick(self) -> list[Event]:
        now_us = self.platform.now_us()
        if self._policy is not None and self._next_us is not None and now_us >= self._next_us:
            self.apply(self._policy)
        reports, self._state = self._gate.reports()
        events = [event for report in reports for event in self._events(report, now_us)]
        if not self._state.get("unmarked"):
            events += self._clear(MARKS, now_us)
        return events

    def _exempt(self, event: ProcessStarted) -> bool:
        """The agent's own programs always run, so that it can repair itself."""
        return event.target.startswith(self._gate.exempt)

    def _events(self, report: GateReport, now_us: int) -> list[Event]:
        match report.what:
            case "started":
                return self._clear(DEAD, now_us)
            case "built":
                return self._clear(LIST, now_us)
            case "failed" | "unsafe":
                return self._raise(LIST, report.detail, now_us)
            case "incomplete":
                return self._raise(MARKS, report.detail, now_us)
            case _:
                return self._loss(report, now_us)

    def _loss(self, report: GateReport, now_us: int) -> list[Event]:
        """A process of the gate was lost: one was replaced at once; both is a gap."""
        gap = report.what == "lost"
        events: list[Event] = self._raise(DEAD, report.detail, now_us) if gap or not report.by_force else []
        if report.by_force:
            tampered = AgentTampered(
                time_us=now_us, what="execution", repaired=not gap, detail=report.detail[:4096]
            )
            events.append(tampered)
        return events

    def _raise(self, code: str, detail: str, now_us: int) -> list[Event]:
        if self._raised.get(code) == detail:
            return []
        self._raised[code] = detail
        return [AgentHealth(time_us=now_us, code=code, raised=True, detail=detail[:4096])]

    def _clear(self, code: str, now_us: int) -> list[Event]:
        if self._raised.pop(code, None) is None:
            return []
        return [AgentHealth(time_us=now_us, code=code, raised=False)]
