"""The two lanes as state machines without sockets: what to send when, and what an answer means.

``send`` puts one message on the lane's socket and returns False when the socket takes nothing now; the caller pumps
again when it does. Times are monotonic seconds.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agent.outbox import BATCH_EVENTS, Outbox
from agent.reports import DataFlows, Refused, Report
from protocol.messages import (
    Batch,
    BatchAck,
    Heartbeat,
    HeartbeatReply,
    Message,
    OrderResult,
    PolicyFetch,
    Refusal,
    RetryAfter,
)

Send = Callable[[Message], bool]

# -- data lane -------------------------------------------------------------------------------------------------------

WINDOW = 8
RESEND_S = 10.0
GATHER_S = 0.050
"""How long events wait for company while other batches are on their way."""
BUSY_S, REFUSED_S = 1.0, 300.0
HOLD_MAX_S = 300.0
FINAL = {"forked_batch", "replayed_batch"}
"""Refusals that no resend can cure: somebody has to look."""


class _InFlight(NamedTuple):
    first: int
    last: int
    sent_s: float


class DataLane:
    """A window of batches that are sent in order and stay until acknowledged."""

    def __init__(self, outbox: Outbox, send: Send) -> None:
        self._outbox, self._send = outbox, send
        self.stopped = ""
        """Name of the refusal that ended sending; empty = sending."""
        self.timeouts = 0
        """Resends in a row without any acknowledgement."""
        self.blocked = False
        self._refused = False
        self._hold_s = 0.0
        self._gather_s: float | None = None
        self.reset()

    def reset(self) -> None:
        """After a new connection: everything not acknowledged is sent again, in order."""
        self._window: deque[_InFlight] = deque()
        self._epoch = self._outbox.file.epoch
        self._stored = True
        self.blocked = False

    def pump(self, now_s: float) -> None:
        """Send what may be sent. Raises sqlite3.Error when the disk does not take a new batch."""
        if self.stopped or now_s < self._hold_s:
            return
        if self._epoch != self._outbox.file.epoch:
            self.reset()
        if self._window and now_s - self._window[0].sent_s >= RESEND_S:
            self.timeouts += 1
            self.reset()
        self.blocked = False
        while len(self._window) < WINDOW and (batch := self._next(now_s)):
            if not self._send(batch):
                self.blocked = self._stored = True
                return
            self._window.append(_InFlight(batch.first_seq, batch.first_seq + batch.count - 1, now_s))

    def _next(self, now_s: float) -> Batch | None:
        if self._stored:
            after = self._window[-1].first if self._window else 0
            if found := self._outbox.following(after):
                return found
            self._stored = False
        waiting = self._outbox.file.waiting
        if not waiting:
            self._gather_s = None
            return None
        if self._window and waiting < BATCH_EVENTS:
            if self._gather_s is None:
                self._gather_s = now_s + GATHER_S
            if now_s < self._gather_s:
                return None
        self._gather_s = None
        return self._outbox.form()

    def due_s(self) -> float | None:
        """When :meth:`pump` is due though nothing arrived; None = never."""
        if self.stopped:
            return None
        resend = self._window[0].sent_s + RESEND_S if self._window else None
        times = [time for time in (resend, self._gather_s, self._hold_s or None) if time is not None]
        return max(self._hold_s, min(times)) if times else None

    def handle(self, message: Message, now_s: float) -> Report | None:
        """Take an answer; returns what the main thread should know."""
        if isinstance(message, BatchAck):
            return self._acknowledged(message.seq)
        if isinstance(message, RetryAfter):
            report = self._acknowledged(message.seq) if message.seq else None
            self._hold(now_s + min(message.ms / 1000, HOLD_MAX_S))
            return report
        if isinstance(message, Refusal):
            return self._take_refusal(message, now_s)
        return None

    def _acknowledged(self, seq: int) -> Report | None:
        highest = self._outbox.highest_formed()
        if seq > highest:
            return Refused(
                "frame", "foreign", f"acknowledged {seq}, but nothing above {highest} was ever sent"
            )
        self.timeouts = 0
        while self._window and self._window[0].last <= seq:
            self._window.popleft()
        self._outbox.acknowledge(seq)
        if self._refused:
            self._refused = False
            return DataFlows()
        return None

    def _take_refusal(self, message: Refusal, now_s: float) -> Report | None:
        if message.name == "overloaded":
            self._hold(now_s + BUSY_S)
            return None
        self._refused = True
        if message.name in FINAL:
            self.stopped = message.name
        self._hold(now_s + REFUSED_S)
        return Refused("data", message.name, f"batch {message.first_seq}: {message.detail}")

    def _hold(self, until_s: float) -> None:
        self._hold_s = until_s
        self.reset()


# -- control lane ----------------------------------------------------------------------------------------------------

BEAT_S, JITTER = 10.0, 0.2
MISSED = 3
FETCH_S = 60.0
REFUSED_FETCH_S = 600.0


class ControlLane:
    """Heartbeats, policy requests, and results of orders, which are repeated until a later heartbeat was answered."""

    def __init__(self, beat: Callable[[], Heartbeat], send: Send, *, interval_s: float = BEAT_S) -> None:
        self._beat, self._send, self._interval_s = beat, send, interval_s
        self.up = False
        self.have = 0
        """Policy generation in force."""
        self.wanted = 0
        self._fetch_s = 0.0
        self._results: list[OrderResult] = []
        self.reset(0.0)

    def reset(self, now_s: float) -> None:
        """After a new connection: a heartbeat at once, and all results again."""
        self.blocked = False
        self.missed = 0
        self._due = True
        self._next_s = now_s + self._interval()
        self._sent = self._answered = 0
        self._told: list[tuple[int, OrderResult]] = []

    def _interval(self) -> float:
        return self._interval_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, no secret

    def pump(self, now_s: float) -> bool:
        """Send what is due; False when so many heartbeats went unanswered that the connection is to be rebuilt."""
        if now_s >= self._next_s:
            self._next_s = now_s + self._interval()
            if self._due or self._answered < self._sent:
                self.missed += 1
            self._due = True
        if self.missed >= MISSED:
            return False
        self.blocked = not (self._push_results() and self._push_beat() and self._push_fetch(now_s))
        return True

    def _push_results(self) -> bool:
        while self._results:
            if not self._send(self._results[0]):
                return False
            self._told.append((self._sent, self._results.pop(0)))
            self._due = True
        return True

    def _push_beat(self) -> bool:
        if self._due and self._send(self._beat()):
            self._due = False
            self._sent += 1
        return not self._due

    def _push_fetch(self, now_s: float) -> bool:
        if self.wanted <= self.have or now_s < self._fetch_s:
            return True
        if not self._send(PolicyFetch(have=self.have)):
            return False
        self._fetch_s = now_s + FETCH_S
        return True

    def due_s(self) -> float:
        """When :meth:`pump` is due though nothing arrived."""
        return min(self._next_s, self._fetch_s) if self.wanted > self.have else self._next_s

    def say(self, result: OrderResult) -> None:
        """Tell what became of an order, as soon as the connection allows."""
        self._results.append(result)

    def beat_now(self) -> None:
        """Something worth telling changed: do not wait for the next heartbeat."""
        self._due = True

    def lost(self) -> None:
        """The connection is given up: untold results are kept for the next one."""
        self._results[:0] = [result for _, result in self._told]
        self._told = []
        self.up = False

    def answered(self, reply: HeartbeatReply) -> None:
        """A heartbeat was answered: the collector has every result that was sent before it."""
        self.missed = 0
        self._answered += 1
        self._told = [(sent, result) for sent, result in self._told if sent >= self._answered]
        if reply.policy_generation != self.wanted:
            self._fetch_s = 0.0
        self.wanted = reply.policy_generation
        self.up = True

    def policy_arrived(self, generation: int) -> None:
        """The bundle is verified: no need to ask again."""
        self.have = max(self.have, generation)

    def policy_refused(self, now_s: float) -> None:
        """The bundle is not acceptable: ask again, but not at every heartbeat."""
        self._fetch_s = now_s + REFUSED_FETCH_S
