"""Searching stored events: the one query object behind API, console and CLI, and its evaluation over the journal."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import zstandard
from msgspec import Meta, Struct, to_builtins

from collector.detection.batch import Batch, decode, unpack
from collector.evidence.reader import JournalReader
from collector.search.index import BITS, END_US, Line, clamped, open_reader
from protocol.events import KINDS, AnyEvent, kind_of
from protocol.refusal import RefusedError

PERSON_FIELDS = ("user", "owner")


class EventQuery(Struct, frozen=True, kw_only=True):
    """What is sought; everything given must hold. Times are UTC µs by the PC's clock, ``until_us`` exclusive.

    ``agent`` empty = every PC of ``agents`` (None = of the city; a section head's query carries that section's PCs).
    ``user`` is compared with the login name or owner of the event. ``text`` stands somewhere in one of the event's
    text fields; ASCII letters without case. Results come by time, then PC, then sequence number, in ``order``.
    """

    agent: str = ""
    agents: frozenset[str] | None = None
    kinds: frozenset[str] = frozenset()
    since_us: int = 0
    until_us: int = END_US
    user: str = ""
    text: str = ""
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 100
    order: Literal["newest", "oldest"] = "newest"


class Found(Struct, frozen=True, order=True):
    """One stored event with its sender and sequence number."""

    agent_id: str
    seq: int
    event: AnyEvent


def person_of(event: AnyEvent) -> str:
    """Login name the event speaks of; empty where it speaks of nobody."""
    for name in PERSON_FIELDS:
        if person := getattr(event, name, ""):
            return str(person)
    return ""


def matches(query: EventQuery, agent_id: str, event: AnyEvent) -> bool:
    """Tell whether one event is sought. The index may only leave out batches for which this is False throughout."""
    return (
        query.since_us <= clamped(event.time_us) < query.until_us
        and (not query.kinds or kind_of(event) in query.kinds)
        and query.agent in {"", agent_id}
        and (query.agents is None or agent_id in query.agents)
        and (not query.user or query.user == person_of(event))
        and (not query.text or _holds_text(event, _folded(query.text)))
    )


class EventSearch:
    """Runs queries over ``index.db`` and ``journal.db`` of a data directory. One per thread."""

    def __init__(self, data: Path) -> None:
        self._index_path = data / "index.db"
        self._journal = JournalReader(data / "journal.db")
        self._unpacker = zstandard.ZstdDecompressor()

    def run(self, query: EventQuery) -> Iterator[Found]:
        """Yield what is found, at most ``limit``; batches are opened only as far as the limit asks.

        What is in the journal but not yet indexed (some milliseconds) is not found. Raises RefusedError
        ``bad_value`` for a kind that does not exist.
        """
        if unknown := query.kinds - KINDS.keys():
            raise RefusedError("bad_value", f"no event kind {', '.join(sorted(unknown))}")
        return itertools.islice(self._sorted(query), query.limit)

    def find(self, agent_id: str, seq: int) -> tuple[AnyEvent, int] | None:
        """One event by its sender's number, with the time of its receipt (µs); None: not stored, or not readable."""
        sql = "SELECT rowid FROM batches WHERE agent_id = ? AND first_seq <= ? AND first_seq + count > ?"
        try:
            with contextlib.closing(open_reader(self._index_path)) as database:
                row = database.execute(f"{sql} ORDER BY rowid DESC", (agent_id, seq, seq)).fetchone()
        except sqlite3.OperationalError:
            return None  # nothing has been indexed yet
        stored = self._journal.read_after(row[0] - 1, 1) if row else []
        if not stored or stored[0].rowid != row[0]:
            return None
        one = stored[0]
        batch = Batch(one.rowid, one.agent_id, one.first_seq, one.count, one.received_us, one.body)
        event = decode(batch, self._unpacker).events[seq - one.first_seq]
        return (event, one.received_us) if event is not None else None

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _sorted(self, query: EventQuery) -> Iterator[Found]:
        """Merge batches whose times overlap: an event is given out once no batch not yet opened can precede it."""
        sign = -1 if query.order == "newest" else 1
        heap: list[tuple[int, str, int, Found]] = []
        for line in self._lines(query):
            edge = -line.max_us if sign < 0 else line.min_us
            while heap and heap[0][0] < edge:
                yield heapq.heappop(heap)[-1]
            for found in self._open(line, query):
                heapq.heappush(
                    heap, (sign * clamped(found.event.time_us), found.agent_id, sign * found.seq, found)
                )
        while heap:
            yield heapq.heappop(heap)[-1]

    def _lines(self, query: EventQuery) -> Iterator[Line]:
        """Index lines that can hold what is sought, in the order of the edge that matters."""
        sql = (
            "SELECT rowid, agent_id, first_seq, count, min_us, max_us, kinds FROM batches"
            " WHERE max_us >= ? AND min_us < ? AND kinds & ?"
        )
        values: list[object] = [query.since_us, query.until_us, _mask(query)]
        if query.agent:
            sql += " AND agent_id = ?"
            values.append(query.agent)
        if query.agents is not None:
            sql += " AND agent_id IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(sorted(query.agents)))
        sql += " ORDER BY max_us DESC" if query.order == "newest" else " ORDER BY min_us"
        try:
            database = open_reader(self._index_path)
        except sqlite3.OperationalError:
            return  # nothing has been indexed yet
        with contextlib.closing(database):
            for row in database.execute(sql, values):
                yield Line(*row)

    def _open(self, line: Line, query: EventQuery) -> Iterator[Found]:
        stored = self._journal.read_after(line.rowid - 1, 1)
        if not stored or stored[0].rowid != line.rowid:
            return  # the journal lost this row, and has said so
        one = stored[0]
        if query.text and not self._may_hold(one.body, query.text):
            return
        batch = Batch(one.rowid, one.agent_id, one.first_seq, one.count, one.received_us, one.body)
        for position, event in enumerate(decode(batch, self._unpacker).events):
            if event is not None and matches(query, line.agent_id, event):
                yield Found(line.agent_id, line.first_seq + position, event)

    def _may_hold(self, body: bytes, text: str) -> bool:
        """Tell whether the text stands anywhere in the unpacked body; decoding is the dearer step."""
        try:
            return _folded(text) in unpack(body, self._unpacker).lower()
        except (zstandard.ZstdError, ValueError):
            return False


def _mask(query: EventQuery) -> int:
    return sum(BITS[kind] for kind in query.kinds or KINDS)


def _folded(text: str) -> bytes:
    return text.encode(errors="surrogatepass").lower()


def _holds_text(event: AnyEvent, folded: bytes) -> bool:
    return any(folded in _folded(value) for value in _texts(to_builtins(event)))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)
