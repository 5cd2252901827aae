"""Finds out which switch and port each wired interface hangs on: one short-lived child at a time, seldom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from agent.platform.lan_ports import Lan, SwitchListener, SwitchPort

FIRST_S = 20.0
"""After a start or a change of links; a PC that just came up has better to do."""
DAILY_S = 86_400.0
LISTEN_S = 65.0
"""LLDP comes every 30 s, CDP every 60 s."""
GRACE_S = 10.0
"""A child that has not ended by itself so long after its time is ended."""


class SwitchFinder:
    """Asks for each interface in turn; times are monotonic seconds."""

    def __init__(self, lan: Lan) -> None:
        self._lan = lan
        self._interfaces: tuple[str, ...] = ()
        self._left: list[str] = []
        self._due_s = 0.0
        self._child: SwitchListener | None = None
        self._asked, self._ends_s = "", 0.0

    def ask(self, interfaces: Iterable[str], now_s: float) -> None:
        """These are the wired interfaces now: ask for them soon."""
        self._interfaces = tuple(interfaces)
        self._due_s = now_s + FIRST_S

    def filenos(self) -> list[int]:
        """Of the child, if there is one."""
        return [self._child.fileno()] if self._child else []

    def heard(self) -> list[tuple[str, SwitchPort]]:
        """The child has ended: interface and what it heard, if anything. The next one starts."""
        child, self._child = self._child, None
        found = child.result() if child else None
        asked = self._asked
        self._next(time.monotonic())
        return [(asked, found)] if found else []

    def tick(self, now_s: float) -> None:
        """Start what is due, end a child that hangs."""
        if self._child is not None and now_s >= self._ends_s:
            self._child.close()
            self._child = None
            self._next(now_s)
        if self._interfaces and now_s >= self._due_s:
            self._due_s = now_s + DAILY_S
            self._left = list(self._interfaces)
            if self._child is None:
                self._next(now_s)

    def _next(self, now_s: float) -> None:
        while self._left and self._child is None:
            self._asked, self._ends_s = self._left.pop(0), now_s + LISTEN_S + GRACE_S
            with contextlib.suppress(OSError):  # no process to be had: it is asked again tomorrow
                self._child = self._lan.listen(self._asked, LISTEN_S)

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None
