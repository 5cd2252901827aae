"""Correlations of the releases in force: their memory, and how it outlives the detector.

What a correlation keeps lies in the control database, as of the journal row of the detector's cursor and written in the
same transaction. So after a crash each event counts exactly once, without reading a day of the journal again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from collector.registers.models_correlations import CorrelationGroup
from policies.correlation import Correlated, Correlator, Kept
from policies.correlation_state import Groups

TOLD_EVERY_US = 3_600_000_000
"""That a correlation loses entries is said this often."""
_ROWS = 500


class Correlations:
    """Every correlation that counts at present. :meth:`write` goes into the transaction that moves the cursor."""

    def __init__(self, session: Session) -> None:
        query = select(CorrelationGroup).order_by(CorrelationGroup.stored_us)
        self._stored: tuple[Kept, ...] = tuple(
            Kept(row.correlation, row.digest, row.key, row.state) for row in session.scalars(query)
        )
        """What was there at the start, until the first release is taken up."""
        self._correlators: list[Correlator] = []
        self._purge = False
        self._lost: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def follow(self, correlators: Iterable[Correlator]) -> None:
        """Other releases are in force: what is the same in them goes on, across rings too; the rest is forgotten."""
        fresh = list(correlators)
        for number, one in enumerate(fresh):
            for other in (*self._correlators, *fresh[:number]):
                one.share(other)
            one.restore(self._stored)
        self._correlators, self._stored, self._purge = fresh, (), True

    def write(self, session: Session, now_us: int) -> None:
        """Store what changed; until :meth:`clear` it counts as changed."""
        if self._purge:
            known = {groups.digest for groups in self._groups()}
            session.execute(delete(CorrelationGroup).where(CorrelationGroup.digest.not_in(known)))
        rows: list[dict[str, Any]] = []
        for kept in (one for groups in self._groups() for one in groups.changed()):
            if kept.state:
                rows.append(
                    {
                        "correlation": kept.correlation,
                        "digest": kept.digest,
                        "key": kept.key,
                        "state": kept.state,
                        "stored_us": now_us,
                    }
                )
            else:
                session.execute(
                    delete(CorrelationGroup).where(
                        CorrelationGroup.correlation == kept.correlation,
                        CorrelationGroup.digest == kept.digest,
                        CorrelationGroup.key == kept.key,
                    )
                )
        for first in range(0, len(rows), _ROWS):
            statement = insert(CorrelationGroup)
            changed = {name: statement.excluded[name] for name in ("state", "stored_us")}
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["correlation", "digest", "key"], set_=changed
                ),
                rows[first : first + _ROWS],
            )

    def clear(self) -> None:
        """What was written is stored."""
        self._purge = False
        for groups in self._groups():
            groups.settled()

    def take_losses(self, now_us: int) -> list[tuple[str, int]]:
        """Correlations that gave up groups or entries, with how many, each at most once an hour."""
        for groups in self._groups():
            if groups.lost:
                name = groups.correlation.id
                self._lost[name] = self._lost.get(name, 0) + groups.lost
                groups.lost = 0
        due = [name for name in self._lost if abs(now_us - self._told.get(name, 0)) >= TOLD_EVERY_US]
        self._told |= dict.fromkeys(due, now_us)
        return [(name, self._lost.pop(name)) for name in due]

    def _groups(self) -> Iterator[Groups]:
        """Each once, though releases share them."""
        yield from {id(groups): groups for one in self._correlators for groups in one.groups}.values()


def told(found: Correlated) -> dict[str, object]:
    """What an alert says of a correlation that held. Fields of the group go by our names, so personal ones are masked."""
    correlation = found.correlation
    rule = found.last.rule
    group = {correlation.aliases.get(name, {}).get(rule, name): value for name, value in found.group.items()}
    return {
        **group,
        "kind": f"correlation.{correlation.kind}",
        "time_us": found.last.time_us,
        "first_us": found.events[0].time_us,
        "window_s": correlation.timespan_us // 1_000_000,
        "group_by": list(group),
        "figure": found.value,
        "op": correlation.op,
        "threshold": correlation.threshold,
        "count": found.count,
        "events": [
            {"agent_id": one.agent_id, "seq": one.seq, "time_us": one.time_us, "rule": one.rule}
            for one in found.events
        ],
    }
