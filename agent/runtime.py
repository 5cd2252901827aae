"""The resident agent: one poll loop over the descriptors of sensors and enforcers, timers, and the uplink's inbox.

sensors → judge → enforcers → spool → uplink. Nothing here blocks for long; whatever fails has a health code and the
loop goes on.
"""

from __future__ import annotations

import gc
import os
import select
import time
from typing import TYPE_CHECKING

from agent import VERSION, enforcers, sensors
from agent.checkpoint import Checkpoint
from agent.clock import ClockWatch, boot_us
from agent.enforcing import CONTROLS, EnforcerHost
from agent.health import Health
from agent.identity import Identity
from agent.inbox import take_report
from agent.left_reports import take_reports
from agent.mailbox import Mailbox
from agent.outbox import Outbox
from agent.policy_keeper import load_last_good
from agent.reception import Reception
from agent.run_files import Marker, hold_lock
from agent.sensing import SensorHost
from agent.spool import Spool
from agent.spool_watch import SpoolWatch
from agent.status import STATUS_FILE
from agent.teller import Teller
from agent.uplink import Uplink
from protocol.events import AgentPolicyApplied, AgentStarted, AgentStopped, Event
from protocol.refusal import RefusedError
from protocol.signed import signing_input

if TYPE_CHECKING:
    from agent.enforcers import Enforcer
    from agent.platform import Platform
    from agent.sensors import Sensor
    from policies.view import PolicyView

TICK_S = 1.0
TRIM_S = 60.0
"""How often free memory goes back to the system: what a start, a policy or a burst took."""
HOLD_S = 600.0
"""How long a code about a single happening stays raised."""
DRAIN_S = 1.0
"""How long a stopping agent waits for the collector to take its last events."""
DEAD = select.POLLNVAL


class Runtime:
    """One run of the agent on one PC. ``run`` returns after :meth:`stop`, which may be called from a signal handler."""

    def __init__(
        self,
        platform: Platform,
        identity: Identity,
        *,
        sensor_kinds: dict[str, type[Sensor]] | None = None,
        enforcer_kinds: dict[str, type[Enforcer]] | None = None,
        beat_s: float = 10.0,
        spool_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        self.platform, self.identity = platform, identity
        self._lock = hold_lock(platform.run)
        self._marker = Marker(platform.state, platform.proc)
        self.health = Health()
        self.spool = Spool(platform.state / "spool.db", limit_bytes=spool_bytes)
        self._spool_watch = SpoolWatch(self.spool, self.health)
        found = enforcers.discover() if enforcer_kinds is None else enforcer_kinds
        self.enforcers = EnforcerHost(platform, found, self.health)
        self.checkpoint = Checkpoint(platform, self.enforcers, self.spool, self.health)
        seen = sensors.discover() if sensor_kinds is None else sensor_kinds
        self.sensors = SensorHost(platform, seen, self.health, self.checkpoint.handle)
        self.reception = Reception(platform, self.health, self.checkpoint.handle)
        self.checkpoint.on_judged = self.reception.judged
        self._clock = ClockWatch(platform.now_us(), boot_us(), self.spool.file.last_wall_us)
        self._signals: Mailbox[str] = Mailbox()
        self._ending = False
        self._trim_s = 0.0
        self._poll, self._polled = select.poll(), dict[int, int]()
        self._reapply_us: int | None = None
        self.checkpoint.view = self._last_good()
        self.teller = Teller(self)
        self.checkpoint.on_isolation = self.teller.measure_soon
        outbox = Outbox(
            self.spool.file, lambda digest: identity.keys.sign.sign(signing_input("batch", digest))
        )
        self.uplink = Uplink(identity, outbox, self.teller.heartbeat(), interval_s=beat_s)
        self.spool.wake = self.uplink.wake

    @property
    def view(self) -> PolicyView | None:
        """The policy in force."""
        return self.checkpoint.view

    # -- from outside --------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the run soon; safe in a signal handler."""
        self._signals.put("stop")

    def reload(self) -> None:
        """Look again at what this PC can do, apply the policy again, take up reports left by commands."""
        self._signals.put("reload")

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until stopped."""
        self._start()
        next_tick_s = time.monotonic()
        while not self._ending:
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                self._tick(now_s)
                next_tick_s = max(next_tick_s + TICK_S, now_s)
            wait_s = next_tick_s - time.monotonic()
            due_s = self.spool.due_in()
            if due_s is not None:
                if due_s <= 0:
                    self._flush()
                    continue
                wait_s = min(wait_s, due_s)
            ready = self._poll.poll(max(0.0, wait_s * 1000))
            # An order does not wait behind what the sensors have to tell.
            for fileno, flags in sorted(ready, key=lambda one: one[0] != self.uplink.inbox.fileno()):
                self._ready(fileno, flags)
        self._finish()

    def _start(self) -> None:
        now_us, crashed, boot_id = self.platform.now_us(), self._marker.set(), self._marker.boot_id
        self.handle(AgentStarted(time_us=now_us, version=VERSION, boot_id=boot_id, after_crash=crashed))
        self.health.raise_("collector_unreachable", "no answer yet", now_s=time.monotonic())
        if self.view is not None:
            self.apply_policy(self.view)
        else:
            self.sensors.open(off=set())
        self._take_left()
        self.reception.open()
        self.uplink.start()
        self._watch()
        # What lives now lives until the end: keep the collector from walking (and copying) it again.
        gc.collect()
        gc.freeze()

    def _ready(self, fileno: int, flags: int) -> None:
        if fileno == self._signals.fileno():
            for name in self._signals.take():
                if name == "reload":
                    self._reload()
                else:
                    self._ending = True
        elif fileno == self.uplink.inbox.fileno():
            for report in self.uplink.inbox.take():
                take_report(self, report)
            self.teller.tell()
        elif self.enforcers.owns(fileno):
            for event in self.enforcers.read(fileno):
                self.handle(event)
        elif self.sensors.owns(fileno):
            if flags & DEAD:
                self.sensors.fail(fileno, "its descriptor was closed under it")
            else:
                self.sensors.read(fileno)
        else:
            self.reception.read(fileno)
        self._watch()

    def _tick(self, now_s: float) -> None:
        for event in self.enforcers.tick():
            self.handle(event)
        self.sensors.tick()
        self.reception.tick(now_s)
        now_us = self.platform.now_us()
        self._check_time(now_s, now_us)
        for event in self.health.changes(now_s=now_s, time_us=now_us):
            self.checkpoint.judge_and_keep(event)
        self._flush()
        self._watch()
        self.teller.tell()
        if now_s >= self._trim_s:
            self._trim_s = now_s + TRIM_S
            self.platform.trim_heap()

    def _watch(self) -> None:
        """Bring the poll set to the descriptors there are now."""
        wanted = {self._signals.fileno(): select.POLLIN, self.uplink.inbox.fileno(): select.POLLIN}
        wanted.update(self.enforcers.filenos())
        wanted.update(self.sensors.filenos())
        wanted.update(dict.fromkeys(self.reception.filenos(), select.POLLIN))
        if wanted == self._polled:
            return
        for fileno in self._polled.keys() - wanted.keys():
            self._poll.unregister(fileno)
        for fileno, flags in wanted.items():
            self._poll.register(fileno, flags)
        self._polled = wanted

    def handle(self, event: Event) -> None:
        """Take an event through the checkpoint. Never raises."""
        self.checkpoint.handle(event)

    def _flush(self) -> None:
        self.spool.flush()
        self._spool_watch.look(time.monotonic())

    # -- policy --------------------------------------------------------------------------------------------------

    def apply_policy(self, view: PolicyView, *, tell: bool = True) -> None:
        """Put a policy in force: sensors and enforcers follow it from now on."""
        self.checkpoint.view = view
        failures = self.enforcers.apply(view)
        self.sensors.open(off={control for control in CONTROLS if view.setting(control).mode == "off"})
        self.sensors.follow(view)
        self.reception.follow(view)
        now_us = self.platform.now_us()
        self._reapply_us = view.next_change_us(now_us)
        if tell:
            self.handle(
                AgentPolicyApplied(
                    time_us=now_us,
                    action="failed" if failures else "observed",
                    generation=view.generation,
                    digest=view.digest,
                    detail="; ".join(failures)[:4096],
                )
            )
        self._watch()

    def _last_good(self) -> PolicyView | None:
        try:
            return load_last_good(self.platform.state, self.identity)
        except RefusedError as refusal:
            self.health.raise_("bundle_refused", str(refusal), now_s=time.monotonic(), hold_s=HOLD_S)
            return None

    def _check_time(self, now_s: float, now_us: int) -> None:
        if step := self._clock.check(now_us, boot_us()):
            code, size_us = step
            self.health.raise_(code, f"by {size_us / 1e6:+.1f} s", now_s=now_s, hold_s=HOLD_S)
        if self.view is None:
            self.health.raise_("no_policy", "", now_s=now_s)
            return
        self.health.clear("no_policy")
        if now_us >= self.view.bundle.expires_us:
            self.health.raise_("bundle_expired", f"policy {self.view.generation}", now_s=now_s)
        else:
            self.health.clear("bundle_expired")
        if self._reapply_us is not None and now_us >= self._reapply_us:
            self.apply_policy(self.view, tell=False)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        self._take_left()
        self.enforcers.look()
        if self.view is not None:
            self.apply_policy(self.view)
        else:
            self.sensors.open(off=set())
        self.teller.tell()

    def _take_left(self) -> None:
        for event in take_reports(self.platform.state):
            self.handle(event)

    def _finish(self) -> None:
        """Stop cleanly: controls that fail open are taken away, isolation never."""
        self.sensors.close()
        self.reception.close()
        self.enforcers.clean(self.view)
        self.handle(AgentStopped(time_us=self.platform.now_us()))
        self.spool.flush()
        deadline = time.monotonic() + DRAIN_S
        while self.uplink.connected and self.spool.depth and time.monotonic() < deadline:
            select.select([self.uplink.inbox.fileno()], [], [], 0.05)
            self.uplink.inbox.take()
        self.uplink.stop()
        self.spool.close()
        self._marker.clear()
        (self.platform.run / STATUS_FILE).unlink(missing_ok=True)
        os.close(self._lock)
