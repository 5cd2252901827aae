"""How often the individual-number detector errs, and how fast it reads: over a generated corpus (``corpus``).

A miss is a number that is in a document and was not found, a false positive a document without one in which some was.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable

from agent.scan.job import Job
from agent.scan.sink import Sink
from agent.scan.worker import examine, look
from tests.bench.corpus import Document, documents

DOCUMENTS = 4_000


class Tally:
    """What was found against what is there."""

    def __init__(self) -> None:
        self.documents = Counter[bool]()
        self.wrong: list[Document] = []
        self.there = self.missed = self.invented = 0
        self.missed_in: Counter[str] = Counter()
        self.unread = 0

    def take(self, document: Document, found: set[str], state: str) -> None:
        """Count one document."""
        self.documents[bool(document.numbers)] += 1
        self.unread += state != "complete"
        self.there += len(document.numbers)
        missed = len(document.numbers - found)
        self.missed += missed
        self.missed_in[f"{document.form} {document.name}"] += missed
        self.invented += len(found - document.numbers)
        if found and not document.numbers:
            self.wrong.append(document)


def count(number: int, seed: int = 35) -> Tally:
    """Look through so many documents in this process, as the child does."""
    tally = Tally()
    for at, document in enumerate(documents(number, seed)):
        job = Job(number=at, name=document.name)
        sink = Sink(job.limits, ())
        look(io.BytesIO(document.content), job, sink)
        tally.take(document, set(sink.detector.found()), sink.state)
    return tally


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """Rates over the corpus, then the speed of the very function the child runs."""
    say(f"{DOCUMENTS} documents")
    tally = count(DOCUMENTS)
    say("speed")
    corpus = list(documents(600, seed=36))
    begin = time.perf_counter()
    for at, document in enumerate(corpus):
        examine(io.BytesIO(document.content), Job(number=at, name=document.name))
    took = time.perf_counter() - begin
    plain = ("関係機関と調整のうえ、期日までに回答すること。整理番号 1234 口座 7654321\n" * 40_000).encode()
    begin = time.perf_counter()
    examine(io.BytesIO(plain), Job(number=0, name="plain.txt"))
    plain_took = time.perf_counter() - begin
    return {
        "mynumber.documents": float(DOCUMENTS),
        "mynumber.false_positive_rate": 100 * len(tally.wrong) / tally.documents[False],
        "mynumber.miss_rate": 100 * tally.missed / tally.there,
        "mynumber.invented": float(tally.invented),
        "mynumber.unread": float(tally.unread),
        "mynumber.documents_per_s": len(corpus) / took,
        "mynumber.text_mb_per_s": len(plain) / 1e6 / plain_took,
    }
