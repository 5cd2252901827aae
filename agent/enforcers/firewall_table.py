"""One nftables table of our own: loaded whole, compared with what was set, and put back when somebody changed it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.platform.ports import FirewallWatch, OverflowedError, Readiness, UnsupportedError
from agent.sensors import POLLIN
from protocol.events import AgentTampered, Event

if TYPE_CHECKING:
    from agent.platform import Platform

_CHECK_TICKS = 30
"""Compare the table with what was set this often even if nobody was seen changing it."""
_COUNTERS = re.compile(r"counter packets \d+ bytes \d+")


def without_counters(listing: str) -> str:
    """A listing with what counts by itself taken out."""
    return _COUNTERS.sub("counter", listing)


def readiness(platform: Platform) -> Readiness:
    """Whether the packet filter answers."""
    try:
        platform.firewall.tables()
    except UnsupportedError as error:
        return Readiness("unsupported", error.why, error.hint)
    except OSError as error:
        return Readiness("unsupported", str(error), "run the agent as root")
    return Readiness("enforce")


class KeptTable:
    """A table by (family, name). It is watched from the first :meth:`load` until :meth:`remove`."""

    def __init__(self, platform: Platform, table: tuple[str, str]) -> None:
        self._platform, self._table = platform, table
        self._wanted = ""
        """Text that was applied; empty = the table should not be there."""
        self._listing = ""
        self._watch: FirewallWatch | None = None
        self._ticks = 0

    def is_there(self) -> bool:
        """Whether there is a table of that name, whoever made it."""
        return self._table in self._platform.firewall.tables()

    def load(self, text: str) -> None:
        """One transaction: the old table goes and the new one comes, with nothing in between. Raises OSError."""
        if self._watch is None:
            self._watch = self._platform.firewall_watch()
        self._bring(text)

    def _bring(self, text: str) -> None:
        change = (self._delete() if self.is_there() else "") + text
        if change:
            self._platform.firewall.apply(change)
        self._wanted = text
        self._listing = self.listing()

    def _delete(self) -> str:
        return f"delete table {self._table[0]} {self._table[1]}\n"

    def remove(self) -> None:
        """Take the table away, whoever made it, and stop watching."""
        self._wanted, self._listing = "", ""
        if self.is_there():
            self._platform.firewall.apply(self._delete())
        if self._watch:
            self._watch.close()
            self._watch = None

    def listing(self) -> str:
        """The table as the kernel has it now, without counters; empty when it is not there."""
        return without_counters(self._platform.firewall.listing(*self._table))

    def is_as_set(self, listing: str) -> bool:
        """Whether a listing is that of what was loaded."""
        return listing == self._listing

    # -- tampering -------------------------------------------------------------------------------------------------

    def filenos(self) -> list[tuple[int, int]]:
        """The watch."""
        return [(self._watch.fileno(), POLLIN)] if self._watch else []

    def read(self, fileno: int) -> list[Event]:
        """Somebody changed a ruleset: look whether it was ours, and put it back."""
        if self._watch is None or fileno != self._watch.fileno():
            return []
        try:
            culprits = self._watch.changed_by()
        except OverflowedError:
            culprits = [""]
        return self._repair(culprits[-1]) if culprits else []

    def tick(self) -> list[Event]:
        """Once a second."""
        self._ticks += 1
        return self._repair("") if self._ticks % _CHECK_TICKS == 0 else []

    def _repair(self, culprit: str) -> list[Event]:
        if self._watch is None or self.is_as_set(self.listing()):
            return []
        detail = f"table {' '.join(self._table)} was changed"
        try:
            self._bring(self._wanted)
            repaired = True
        except OSError as error:
            repaired, detail = False, f"{detail}; could not put it back: {error}"
        return [
            AgentTampered(
                time_us=self._platform.now_us(),
                action="blocked" if repaired else "failed",
                what="firewall",
                by=culprit,
                repaired=repaired,
                detail=detail,
            )
        ]
