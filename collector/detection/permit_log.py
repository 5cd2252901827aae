"""What events say about permits: their use, and applications for them. Kept in memory until the alerts are written.

Both go into the control database in the transaction that moves the detector's cursor, so a crash neither loses nor
doubles any of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from collector.detection.batch import Batch
from collector.detection.requests import BAD_REQUEST, TOO_MANY, BadRequestError, wanted_of
from collector.registers.applications import Wanted, take_in
from collector.registers.permit_use import DAY_US, Count, UseKey, add_uses, day_of
from collector.search.events import person_of
from protocol.events import AnyEvent, PermitRequested

MOST_KEYS = 4096
"""Uses kept apart in memory before they are written."""
MOST_IN_BATCH = 100
"""Applications taken from one batch."""
LATEST_REPORT_US = 400 * DAY_US
"""A use that claims to be older than this counts for the day this long before its receipt."""
LARGEST_COUNT = 1_000_000
Fault = tuple[str, str, dict[str, object]]
"""PC, name of the finding, detail."""


class PermitLog:
    """Uses and applications on their way. ``known``: permits of the register; what else a PC cites is not counted."""

    def __init__(self) -> None:
        self.known: frozenset[str] = frozenset()
        self._uses: dict[UseKey, Count] = {}
        self._wanted: list[Wanted] = []
        self._too_many: list[Wanted] = []
        self._faults: list[Fault] = []

    @property
    def waiting(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._uses or self._wanted)

    @property
    def urgent(self) -> bool:
        """Whether it should be written at once: somebody waits for an answer, or memory fills."""
        return bool(self._wanted) or len(self._uses) >= MOST_KEYS

    def take(self, batch: Batch, events: Sequence[AnyEvent | None], *, requests: bool) -> None:
        """Take in a batch; ``requests``: it holds some. Does not raise."""
        known = self.known
        if known:
            for event in [event for event in events if event is not None and event.permit_id]:
                if event.permit_id in known:
                    self._count(batch, event)
        if requests:
            self._apply(batch, [event for event in events if isinstance(event, PermitRequested)])

    def write(self, session: Session, now_us: int) -> None:
        """Write what waits; :meth:`clear` after the commit."""
        add_uses(session, self._uses.items())
        self._too_many = take_in(session, self._wanted, now_us)

    def clear(self) -> None:
        """What waited is written."""
        self._faults += [(one.agent_id, TOO_MANY, {"request": one.request}) for one in self._too_many]
        self._uses, self._wanted, self._too_many = {}, [], []

    def take_faults(self) -> list[Fault]:
        """What was wrong since the last call, to be noted as findings."""
        faults, self._faults = self._faults, []
        return faults

    def _count(self, batch: Batch, event: AnyEvent) -> None:
        earliest, latest = batch.received_us - LATEST_REPORT_US, batch.received_us
        time_us = min(max(event.time_us, earliest), latest)
        key = (event.permit_id, batch.agent_id, person_of(event)[:256], day_of(time_us))
        count = self._uses.setdefault(key, Count())
        number = min(max(1, getattr(event, "count", 1)), LARGEST_COUNT)
        if event.permit == "granted":
            count.count += number
        else:
            count.attempts += number
        count.first_us, count.last_us = min(count.first_us, time_us), max(count.last_us, time_us)

    def _apply(self, batch: Batch, events: Iterable[PermitRequested]) -> None:
        reasons: dict[str, int] = {}
        taken = 0
        for event in events:
            taken += 1
            if taken > MOST_IN_BATCH:
                continue
            try:
                self._wanted.append(wanted_of(batch.agent_id, event))
            except BadRequestError as error:
                reasons[str(error)] = reasons.get(str(error), 0) + 1
        if reasons:
            detail: dict[str, Any] = {"count": sum(reasons.values()), "what": list(reasons)[:20]}
            self._faults.append((batch.agent_id, BAD_REQUEST, detail))
        if taken > MOST_IN_BATCH:
            self._faults.append((batch.agent_id, TOO_MANY, {"count": taken - MOST_IN_BATCH}))
