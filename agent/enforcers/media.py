"""Media without a permit are unmounted; media permitted for reading only are remounted read-only.

A medium can be read between its mount and the removal (measured as ``latency_us``); where that is too much,
the devices control stops the stick before it is a disk. Read-only lasts until the medium is unmounted: there
is nothing to clean up after a crash, and a permit that allows writing again takes effect when the medium is
next mounted.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.judge import decide, stamp
from agent.platform.ports import Mount, Mounts, Readiness, UnsupportedError
from agent.sensors.media import media_event
from policies.model import Control
from protocol.events import Event, MediaBlocked, MediaMounted

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

RECHECK_US: Final = 5_000_000
"""Rules may depend on the hour, so what is mounted is judged again this often, and whenever a permit begins
or ends.
"""


class MediaEnforcer(Enforcer):
    """Control ``media``."""

    name: ClassVar[str] = "media"
    control: ClassVar[Control | None] = "media"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._lazy_mounts: Mounts | None = None
        self._policy: PolicyView | None = None
        self._next_us = 0
        self._pending: list[Event] = []
        self._removed_us: dict[str, int] = {}
        """Medium → when it was last removed, so that its other mounts, reported after, are known to be gone
        by us.
        """
        self._failed: set[str] = set()
        """Media whose removal failed and was recorded: not again at every check."""

    def readiness(self) -> Readiness:
        try:
            self._mounts.mounts()
        except (OSError, UnsupportedError) as error:
            return Readiness("unsupported", str(error))
        if os.geteuid() != 0:
            return Readiness("observe", "not root", "unmounting needs root")
        return Readiness("enforce")

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        if not isinstance(event, MediaMounted) or not (verdict.block or verdict.read_only):
            return None
        mounts = [mount for mount in self._mounts.mounts() if mount.media_id == event.media_id]
        if not mounts:
            ours = self._removed_us.get(event.media_id, -1) >= event.time_us
            return Outcome(action="blocked" if ours else "observed")
        here = [mount for mount in mounts if mount.mountpoint == event.mountpoint]
        return self._act((here or mounts)[0], event.time_us, verdict)

    def apply(self, policy: PolicyView) -> None:
        """Judge everything that is mounted. What fails is recorded (``media.blocked``, action failed) at
        the next tick.
        """
        self._policy = policy
        self._enforce(policy)

    def observe(self) -> dict[str, str]:
        mounts = self._mounts.mounts()
        return {
            "media": str(len({mount.media_id for mount in mounts})),
            "mounts": str(len(mounts)),
            "writable": str(sum(not mount.read_only for mount in mounts)),
        }

    def clean(self) -> None:
        """Nothing outlives the mount it was done to."""
        self._policy = None

    def tick(self) -> list[Event]:
        if self._policy is not None and self.platform.now_us() >= self._next_us:
            self._enforce(self._policy)
        events, self._pending = self._pending, []
        return events

    @property
    def _mounts(self) -> Mounts:
        if self._lazy_mounts is None:
            self._lazy_mounts = self.platform.mounts()
        return self._lazy_mounts

    def _enforce(self, policy: PolicyView) -> None:
        now = self.platform.now_us()
        change = policy.next_change_us(now)
        self._next_us = min(now + RECHECK_US, change if change is not None else now + RECHECK_US)
        there: set[str] = set()
        for mount in self._mounts.mounts():
            there.add(mount.media_id)
            enrichment, verdict, _ = decide(policy, media_event(MediaMounted, mount, now), now)
            if not (verdict.block or verdict.read_only):
                continue
            outcome = self._act(mount, now, verdict)
            if outcome.record is None or (outcome.action == "failed" and mount.media_id in self._failed):
                continue
            self._pending.append(stamp(outcome.record, enrichment, verdict, "blocked", policy.tag))
            (self._failed.add if outcome.action == "failed" else self._failed.discard)(mount.media_id)
        self._failed &= there
        self._removed_us = {
            medium: when for medium, when in self._removed_us.items() if when > now - RECHECK_US
        }

    def _act(self, mount: Mount, since_us: int, verdict: Verdict) -> Outcome:
        if not verdict.block:
            if mount.read_only:
                return Outcome(action="allowed")
            try:
                self._mounts.make_read_only(mount)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return Outcome(action="allowed")
                # Somebody writes already: it cannot be both allowed and read-only, so it goes.
            else:
                return Outcome(action="allowed", record=self._record(mount, since_us, verdict, "read_only"))
        try:
            method = self._mounts.remove(mount)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return Outcome(action="blocked" if mount.media_id in self._removed_us else "observed")
            return Outcome(action="failed", record=self._record(mount, since_us, verdict, "", str(error)))
        self._removed_us[mount.media_id] = self.platform.now_us()
        return Outcome(action="blocked", record=self._record(mount, since_us, verdict, method))

    def _record(
        self, mount: Mount, since_us: int, verdict: Verdict, method: str, error: str = ""
    ) -> MediaBlocked:
        now = self.platform.now_us()
        return msgspec.structs.replace(
            media_event(MediaBlocked, mount, now),
            action="failed" if error else "blocked",
            rules=verdict.rules,
            read_only=method == "read_only",
            method=method,
            latency_us=max(0, now - since_us),
            error=error[:256],
        )
