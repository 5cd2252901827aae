"""Tells a flood of forged frames from the life of a LAN. Pure; time comes in as monotonic seconds."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

WINDOW_S, MOST_NEWS = 10.0, 64
"""Within a window a segment has at most so much news: machines that come, addresses that change."""
QUIET_S = 10.0
"""A flood is over when so long nothing was left out."""
TELL_S = 3.0
"""It is told when it lasted so long (by then a burst is counted whole) …"""
AGAIN_S = 600.0
"""… and again, with what came since, if it does not end."""
_NAMED = 64
"""Senders counted by name: one that makes up more is none of them."""


class Told(Struct, frozen=True):
    """What one ``neighbour.flood`` says."""

    via: str
    count: int
    machines: int
    mac: str


class Flood:
    """One segment's limit, and what was left out beyond it."""

    def __init__(self) -> None:
        self._window_s, self._news, self._shut = 0.0, 0, False
        self._on = False
        self._last_s = self._tell_s = 0.0
        self._count = self._machines = 0
        self._by_mac: Counter[str] = Counter()
        self._by_via: Counter[str] = Counter()

    def admits(self, via: str, mac: str, now_s: float, *, machine: bool) -> bool:
        """Whether a piece of news may be taken in; if not it is counted. ``machine``: it is a new one.

        Once beyond the limit nothing is, until a whole window stayed within: a trickle cannot keep it shut.
        """
        if now_s >= self._window_s:
            late = now_s >= self._window_s + WINDOW_S
            self._shut = self._shut and self._news > MOST_NEWS and not late
            self._window_s, self._news = now_s + WINDOW_S, 0
        self._news += 1
        self._shut = self._shut or self._news > MOST_NEWS
        if self._shut:
            self.left_out(via, mac, 1, now_s)
            self._machines += machine
        return not self._shut

    def left_out(self, via: str, mac: str, frames: int, now_s: float) -> None:
        """Frames that were not looked at, or lost by the kernel. ``via`` and ``mac`` empty = not known."""
        if not self._on:
            self._on, self._tell_s = True, now_s + TELL_S
        self._last_s = now_s
        self._count += frames
        self._by_via[via] += frames
        if mac in self._by_mac or len(self._by_mac) < _NAMED:
            self._by_mac[mac] += frames

    def tick(self, now_s: float) -> Told | None:
        """What is to be told now, if anything."""
        told = None
        if self._on and self._count and now_s >= self._tell_s:
            told = Told(_leader(self._by_via), self._count, self._machines, self._sender())
            self._forget()
            self._tell_s = now_s + AGAIN_S
        if self._on and now_s - self._last_s >= QUIET_S:
            self._on = False
            self._forget()
        return told

    def _sender(self) -> str:
        """The MAC more than half came from, or empty."""
        mac = _leader(self._by_mac)
        return mac if self._by_mac[mac] * 2 > self._count else ""

    def _forget(self) -> None:
        self._count = self._machines = 0
        self._by_mac.clear()
        self._by_via.clear()


def _leader(counter: Counter[str]) -> str:
    return max((name for name in counter if name), key=counter.__getitem__, default="")
