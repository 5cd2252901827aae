"""Posture: a PC without protection of its own loses the way outside until it has it again (名古屋 第54条第2項).

What lies in no zone of the city is outside. Zones, the PC's own link, loopback, who called the PC, and always the collector
are kept: should that way not be known, nothing is cut. The table goes before that of ``connections``, whatever that one
is set to, and only ever takes away.

The table is the memory: one that an agent left behind (``fail: closed``) stands until the sensor's first report is judged.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.enforcers.firewall_collector import KnownCollector
from agent.enforcers.firewall_grants import orphaned
from agent.enforcers.firewall_table import KeptTable, readiness
from agent.enforcers.posture_ways import EVERYWHERE, kept_ways
from agent.platform.linux.ruleset import Collector, Grant, render
from agent.platform.ports import Readiness, UnsupportedError
from policies.model import Control
from protocol.events import Event, PostureReported
from protocol.refusal import RefusedError

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

TABLE = ("inet", "sekisho_posture")


class PostureEnforcer(Enforcer):
    """Control ``posture``."""

    name: ClassVar[str] = "posture"
    control: ClassVar[Control | None] = "posture"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._policy: PolicyView | None = None
        self._is_cut = False
        """Whether the PC is to be without the outside."""
        self._way: Collector | None = None
        """The collector that the table lets through; None = no table of ours."""
        self._table = KeptTable(platform, TABLE)
        self._collector = KnownCollector(platform)

    def readiness(self) -> Readiness:
        """The filter must answer."""
        return readiness(self.platform)

    def apply(self, policy: PolicyView) -> None:
        """What is inside may have changed. Raises like :meth:`_cut`."""
        if self._policy is None:
            self._is_cut = self._table.is_there()
        self._policy = policy
        if policy.setting("posture").mode != "enforce":
            self._give_back()
        elif self._is_cut:
            self._cut(policy)

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        """A posture was judged: ``blocked`` = the outside is cut from now on, ``allowed`` = it was given back."""
        policy = self._policy
        if not isinstance(event, PostureReported) or policy is None:
            return None
        if policy.setting("posture").mode != "enforce":
            return None
        if verdict.block:
            self._is_cut = True
            self._cut(policy)
            return Outcome(action="blocked")
        was_cut = self._is_cut
        self._give_back()
        return Outcome(action="allowed" if was_cut else event.action)

    def _cut(self, policy: PolicyView) -> None:
        """Raises OSError with the filter's words, UnsupportedError, or RefusedError where it would be unsafe."""
        collector = self._collector.now()
        if not collector.addresses:
            raise RefusedError(
                "collector_unreachable",
                "no collector address is literal: the cut could close that way too",
                "put its address into the trust root",
            )
        grants = [Grant(one) for one in kept_ways(policy, self.platform.now_us())]
        owned = policy.setting("posture").fail == "open"
        self._table.load(render(grants, "enforce", collector, owned=owned, table=TABLE, before=True))
        self._way = collector
        self._end_outside(grants, collector)

    def _end_outside(self, kept: list[Grant], collector: Collector) -> None:
        """End what is open to the outside: nothing more gets out of it, but the other side could still send."""
        doomed = orphaned([Grant(one) for one in EVERYWHERE], kept, collector.addresses)
        if doomed is not None:
            with contextlib.suppress(UnsupportedError):  # then they are dead when they next send
                self.platform.sockets.destroy_where(doomed)

    def _give_back(self) -> None:
        self._is_cut, self._way = False, None
        self._table.remove()

    def observe(self) -> dict[str, str]:
        """What the kernel has now."""
        present = self._table.listing()
        if not present:
            return {"outside": "open"}
        return {
            "outside": "cut",
            "table": "as set" if self._table.is_as_set(present) else "foreign",
            "owner": "agent" if "flags owner" in present else "none",
        }

    def clean(self) -> None:
        """Remove the table, whoever made it."""
        self._policy = None
        self._give_back()

    def filenos(self) -> list[tuple[int, int]]:
        """The watch, while the outside is cut."""
        return self._table.filenos()

    def read(self, fileno: int) -> list[Event]:
        """Somebody changed a ruleset."""
        return self._table.read(fileno)

    def tick(self) -> list[Event]:
        """A cut that failed is tried again; the collector may move."""
        if self._policy is None or not self._is_cut:
            return []
        if self._collector.now() != self._way:
            self._cut(self._policy)
        return self._table.tick()
