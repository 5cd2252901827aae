"""How many alerts one (rule, PC, person) may raise: the first ones each by itself, then one with a count.

A pure state machine: time comes in, decisions go out. Windows are aligned by a hash of the key, so they follow from key
and time alone: replaying the stored alerts after a restart gives back the same state, and not all windows turn over in
the same second.

A PC names the persons, so persons are counted per (rule, PC) as well: beyond :data:`PERSONS` in one window the
others share one key. Otherwise a PC could evade its budget, and fill the disk, with names it makes up.
"""

from __future__ import annotations

from typing import Literal
from zlib import crc32

from msgspec import Struct

WINDOW_US = 10 * 60 * 1_000_000
FIRST = 5
FIRST_CRITICAL = 50
PERSONS = 32
OTHERS = "*"
KEYS = 200_000

Verdict = Literal["raise", "summarise", "counted"]


class Key(Struct, frozen=True, array_like=True):
    """What a budget belongs to; ``person`` may be empty, or :data:`OTHERS`."""

    rule_id: str
    agent_id: str
    person: str


class Summary(Struct):
    """The counted alert of a key in one window: when it was started, how many it stands for, when the last came.

    Key and ``started_us`` (the alert's ``stored_us``) say which alert it is.
    """

    started_us: int
    count: int
    last_us: int


class _State(Struct):
    window: int
    raised: int = 0
    summary: Summary | None = None


class Budget:
    """Decides for each hit: ``raise`` an alert, start the ``summarise`` alert, or only count it there.

    Memory is bounded by ``keys``: the key that was touched longest ago is given up, which can only mean more alerts
    for it, never fewer.
    """

    def __init__(self, *, keys: int = KEYS) -> None:
        self._keys = keys
        self._states: dict[Key, _State] = {}
        self._persons: dict[tuple[str, str], tuple[int, set[str]]] = {}
        self.grown: dict[tuple[Key, int], Summary] = {}
        """Summaries that grew, by key and ``started_us``; the caller clears it when they are written."""

    def offer(self, key: Key, *, critical: bool, now_us: int) -> tuple[Verdict, Key]:
        """Decide about one hit; the key returned is the one it was counted under."""
        key = self._shared(key, now_us)
        state = self._state(key, now_us)
        if state.summary is not None:
            state.summary.count += 1
            state.summary.last_us = now_us
            self.grown[key, state.summary.started_us] = state.summary
            return "counted", key
        if state.raised < (FIRST_CRITICAL if critical else FIRST):
            state.raised += 1
            return "raise", key
        state.summary = Summary(now_us, 1, now_us)
        return "summarise", key

    def restore(self, key: Key, *, now_us: int, summary: Summary | None = None) -> None:
        """Take in a stored alert, oldest first; ``now_us`` is when it was stored, ``summary`` filled if it is one."""
        key = self._shared(key, now_us)
        state = self._state(key, now_us)
        if summary is None:
            state.raised += 1
        else:
            state.summary = summary

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._states)

    def _state(self, key: Key, now_us: int) -> _State:
        window = window_of(key, now_us)
        state = self._states.pop(key, None)
        # A clock that is set back must not open a new window.
        if state is None or window > state.window:
            state = _State(window)
        self._states[key] = state
        if len(self._states) > self._keys:
            del self._states[next(iter(self._states))]
        return state

    def _shared(self, key: Key, now_us: int) -> Key:
        pair = (key.rule_id, key.agent_id)
        shared = Key(key.rule_id, key.agent_id, OTHERS)
        window = window_of(shared, now_us)
        known = self._persons.pop(pair, None)
        if known is None or window > known[0]:
            known = (window, set())
        self._persons[pair] = known
        if len(self._persons) > self._keys:
            del self._persons[next(iter(self._persons))]
        if key.person in known[1]:
            return key
        if len(known[1]) >= PERSONS:
            return shared
        known[1].add(key.person)
        return key


def window_of(key: Key, now_us: int) -> int:
    """Number of the window of ``key`` that ``now_us`` lies in."""
    offset = crc32(f"{key.rule_id}\0{key.agent_id}\0{key.person}".encode()) % WINDOW_US
    return (now_us + offset) // WINDOW_US
