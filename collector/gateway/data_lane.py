"""The data lane: batches in, one journal transaction for many, acknowledgements out only after the disk has them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from collector.evidence.files import NewBatch, Tail
from collector.evidence.journal import Place
from collector.gateway.hub import Hub
from collector.gateway.ingest import check_signature, decide
from collector.gateway.lanes import Incoming
from collector.gateway.roster import Member
from protocol.messages import Batch, BatchAck, RetryAfter
from protocol.refusal import RefusedError

GROUP_BATCHES = 64
GROUP_BYTES = 16 * 1024 * 1024
GROUP_S = 0.010
"""A group is closed when it is this old, full, or nothing more waits."""
AGAIN_MS = 100
FULL_MS = 5_000
PROBE_S, CLOSED_S = 1.0, 1.5
"""How often free space is looked at, and how long nothing is tried after the journal took nothing."""
MOST_TURNED = 256


class DataLane:
    """Gathers a group, commits it, answers. ``stored`` is called after each commit."""

    def __init__(self, hub: Hub, min_free_bytes: int, stored: Callable[[], None]) -> None:
        self._journal, self._lanes, self._ledger = hub.journal, hub.lanes, hub.ledger
        self._clock, self._stats = hub.clock, hub.stats
        self._min_free, self._stored = min_free_bytes, stored
        self._group: list[NewBatch] = []
        self._bytes = 0
        self._tails: dict[str, Tail] = {}
        self._places: dict[tuple[str, int], Place] = {}
        self._findings: list[tuple[str, str, dict[str, Any]]] = []
        self._acks: dict[str, bytes] = {}
        self._turned: dict[str, dict[int, float]] = {}
        self._closed_until = 0.0
        self._short = False
        self._look_at = 0.0
        self._report_corruptions()

    def drain(self, handle: Callable[[Incoming], None], refused: Callable[[RefusedError], None]) -> bool:
        """Take what waits, one group; commit it. Returns whether more may wait."""
        began, more = time.monotonic(), True
        for _ in range(GROUP_BATCHES):
            try:
                incoming = self._lanes.receive("data")
            except RefusedError as error:
                refused(error)
                continue
            if incoming is None:
                more = False
                break
            handle(incoming)
            if self._bytes >= GROUP_BYTES or time.monotonic() - began >= GROUP_S:
                break
        self.commit()
        return more

    def take(self, member: Member, incoming: Incoming, batch: Batch) -> None:
        """Decide about a batch and put it into the group. Raises RefusedError by name."""
        if incoming.address in member.other_addresses:
            raise RefusedError("quarantined_key", "another machine uses this key", "see the finding `clone`")
        agent, now = member.id, time.monotonic()
        if now < self._closed_until:
            self._retry(agent, incoming.route, FULL_MS)
            return
        tail = self._tails.get(agent) or self._journal.tail(agent)
        check_signature(batch, member.sign_key)
        turned = self._turned.get(agent, {}).get(batch.first_seq)
        waited = None if turned is None else now - turned
        try:
            decision = decide(tail, batch, lambda: self._place(agent, batch.first_seq), waited)
        except RefusedError as error:
            if error.name != "disk_full":
                raise
            self._close(error.detail, now)
            self._retry(agent, incoming.route, FULL_MS)
            return
        if decision.do == "again":
            self._ask_again(agent, incoming.route, batch.first_seq, now)
            return
        self._acks[agent] = incoming.route
        if decision.do == "duplicate":
            self._stats.counters["duplicates"] += 1
            return
        self._turned.pop(agent, None)
        if decision.finding is not None:
            self._findings.append((agent, *decision.finding))
        self._add(agent, batch)

    def commit(self) -> None:
        """Make the group durable, then acknowledge it. When the disk takes nothing, ask the senders to come again."""
        if self._group:
            self._store()
        for agent, route in self._acks.items():
            self._lanes.send("data", route, BatchAck(seq=self._journal.tail(agent).seq))
        self._acks.clear()
        self._forget_group()

    def look(self, now: float) -> None:
        """Once a second: is there space? Close the lane before the control database has none, open it again by itself."""
        if now < self._look_at:
            return
        self._look_at = now + PROBE_S
        free = shutil.disk_usage(self._journal.path.parent).free
        if free < self._min_free:
            self._short = True
            self._close(f"{free >> 20} MiB free, at least {self._min_free >> 20} are kept", now)
        elif self._short:
            self._short = False
            self._stats.clear_health("disk_full")

    def _add(self, agent: str, batch: Batch) -> None:
        self._group.append(
            NewBatch(
                agent_id=agent,
                first_seq=batch.first_seq,
                count=batch.count,
                prev_digest=batch.prev_digest,
                digest=batch.digest,
                received_us=self._clock.now_us(),
                body=batch.body,
                signature=batch.signature,
            )
        )
        self._bytes += len(batch.body)
        self._tails[agent] = Tail(batch.first_seq + batch.count - 1, batch.digest)
        self._places[agent, batch.first_seq] = Place(batch.count, batch.prev_digest, batch.digest)

    def _place(self, agent: str, first_seq: int) -> Place | None:
        return self._places.get((agent, first_seq)) or self._journal.find(agent, first_seq)

    def _store(self) -> None:
        began = time.perf_counter()
        try:
            self._journal.append_many(self._group)
        except RefusedError as error:
            self._close(error.detail, time.monotonic())
            for agent, route in self._acks.items():
                self._retry(agent, route, FULL_MS)
            self._acks.clear()
            return
        finally:
            self._report_corruptions()
        self._stats.clear_health("disk_full")
        counters = self._stats.counters
        counters["batches"] += len(self._group)
        counters["events"] += sum(one.count for one in self._group)
        counters["bytes"] += self._bytes
        counters["commits"] += 1
        counters["commit_us"] += int((time.perf_counter() - began) * 1e6)
        for finding in self._findings:
            self._ledger.finding(*finding)
        self._stored()

    def _forget_group(self) -> None:
        self._group.clear()
        self._tails.clear()
        self._places.clear()
        self._findings.clear()
        self._bytes = 0

    def _close(self, detail: str, now: float) -> None:
        self._closed_until = now + CLOSED_S
        self._stats.counters["journal_refused"] += 1
        if self._stats.raise_health("disk_full", detail):
            self._ledger.finding("", "disk_full", {"detail": detail})

    def _ask_again(self, agent: str, route: bytes, first_seq: int, now: float) -> None:
        turned = self._turned.setdefault(agent, {})
        if len(turned) < MOST_TURNED:
            turned.setdefault(first_seq, now)
        self._retry(agent, route, AGAIN_MS)

    def _retry(self, agent: str, route: bytes, ms: int) -> None:
        self._stats.counters["retry_after"] += 1
        self._lanes.send("data", route, RetryAfter(ms=ms, seq=self._journal.tail(agent).seq))

    def _report_corruptions(self) -> None:
        for one in self._journal.take_corruptions():
            self._stats.counters["journal_corrupt"] += 1
            self._stats.raise_health("journal_corrupt", f"{one.error}; the old file is {one.aside}")
            self._ledger.finding(
                "",
                "journal_corrupt",
                {"aside": one.aside, "error": one.error, "first_rowid": one.first_rowid},
            )
