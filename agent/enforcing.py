"""Runs the enforcers: brings the PC to what the policy wants, lets them act on events, and names what fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.health import Health
from agent.platform.ports import Readiness, UnsupportedError
from policies.model import Control
from protocol.events import Event

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

CONTROLS: tuple[Control, ...] = get_args(Control)


class EnforcerHost:
    """All enforcers of this PC. An exception in one is a health code, never the end of the loop."""

    def __init__(
        self,
        platform: Platform,
        kinds: dict[str, type[Enforcer]],
        health: Health,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health, self._clock = health, clock
        self.enforcers: dict[str, Enforcer] = {}
        self.ready: dict[str, Readiness] = {}
        self._fds: dict[int, Enforcer] = {}
        for name, kind in sorted(kinds.items()):
            try:
                self.enforcers[name] = kind(platform)
            except UnsupportedError as error:
                self._unready(name, Readiness("unsupported", error.why, error.hint))
            except Exception as error:  # noqa: BLE001 - one enforcer must not end the agent
                self._unready(name, Readiness("unsupported", f"{type(error).__name__}: {error}"))
        self.look()

    def look(self) -> None:
        """Find out again what this PC can enforce."""
        for name, enforcer in self.enforcers.items():
            try:
                ready = enforcer.readiness()
            except UnsupportedError as error:
                ready = Readiness("unsupported", error.why, error.hint)
            except Exception as error:  # noqa: BLE001 - see above
                ready = Readiness("unsupported", f"{type(error).__name__}: {error}")
            self._unready(name, ready)

    def _unready(self, name: str, ready: Readiness) -> None:
        self.ready[name] = ready
        code = f"enforcer_unsupported.{name}"
        if ready.level == "enforce":
            self._health.clear(code)
        else:
            self._health.raise_(code, f"{ready.level}: {ready.why}", now_s=self._clock())

    def apply(self, view: PolicyView) -> list[str]:
        """Apply the policy, or clean where the control is off; returns ``name: why`` of what failed."""
        failures = []
        for name, enforcer in self.enforcers.items():
            off = enforcer.control is not None and view.setting(enforcer.control).mode == "off"
            work = enforcer.clean if off else lambda enforcer=enforcer: enforcer.apply(view)
            if self.ready[name].level != "unsupported" and (why := self._try(name, work)):
                failures.append(f"{name}: {why}")
        self.collect_fds()
        return failures

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        """The first enforcer that has something to do with the event acts. Failing is an outcome too."""
        for name, enforcer in self.enforcers.items():
            try:
                outcome = enforcer.stop(event, verdict)
            except Exception as error:  # noqa: BLE001 - see above
                self._failed(name, error)
                return Outcome(action="failed" if verdict.block else event.action)
            if outcome is not None:
                return outcome
        return None

    def filenos(self) -> dict[int, int]:
        """Descriptor → POLLIN or POLLPRI, of all enforcers."""
        found: dict[int, int] = {}
        for name, enforcer in self.enforcers.items():
            if self.ready[name].level != "unsupported":
                found.update(enforcer.filenos())
        return found

    def owns(self, fileno: int) -> bool:
        """Whether a descriptor is that of an enforcer."""
        return fileno in self._fds

    def read(self, fileno: int) -> list[Event]:
        """Let the enforcer behind a ready descriptor report."""
        enforcer = self._fds[fileno]
        try:
            return enforcer.read(fileno)
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(enforcer.name, error)
            return []

    def tick(self) -> list[Event]:
        """Once a second."""
        events: list[Event] = []
        for name, enforcer in self.enforcers.items():
            if self.ready[name].level == "unsupported":
                continue
            try:
                events += enforcer.tick()
            except Exception as error:  # noqa: BLE001 - see above
                self._failed(name, error)
        self.collect_fds()
        return events

    def observed(self) -> dict[str, dict[str, str]]:
        """What each enforcer measures now."""
        found: dict[str, dict[str, str]] = {}
        for name, enforcer in self.enforcers.items():
            if self.ready[name].level == "unsupported":
                continue
            try:
                found[name] = enforcer.observe()
            except Exception as error:  # noqa: BLE001 - see above
                found[name] = {"error": f"{type(error).__name__}: {error}"}
        return found

    def clean(self, view: PolicyView | None) -> None:
        """The agent stops: what fails open is taken away, what fails closed stays, and isolation always stays."""
        for name, enforcer in self.enforcers.items():
            if enforcer.control is None or self.ready[name].level == "unsupported":
                continue
            if view is None or view.setting(enforcer.control).fail == "open":
                self._try(name, enforcer.clean)

    def controls(self, view: PolicyView | None, senses: Callable[[str], bool]) -> dict[str, str]:
        """Control → enforce | observe | off | unsupported: the wish, limited to what this PC can do."""
        result: dict[str, str] = {}
        for control in CONTROLS:
            mode = view.setting(control).mode if view else "observe"
            levels = [
                self.ready[name].level for name, one in self.enforcers.items() if one.control == control
            ]
            if mode == "off" or (mode == "enforce" and "enforce" in levels):
                result[control] = mode
            else:
                seen = senses(control) or "observe" in levels or "enforce" in levels
                result[control] = "observe" if seen else "unsupported"
        return result

    def collect_fds(self) -> None:
        """Remember which descriptor is whose."""
        self._fds = {
            fileno: enforcer
            for name, enforcer in self.enforcers.items()
            if self.ready[name].level != "unsupported"
            for fileno, _ in enforcer.filenos()
        }

    def _try(self, name: str, work: Callable[[], None]) -> str:
        try:
            work()
        except UnsupportedError as error:
            self._unready(name, Readiness("unsupported", error.why, error.hint))
            return str(error)
        except Exception as error:  # noqa: BLE001 - see above
            return self._failed(name, error)
        self._health.clear(f"enforcer_failed.{name}")
        return ""

    def _failed(self, name: str, error: Exception) -> str:
        why = f"{type(error).__name__}: {error}"
        self._health.raise_(f"enforcer_failed.{name}", why, now_s=self._clock())
        return why
