"""What to do with a batch: a pure decision against the end of the sender's chain (DESIGN §4, data lane).

=============  =====================================================================================
accept         it continues the chain (``finding`` says what is odd about it, if anything)
duplicate      it is stored already: acknowledge again
again          a batch before it is missing: ask for it; nothing is stored
RefusedError   ``bad_digest`` ``bad_signature`` ``forked_batch`` ``replayed_batch``
=============  =====================================================================================

A hole in the numbers is a *gap* when the batch links to the last stored one (the PC gave events up before it formed a
batch; an ``agent.dropped`` event will say which) or when the PC started its chain anew (its spool was lost). When it
links to a batch we never saw, that one is asked for first; a PC that insists has lost it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from collector.evidence.files import Tail
from collector.evidence.journal import Place
from protocol.keys import verify
from protocol.messages import ZERO_DIGEST, Batch, batch_digest
from protocol.refusal import RefusedError
from protocol.signed import signing_input

INSIST_S = 1.0
"""A PC sends in order. The same batch again, this long after it was turned away for a missing one: it lost that one."""


class Decision(Struct, frozen=True):
    """``finding`` is (name, detail) to be recorded once the batch is durable."""

    do: Literal["accept", "duplicate", "again"]
    finding: tuple[str, dict[str, Any]] | None = None


def check_signature(batch: Batch, sign_key: bytes) -> None:
    """The digest is that of the batch and the sender signed it. Raises RefusedError."""
    if batch_digest(batch.first_seq, batch.count, batch.prev_digest, batch.body) != batch.digest:
        raise RefusedError("bad_digest", f"batch {batch.first_seq}: digest is not that of its content")
    if not verify(sign_key, signing_input("batch", batch.digest), batch.signature):
        raise RefusedError("bad_signature", f"batch {batch.first_seq}: signature is not the sender's")


def decide(tail: Tail, batch: Batch, stored: Callable[[], Place | None], waited: float | None) -> Decision:
    """Decide about a batch whose signature is good.

    ``stored`` looks up what is stored with this beginning; ``waited``: seconds since this same batch was first answered
    with ``again``, None if it was not. Raises RefusedError ``forked_batch`` or ``replayed_batch``.
    """
    if batch.first_seq <= tail.seq:
        return _behind(tail, batch, stored())
    gap = batch.first_seq > tail.seq + 1
    linked = tail.digest is None or batch.prev_digest == tail.digest
    detail: dict[str, Any] = {"first": tail.seq + 1, "last": batch.first_seq - 1, "chained": linked}
    if linked:
        return Decision("accept", ("gap", detail) if gap else None)
    if batch.prev_digest == ZERO_DIGEST:
        return Decision("accept", ("gap", detail) if gap else ("chain_restarted", {"first": batch.first_seq}))
    if not gap:
        raise RefusedError(
            "forked_batch",
            f"batch {batch.first_seq} does not link to the one stored before it",
            "two copies of one PC? IT staff: enrol one of them anew",
        )
    if waited is None or waited < INSIST_S:
        return Decision("again")
    return Decision("accept", ("gap", detail))


def _behind(tail: Tail, batch: Batch, place: Place | None) -> Decision:
    """A batch that begins where events are stored already."""
    if place is not None and place.digest == batch.digest:
        return Decision("duplicate")
    end = f"up to {tail.seq} everything is stored"
    if place is not None and place.prev_digest == batch.prev_digest:
        raise RefusedError(
            "forked_batch",
            f"another batch is stored at {batch.first_seq}; {end}",
            "two copies of one PC? IT staff: enrol one of them anew",
        )
    raise RefusedError(
        "replayed_batch",
        f"batch {batch.first_seq}+{batch.count} begins behind the end; {end}",
        "was the PC restored from an image? Enrol it anew",
    )
