"""The groups of one correlation: bounded, in the order they were touched, and what changed since they were stored."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

import msgspec
from msgspec import Struct

from policies.correlation_window import Entry, figure, grows, holds
from policies.model import Correlation

LATE_US = 86_400_000_000
"""So much older than the newest of its group an entry may be, beside the time span."""
GRACE_US = 60_000_000
"""A window that is judged at its end waits so long for what is still on its way."""
MOST_GROUPS = 10_000
MOST_ENTRIES = 200_000
"""Groups, and entries, that are kept for one correlation."""
MOST_IN_GROUP = 1000
FEWEST_IN_GROUP = 64
MOST_COUNTED = 10_000
"""Most that a condition may count to."""
MOST_LISTED = 50
"""Events that a hit lists."""

Key = tuple[str, ...]


class Correlated(Struct, frozen=True):
    """A correlation that held. ``value``: the figure it was judged by; ``events``: the newest of those that made it.

    ``count``: how many entries the window holds.
    """

    correlation: Correlation
    group: dict[str, str]
    events: tuple[Entry, ...]
    count: int
    value: float

    @property
    def last(self) -> Entry:
        """The newest event."""
        return self.events[-1]


class State(Struct, array_like=True):
    """What is kept of one group.

    ``told_us``: end of the window that was reported last, 0 = none was; ``touched_us``: receipt of the newest entry.
    """

    entries: list[Entry] = []
    told_us: int = 0
    touched_us: int = 0


class Kept(Struct, frozen=True):
    """A group as it is stored: correlation, SHA-256 of its definition (hex), key (JSON), state (MessagePack).

    An empty state: the group is gone.
    """

    correlation: str
    digest: str
    key: str
    state: bytes


def _time(entry: Entry) -> int:
    return entry.time_us


class Groups:
    """One correlation and its groups. Times are UTC µs; ``now_us`` is the receipt of what comes in."""

    def __init__(self, correlation: Correlation) -> None:
        self.correlation = correlation
        self.digest = hashlib.sha256(msgspec.msgpack.encode(correlation, order="deterministic")).hexdigest()
        self.lost = 0
        """Groups and entries given up within their time span; the caller takes them out."""
        self._states: OrderedDict[Key, State] = OrderedDict()
        self._size = 0
        self._changed: set[Key] = set()
        self._at_once = grows(correlation)
        self._due: list[tuple[int, Key]] = []
        """When windows close that are judged then."""
        counted = correlation.kind == "event_count" and self._at_once
        enough = math.ceil(correlation.threshold) + 1 if correlation.kind.endswith("_count") else 0
        self._most = max(enough, FEWEST_IN_GROUP if counted else MOST_IN_GROUP)

    def add(self, key: Key, entry: Entry, now_us: int) -> Correlated | None:
        """Take in one entry; returns what it makes true."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = State([])
        self._states.move_to_end(key)
        state.touched_us = max(now_us, state.touched_us)
        span = self.correlation.timespan_us
        entries = state.entries
        if entries and entry.time_us < entries[-1].time_us - span - LATE_US:
            self.lost += 1
            return None
        first = entries[0] if entries else None
        insort(entries, entry, key=_time)
        self._size += 1
        self._changed.add(key)
        found = self._judge(key, state, entry.time_us) if self._at_once else None
        self._trim(state)
        if entries[0] is not first:
            self._open(key, state)
        self._bound(now_us)
        return found

    def close(self, now_us: int) -> Iterator[Correlated]:
        """Judge every window that has closed by ``now_us``."""
        while self._due and self._due[0][0] <= now_us:
            due, key = heappop(self._due)
            state = self._states.get(key)
            if state is None or not state.entries:
                continue
            end = state.entries[0].time_us + self.correlation.timespan_us
            if end + GRACE_US != due:
                continue  # of a window that another entry has begun since
            cut = bisect_left(state.entries, end + 1, key=_time)
            window = state.entries[:cut]
            if holds(self.correlation, window):
                state.told_us = window[-1].time_us
                yield self._found(key, window)
            del state.entries[:cut]
            self._size -= cut
            self._changed.add(key)
            self._open(key, state)
            if not state.entries:
                del self._states[key]

    def _open(self, key: Key, state: State) -> None:
        """Note when the window that begins with the first entry closes."""
        if state.entries and not self._at_once:
            heappush(self._due, (state.entries[0].time_us + self.correlation.timespan_us + GRACE_US, key))

    def _judge(self, key: Key, state: State, from_us: int) -> Correlated | None:
        """Look at each window that ends with an entry of ``from_us`` or up to a time span later."""
        entries, span = state.entries, self.correlation.timespan_us
        end = bisect_left(entries, from_us, key=_time)
        while end < len(entries) and entries[end].time_us <= from_us + span:
            last_us = entries[end].time_us
            if not state.told_us or abs(last_us - state.told_us) >= span:
                window = entries[bisect_left(entries, last_us - span, key=_time) : end + 1]
                if holds(self.correlation, window):
                    state.told_us = last_us
                    return self._found(key, window)
            end += 1
        return None

    def _found(self, key: Key, window: Sequence[Entry]) -> Correlated:
        return Correlated(
            self.correlation,
            dict(zip(self.correlation.group_by, key, strict=True)),
            tuple(window[-MOST_LISTED:]),
            len(window),
            figure(self.correlation, window),
        )

    def _trim(self, state: State) -> None:
        """Give up entries of one group that are too old, or too many."""
        entries, span = state.entries, self.correlation.timespan_us
        old = bisect_left(entries, entries[-1].time_us - span - LATE_US, key=_time)
        more = max(0, len(entries) - self._most)
        if more > old:
            # A count that is reached is not lost with its oldest entries.
            needed = bisect_left(entries, entries[-1].time_us - span, key=_time)
            if self._most == MOST_IN_GROUP:
                self.lost += max(0, more - max(old, needed))
        cut = max(old, more)
        del entries[:cut]
        self._size -= cut

    def _bound(self, now_us: int) -> None:
        """Give up groups: those long untouched, and the longest untouched where there are too many."""
        keep = self.correlation.timespan_us + LATE_US
        while self._states:
            key, state = next(iter(self._states.items()))
            over = len(self._states) > MOST_GROUPS or self._size > MOST_ENTRIES
            if not over and state.touched_us >= now_us - keep:
                return
            if over and state.touched_us >= now_us - self.correlation.timespan_us:
                self.lost += 1
            self._size -= len(state.entries)
            del self._states[key]
            self._changed.add(key)

    # -- storing -----------------------------------------------------------------------------------------------------

    def changed(self) -> Iterator[Kept]:
        """What changed since :meth:`settled`."""
        for key in self._changed:
            state = self._states.get(key)
            packed = msgspec.msgpack.encode(state) if state is not None else b""
            yield Kept(self.correlation.id, self.digest, msgspec.json.encode(key).decode(), packed)

    def settled(self) -> None:
        """What :meth:`changed` gave out is stored."""
        self._changed.clear()

    def restore(self, kept: Kept) -> None:
        """Take a stored group back, the longest untouched first; not one of another definition, or that is there."""
        key = msgspec.json.decode(kept.key, type=tuple[str, ...])
        if kept.digest != self.digest or key in self._states:
            return
        state = msgspec.msgpack.decode(kept.state, type=State)
        self._states[key] = state
        self._size += len(state.entries)
        self._open(key, state)
