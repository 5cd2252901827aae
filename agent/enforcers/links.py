"""Links without a permit are taken down, and gateways that are not the designated ones lose their routes; both are read back.

What was taken away is on disk, so that any process can bring it back. Never taken away: loopback, the link by which the
collector is reached (with all it runs on), and the only gateway to it, even where the policy wants it; that block then
*fails* and says so. While there is no way to the collector at all, the link that last was the way is kept.

A link that somebody switches on again is judged again when it connects, so another (permitted) wireless network can be chosen.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Final

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.enforcers.link_state import MOST, Held, TakenFile
from agent.enforcers.link_way import Way
from agent.judge import decide, stamp
from agent.link_changes import changes, shown
from agent.platform.link_ports import Links, LinkState
from agent.platform.ports import Readiness, UnsupportedError
from policies.model import Control
from protocol.events import Event, LinkBlocked, LinkChanged

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

_LOOK_TICKS: Final = 30
"""Judge what is there this often even if no sensor tells."""
_GONE: Final = frozenset({"down", "wireless_down", "vpn_down", "single_network"})


class LinksEnforcer(Enforcer):
    """Control ``links``."""

    name: ClassVar[str] = "links"
    control: ClassVar[Control | None] = "links"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._lazy: Links | None = None
        self._policy: PolicyView | None = None
        self._taken = TakenFile(platform.state)
        self._way = Way(platform)
        self._pending: list[Event] = []
        self._failed: set[tuple[str, str]] = set()
        """(interface, change) whose block failed and was recorded: once for each policy."""
        self._ticks = 0

    def readiness(self) -> Readiness:
        try:
            self._links.state()
        except UnsupportedError as error:
            return Readiness("unsupported", error.why, error.hint)
        except OSError as error:
            return Readiness("unsupported", str(error))
        if os.geteuid() != 0:
            return Readiness("observe", "not root", "taking links down needs root")
        return Readiness("enforce")

    @property
    def _links(self) -> Links:
        if self._lazy is None:
            self._lazy = self.platform.links()
        return self._lazy

    # -- desired state -------------------------------------------------------------------------------------------------

    def apply(self, policy: PolicyView) -> None:
        """Give back what may be up now, take down what may not. Raises OSError."""
        self._policy = policy
        self._failed.clear()
        now_us = self.platform.now_us()
        for key, held in list(self._taken.now.held.items()):
            if not decide(policy, held.event, now_us)[1].block:
                self._give_back(key, held)
        self._look(policy)

    def _look(self, policy: PolicyView) -> None:
        """Judge everything that is there."""
        state = self._links.state()
        self._taken.remember_way(self._way.links(state))
        now_us = self.platform.now_us()
        for event in changes(LinkState(), state, now_us):
            enrichment, verdict, _ = decide(policy, event, now_us)
            if not verdict.block:
                continue
            outcome = self._act(event, verdict)
            if outcome.record is not None:
                if outcome.action == "blocked":  # what stays is told by the sensor
                    self._pending.append(stamp(event, enrichment, verdict, "blocked", policy.tag))
                self._pending.append(stamp(outcome.record, enrichment, verdict, "blocked", policy.tag))

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        if not isinstance(event, LinkChanged):
            return None
        if verdict.block:
            return self._act(event, verdict)
        if event.change not in _GONE:
            self._taken.forget(
                event.interface
            )  # somebody else switched it on, for something that is permitted
        return None

    def _act(self, event: LinkChanged, verdict: Verdict) -> Outcome:
        """Take it away; it is on disk before it is done."""
        try:
            state = self._links.state()
            return (self._unroute if event.change == "gateway" else self._take_down)(event, verdict, state)
        except OSError as error:
            return self._refuse(event, verdict, str(error))

    def _take_down(self, event: LinkChanged, verdict: Verdict, state: LinkState) -> Outcome:
        name, taken = event.interface, self._taken.now
        link = next((one for one in state.links if one.name == name), None)
        if link is None:
            return self._refuse(event, verdict, f"{name or 'no interface'} is not there")
        if not link.up and name in taken.held:
            return Outcome(action="blocked")
        if name in self._way.kept(state, taken.way):
            return self._refuse(event, verdict, f"{name} is the way to the collector")
        self._taken.hold(name, Held(link.index, event))
        self._links.switch(name, up=False)
        return Outcome(action="blocked", record=self._record(event, verdict, "link_down"))

    def _unroute(self, event: LinkChanged, verdict: Verdict, state: LinkState) -> Outcome:
        """Remove the routes through a gateway; the designated one, if it is there, takes over."""
        key = f"gateway {event.gateway}"
        gateway = next((one for one in state.gateways if shown(one) == event.gateway), None)
        if gateway is None:
            held = key in self._taken.now.held
            return Outcome(action="blocked") if held else self._refuse(event, verdict, "the gateway is gone")
        if self._way.needs(gateway, state):
            return self._refuse(event, verdict, f"{event.gateway} is the only gateway to the collector")
        routes = self.platform.routes.find(gateway)
        self._taken.hold(key, Held(0, event, tuple(routes)))
        for route in routes:
            self.platform.routes.remove(route)
        if any(shown(one) == event.gateway for one in self._links.state().gateways):
            return self._refuse(event, verdict, f"{event.gateway} is still a gateway")
        return Outcome(action="blocked", record=self._record(event, verdict, "route_removed"))

    def _refuse(self, event: LinkChanged, verdict: Verdict, why: str) -> Outcome:
        key = event.interface, event.change
        known = key in self._failed
        if len(self._failed) < MOST:
            self._failed.add(key)
        return Outcome(action="failed", record=None if known else self._record(event, verdict, "", why))

    def _record(self, event: LinkChanged, verdict: Verdict, method: str, error: str = "") -> LinkBlocked:
        now_us = self.platform.now_us()
        return LinkBlocked(
            time_us=now_us,
            action="failed" if error else "blocked",
            rules=verdict.rules,
            interface=event.interface,
            link_type=event.link_type,
            ssid=event.ssid,
            method=method,
            latency_us=max(0, now_us - event.time_us),
            error=error[:256],
        )

    # -- giving back ---------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Bring back whatever was taken away, also by a process that crashed. Raises OSError when something stays away."""
        self._policy = None
        self._pending = []
        failures = []
        for key, held in list(self._taken.now.held.items()):
            try:
                self._give_back(key, held)
            except OSError as error:
                failures.append(f"{key}: {error}")
        self._close()
        if failures:
            raise OSError("; ".join(failures))

    def _give_back(self, key: str, held: Held) -> None:
        """Only the same interface: another one of that name was never taken down."""
        for route in held.routes:
            self.platform.routes.restore(route)
        there = {link.name: link for link in self._links.state().links}.get(key)
        if there is not None and there.index == held.index and not there.up:
            self._links.switch(key, up=True)
        self._taken.forget(key)

    def _close(self) -> None:
        if self._lazy is not None:
            self._lazy.close()
            self._lazy = None

    # -- reading back --------------------------------------------------------------------------------------------------

    def observe(self) -> dict[str, str]:
        state = self._links.state()
        up = {link.name for link in state.links if link.up}
        down = sorted(set(self._taken.now.held) - up)
        return {
            "links": str(sum(link.running for link in state.links)),
            "taken_away": ", ".join(down) or "none",
            "way": ", ".join(self._way.links(state)) or "none",
        }

    def tick(self) -> list[Event]:
        if self._policy is not None:
            self._ticks += 1
            if self._ticks % _LOOK_TICKS == 0:
                self._look(self._policy)
        events, self._pending = self._pending, []
        return events
