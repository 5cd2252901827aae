"""Names by which this PC looked addresses up, and who asked. Pure but for the log it drains; bounded.

An answer counts only if this PC asked for it: the packet filter's log shows the question (server, port, process), and may
show it later than the answer is here. So answers wait a while for their question. Forged ones never meet one.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from agent.platform.link_ports import Answer, NameLog
from agent.platform.ports import ProcessInfo
from policies.permits import name_covers

QUESTIONS, NAMES, WAITING = 4096, 4096, 1024
WAIT_S = 5.0
"""How long an answer waits for its question: the filter's log is at most a tenth of a second late."""
SHORTEST_S = 86_400.0
"""Programs keep addresses, and connections to them, far longer than they are told to."""

Question = tuple[str, int, str]
"""Server, port of the asker, protocol."""


class _Learnt(NamedTuple):
    name: str
    server: str
    until_s: float


class NameMemory:
    """Shared by the sensors of names and of connections; one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.log: NameLog | None = None
        """Where answers come from; None while nobody listens."""
        self._clock = clock
        self._questions: OrderedDict[Question, ProcessInfo] = OrderedDict()
        self._waiting: deque[tuple[float, Answer]] = deque(maxlen=WAITING)
        self._heard: deque[tuple[float, Answer]] = deque(maxlen=WAITING)
        self._names: OrderedDict[str, _Learnt] = OrderedDict()
        self.learnt = 0
        """Grows when an address is learnt that was not known by that name."""
        self.unheard = 0
        """Answers that were dropped because too many were waiting."""

    def asked(self, question: Question, by: ProcessInfo) -> None:
        """This PC sent a question."""
        self._questions[question] = by
        self._questions.move_to_end(question)
        if len(self._questions) > QUESTIONS:
            self._questions.popitem(last=False)

    def asker(self, answer: Answer) -> ProcessInfo | None:
        """Who asked for an answer, if that was seen."""
        return self._questions.get((answer.server, answer.port, answer.protocol))

    def collect(self) -> None:
        """Take in what the log has now."""
        if self.log is None:
            return
        now_s = self._clock()
        for answer in self.log.answers():
            self.unheard += len(self._heard) == WAITING
            self._heard.append((now_s, answer))
            if answer.addresses:
                self._waiting.append((now_s, answer))

    def heard(self, older_than_s: float) -> list[Answer]:
        """Take out the answers that came at least so long ago, in order."""
        before = self._clock() - older_than_s
        found = []
        while self._heard and self._heard[0][0] <= before:
            found.append(self._heard.popleft()[1])
        return found

    def settle(self) -> None:
        """Take in what the log has, and learn from what was asked for."""
        self.collect()
        self._settle(self._clock())

    def name_of(self, address: str) -> str:
        """The name an address was last looked up by on this PC; empty when none is known (any more)."""
        self.collect()
        now_s = self._clock()
        self._settle(now_s)
        found = self._names.get(address)
        return found.name if found and found.until_s > now_s else ""

    def addresses_of(self, permitted: str, servers: tuple[str, ...]) -> list[str]:
        """Addresses that one of the servers gave for a name (or names below ``*.``), the newest first."""
        now_s = self._clock()
        return [
            address
            for address, one in reversed(self._names.items())
            if one.until_s > now_s and one.server in servers and name_covers(permitted, one.name)
        ]

    def _settle(self, now_s: float) -> None:
        """Match the waiting answers with the questions seen meanwhile."""
        for _ in range(len(self._waiting)):
            came_s, answer = self._waiting.popleft()
            if (answer.server, answer.port, answer.protocol) in self._questions:
                self._learn(answer, came_s)
            elif now_s - came_s < WAIT_S:
                self._waiting.append((came_s, answer))

    def _learn(self, answer: Answer, came_s: float) -> None:
        for address, ttl_s in answer.addresses:
            before = self._names.get(address)
            self.learnt += before is None or before.name != answer.query
            until_s = came_s + max(SHORTEST_S, ttl_s)
            self._names[address] = _Learnt(answer.query, answer.server, until_s)
            self._names.move_to_end(address)
            if len(self._names) > NAMES:
                self._names.popitem(last=False)
