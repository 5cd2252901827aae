"""A medium on which something confidential was found without a permit is made read-only.

What was written stays on it, as evidence and because it may be the only copy: nothing is deleted. Nothing more can be
written through this PC, nor the traces removed, until the medium is unmounted; the alert tells the section head to take
it into keeping. A medium that somebody else is just writing to cannot become read-only: it is taken away.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar

import msgspec

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.platform.ports import Mount, Readiness, UnsupportedError
from agent.sensors.media import media_event
from policies.model import Control
from protocol.events import Event, MediaBlocked, MediaFileWritten

if TYPE_CHECKING:
    from policies.view import PolicyView


class FilesEnforcer(Enforcer):
    """Control ``files``."""

    name: ClassVar[str] = "files"
    control: ClassVar[Control | None] = "files"

    def readiness(self) -> Readiness:
        try:
            self.platform.mounts().mounts()
        except (OSError, UnsupportedError) as error:
            return Readiness("unsupported", str(error))
        if os.geteuid() != 0:
            return Readiness("observe", "not root", "remounting needs root")
        return Readiness("enforce")

    def apply(self, policy: PolicyView) -> None:
        """Nothing to prepare: it acts on what was written."""

    def observe(self) -> dict[str, str]:
        return {"read_only": str(sum(mount.read_only for mount in self.platform.mounts().mounts()))}

    def clean(self) -> None:
        """Nothing outlives the mount it was done to."""

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        if not isinstance(event, MediaFileWritten) or not verdict.block:
            return None
        mounts = [one for one in self.platform.mounts().mounts() if one.media_id == event.media_id]
        writable = [one for one in mounts if not one.read_only]
        if not writable:
            # Taken away, or closed because of the file before: nothing more can be written.
            return Outcome(action="blocked")
        return self._close(writable[0], event, verdict)

    def _close(self, mount: Mount, event: MediaFileWritten, verdict: Verdict) -> Outcome:
        mounts, method, why = self.platform.mounts(), "read_only", ""
        try:
            mounts.make_read_only(mount)
        except OSError as busy:
            try:
                method = "" if busy.errno == errno.ENOENT else mounts.remove(mount)
            except OSError as error:
                method, why = "", str(error)
        if not method and not why:
            return Outcome(action="blocked")
        now = self.platform.now_us()
        record = msgspec.structs.replace(
            media_event(MediaBlocked, mount, now),
            action="failed" if why else "blocked",
            rules=verdict.rules,
            read_only=method == "read_only",
            method=method,
            latency_us=max(0, now - event.time_us),
            error=why[:256],
        )
        return Outcome(action="failed" if why else "blocked", record=record)
