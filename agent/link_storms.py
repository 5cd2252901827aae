"""A line that comes and goes all the time is told a few times a minute; what may have to be stopped is told always. Pure."""

from __future__ import annotations

from agent.link_changes import changes
from agent.platform.link_ports import LinkState
from protocol.events import LinkChanged

MOST = 24
"""Harmless changes told in one window (:meth:`Calm.settle` ends it)."""
_HARMLESS = frozenset({"up", "down", "wireless_down", "vpn_down", "single_network"})


_QUIET = _HARMLESS | {"gateway"}


class Calm:
    """Holds harmless changes back once there were :data:`MOST`; the end of the window tells what came of them."""

    def __init__(self) -> None:
        self._told = 0
        self._gateways: set[str] = set()
        self._since: LinkState | None = None
        """The links when the first change was held back."""

    def pass_on(self, events: list[LinkChanged], before: LinkState) -> list[LinkChanged]:
        """Those of a step's changes that are to be told now. ``before``: the state the step began in."""
        found = []
        for event in events:
            if self._is_harmless(event):
                self._told += 1
                if self._told > MOST:
                    self._since = self._since or before
                    continue
            found.append(event)
        return found

    def settle(self, now: LinkState, time_us: int) -> list[LinkChanged]:
        """The window is over: the net difference of what was held back."""
        since, self._since, self._told = self._since, None, 0
        self._gateways.clear()
        if since is None:
            return []
        return [event for event in changes(since, now, time_us) if event.change in _QUIET]

    def _is_harmless(self, event: LinkChanged) -> bool:
        """A gateway that was told in this window is known, and one that is lost leads nowhere."""
        if event.change != "gateway":
            return event.change in _HARMLESS
        known = event.gateway in self._gateways or not event.gateway
        self._gateways.add(event.gateway)
        return known
