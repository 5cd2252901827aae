"""The sending end of the spool: contiguous, signed, chained batches that stay the same until acknowledged (DESIGN §4).

A batch is persisted, body and all, before it is first sent, so a resend is the same to the byte even after an update
of the compressor. Its events leave the ``events`` table in the same transaction.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zstandard

from agent.spool_file import ROW_BYTES, SpoolFile, is_corrupt
from protocol.events import decode_event, join_encoded
from protocol.messages import Batch, batch_digest
from protocol.refusal import UNREADABLE

BATCH_EVENTS, BATCH_BYTES = 200, 1024 * 1024

Run = list[tuple[int, bytes]]


class Outbox:
    """Batches of one spool; used by the uplink thread. ``sign`` gets a digest and returns the 64-byte signature.

    Every method may meet a corrupt database: it is then replaced, ``epoch`` of the file changes and nothing is
    returned. sqlite3.Error for other reasons (the disk is full) comes through.
    """

    def __init__(self, file: SpoolFile, sign: Callable[[bytes], bytes]) -> None:
        self.file = file
        self._sign = sign

    def form(self) -> Batch | None:
        """Make the next batch out of waiting events and persist it; None when nothing waits."""
        with self._replacing():
            with self.file.lock:
                run = self._next_run()
                if not run:
                    return None
                prev, epoch = self.file.digest, self.file.epoch
                self.file.forming = run[-1][0]
            try:
                batch = self._make(run, prev)
                with self.file.lock:
                    if self.file.epoch == epoch:
                        self._keep(batch)
                        return batch
            finally:
                self.file.forming = 0
        return None

    def following(self, after: int) -> Batch | None:
        """The first formed batch that starts above ``after``. One that is damaged is taken out and noted."""
        query = "SELECT first, count, prev, digest, signature, body FROM batches WHERE first > ? ORDER BY first LIMIT 1"
        with self._replacing(), self.file.lock:
            while row := self.file.db.execute(query, (after,)).fetchone():
                first, count, prev, digest, signature, body = row
                if batch_digest(first, count, prev, body) == digest:
                    return Batch(
                        first_seq=first,
                        count=count,
                        prev_digest=prev,
                        digest=digest,
                        signature=signature,
                        body=body,
                    )
                self._lose_batch(first, count, len(body))
        return None

    def highest_formed(self) -> int:
        """The highest number that was ever put into a batch."""
        with self.file.lock:
            query = "SELECT coalesce(max(first + count - 1), 0) FROM batches"
            (highest,) = self.file.db.execute(query).fetchone()
        return max(int(highest), self.file.acknowledged)

    def acknowledge(self, seq: int) -> None:
        """The collector has everything up to ``seq`` on disk; batches that end there or before are deleted."""
        file = self.file
        gone = "FROM batches WHERE first + count - 1 <= ?"
        with self._replacing(), file.lock:
            query = f"SELECT coalesce(sum(count), 0), coalesce(sum(length(body)), 0) {gone}"
            count, size = file.db.execute(query, (seq,)).fetchone()
            if not count:
                return
            # Not durable: after a crash the batch is sent again and the collector knows it already.
            with file.transaction(durable=False):
                file.db.execute(f"DELETE {gone}", (seq,))
                file.save(acknowledged=max(seq, file.acknowledged))
            file.acknowledged = max(seq, file.acknowledged)
            file.formed -= count
            file.bytes -= size

    def _make(self, run: Run, prev: bytes) -> Batch:
        first, count = run[0][0], len(run)
        # A new one each time: kept, it holds 0.5 MiB after one large batch.
        body = zstandard.ZstdCompressor(level=3).compress(join_encoded([part for _, part in run]))
        digest = batch_digest(first, count, prev, body)
        return Batch(
            first_seq=first,
            count=count,
            prev_digest=prev,
            digest=digest,
            signature=self._sign(digest),
            body=body,
        )

    def _next_run(self) -> Run:
        """The next events without a hole between them; corrupt ones are taken out and noted."""
        run: Run = []
        bad: list[int] = []
        size, total = 0, 0
        query = "SELECT seq, crc, CAST(body AS BLOB) FROM events ORDER BY seq LIMIT ?"
        for seq, crc, body in self.file.db.execute(query, (BATCH_EVENTS,)).fetchall():
            if not _sound(crc, body):
                bad.append(seq)
                size += len(body or b"") + ROW_BYTES
                continue
            total += len(body)
            if run and (seq != run[-1][0] + 1 or total > BATCH_BYTES):
                break
            run.append((seq, body))
        if bad:
            self._lose_events(bad, size)
        return run

    def _lose_events(self, seqs: list[int], size: int) -> None:
        with self.file.transaction() as db:
            db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in seqs])
            db.executemany("INSERT INTO losses VALUES (?, ?, 'corrupt')", [(seq, seq) for seq in seqs])
        self.file.waiting -= len(seqs)
        self.file.bytes -= size
        self.file.losses += len(seqs)

    def _lose_batch(self, first: int, count: int, size: int) -> None:
        with self.file.transaction() as db:
            db.execute("DELETE FROM batches WHERE first = ?", (first,))
            db.execute("INSERT INTO losses VALUES (?, ?, 'corrupt')", (first, first + count - 1))
        self.file.formed -= count
        self.file.bytes -= size
        self.file.losses += count

    def _keep(self, batch: Batch) -> None:
        file, between = self.file, (batch.first_seq, batch.first_seq + batch.count - 1)
        with file.transaction() as db:
            query = "SELECT sum(length(body)) FROM events WHERE seq BETWEEN ? AND ?"
            (freed,) = db.execute(query, between).fetchone()
            db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
                (batch.first_seq, batch.count, batch.prev_digest, batch.digest, batch.signature, batch.body),
            )
            db.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", between)
            file.save(digest=batch.digest)
        file.digest = batch.digest
        file.waiting -= batch.count
        file.formed += batch.count
        file.bytes += len(batch.body) - freed - batch.count * ROW_BYTES

    @contextmanager
    def _replacing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            self.file.replace()


def _sound(crc: int, body: bytes | None) -> bool:
    """Tell whether a record is what was written, and an event this version knows."""
    if body is None or zlib.crc32(body) != crc:
        return False
    try:
        decode_event(body)
    except UNREADABLE:
        return False
    return True
