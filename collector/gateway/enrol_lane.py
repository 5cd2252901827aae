"""The enrol lane: any key may ask to join; the answer comes from the control database."""

from __future__ import annotations

from collector.gateway import records
from collector.gateway.clerk import Clerk
from collector.gateway.enrolment import check_proof
from collector.gateway.hub import Hub
from collector.gateway.lanes import Incoming
from collector.gateway.records import Enrolled
from collector.gateway.zap import Admission
from protocol.messages import EnrolReply, EnrolRequest, Refusal
from protocol.refusal import RefusedError

AT_ONCE = 256
"""Requests that wait for the database at once; beyond, the PC is told to come back."""


class EnrolLane:
    """Checks the proof here, the rest in the clerk's thread."""

    def __init__(self, hub: Hub, admission: Admission, clerk: Clerk) -> None:
        self._lanes, self._roster, self._clerk = hub.lanes, hub.roster, clerk
        self._clock, self._stats, self._admission = hub.clock, hub.stats, admission
        self._under_way = 0

    def request(self, _member: None, incoming: Incoming, request: EnrolRequest) -> None:
        """Start on a request. Raises RefusedError ``unknown_key``, ``bad_proof``, ``overloaded``."""
        key = self._admission.key_of(incoming.sender)
        if key is None:
            raise RefusedError("unknown_key", "the connection is too old", "connect anew")
        check_proof(key, request)
        if self._under_way >= AT_ONCE:
            raise RefusedError("overloaded", "too many PCs enrol at once", "it is tried again by itself")
        self._under_way += 1
        now_us = self._clock.guarded_us()
        self._clerk.ask(
            lambda store: records.enrol(store, incoming.sender, key, request, now_us),
            lambda enrolled: self._done(incoming, enrolled),
            lambda error: self._failed(incoming, error),
        )

    def _done(self, incoming: Incoming, enrolled: Enrolled) -> None:
        self._under_way -= 1
        self._roster.update([enrolled.row])
        accepted = enrolled.trust is not None
        self._stats.counters["enrolled" if accepted else "enrol_pending"] += 1
        reply = EnrolReply(
            status="accepted" if accepted else "pending", trust=enrolled.trust, agent_id=enrolled.row.id
        )
        self._lanes.send("enrol", incoming.route, reply)

    def _failed(self, incoming: Incoming, error: Exception) -> None:
        self._under_way -= 1
        if not isinstance(error, RefusedError):
            self._stats.raise_health("control_db", str(error)[:300])
            error = RefusedError(
                "overloaded", "the control database does not answer", "it is tried again by itself"
            )
        self._stats.refuse("enrol", error.name)
        refusal = Refusal(name=error.name, detail=error.detail, hint=error.hint)
        self._lanes.send("enrol", incoming.route, refusal)
