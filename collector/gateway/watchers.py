"""Which PC watches which segment (ordinances forbid strange machines on the LAN; one PC of each segment looks for them).

Decided from heartbeats alone, in memory; after a restart of the gateway the first able PC that speaks is taken, and
where that is not the one before, two overlap for a heartbeat. Times are monotonic seconds.
"""

from __future__ import annotations

from msgspec import Struct

from protocol.messages import Heartbeat

SENSOR = "neighbours"
ABLE = frozenset(("running", "standby"))
LAPSE_S = 35.0
"""A watcher that was silent for so long (three heartbeats) is replaced by the next PC of the segment that speaks."""


class Post(Struct):
    """Who watches a segment, and when that PC last spoke."""

    agent_id: str
    heard_s: float


class Watchers:
    """Elects, for each segment, one PC that says it can watch it; it stays as long as it speaks and is able."""

    def __init__(self) -> None:
        self._posts: dict[str, Post] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        self._swept_s = 0.0

    def beat(self, agent_id: str, beat: Heartbeat, now_s: float) -> tuple[str, ...]:
        """Take a heartbeat; returns the segments this PC is to watch from now on."""
        able = beat.sensors.get(SENSOR) in ABLE and beat.isolation == "free"
        offered = beat.segments if able else ()
        for segment in self._held.get(agent_id, ()):
            if segment not in offered and self._is_at(segment, agent_id):
                del self._posts[segment]
        mine = tuple(segment for segment in offered if self._take(segment, agent_id, now_s))
        if mine:
            self._held[agent_id] = mine
        else:
            self._held.pop(agent_id, None)
        self._sweep(now_s)
        return mine

    def duty(self, agent_id: str) -> tuple[str, ...]:
        """What this PC was last told to watch, as far as it still holds."""
        return tuple(segment for segment in self._held.get(agent_id, ()) if self._is_at(segment, agent_id))

    def _is_at(self, segment: str, agent_id: str) -> bool:
        post = self._posts.get(segment)
        return post is not None and post.agent_id == agent_id

    def _take(self, segment: str, agent_id: str, now_s: float) -> bool:
        post = self._posts.get(segment)
        if post is None or post.agent_id == agent_id or now_s - post.heard_s >= LAPSE_S:
            self._posts[segment] = Post(agent_id, now_s)
            return True
        return False

    def _sweep(self, now_s: float) -> None:
        """Forget segments that nobody offers any more, so that memory follows the city and not its history."""
        if now_s - self._swept_s < LAPSE_S:
            return
        self._swept_s = now_s
        gone = [segment for segment, post in self._posts.items() if now_s - post.heard_s >= 2 * LAPSE_S]
        for segment in gone:
            del self._posts[segment]
        self._held = {
            agent_id: held
            for agent_id, held in self._held.items()
            if any(self._is_at(segment, agent_id) for segment in held)
        }
