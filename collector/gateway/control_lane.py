"""The control lane: heartbeats both ways, policy, orders and their results, clones."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from collector.gateway.clones import CLONES, judge
from collector.gateway.deliveries import Deliveries
from collector.gateway.hub import Hub
from collector.gateway.lanes import Incoming
from collector.gateway.roster import HINTS, Member
from collector.gateway.watchers import Watchers
from protocol.messages import Heartbeat, HeartbeatReply, OrderResult, PolicyFetch
from protocol.refusal import RefusedError

CLONE_FIX_JA = (
    "同じ鍵を持つ端末が2台あります。先にいた端末はそのまま、あとの端末は断っています。"
    "複製した端末で agent の状態を消して登録し直してください。"
    "端末を入れ替えただけなら sekisho-collector agents release-quarantine で引き継げます。"
)
CLONE_FIX_EN = (
    "Two PCs hold one key. The first stays, the second is refused. On the copied PC remove the agent's state and enrol "
    "it anew. If the PC was only replaced, sekisho-collector agents release-quarantine lets the new one take over."
)

MOST_EARLY, MOST_EARLY_ROUTES = 64, 4096
"""Results kept for one connection before its first heartbeat, and connections for which some are kept."""


class ControlLane:
    """Handlers of the lane's messages; each may raise RefusedError by name."""

    def __init__(self, hub: Hub, deliveries: Deliveries) -> None:
        self._lanes, self._journal, self._ledger = hub.lanes, hub.journal, hub.ledger
        self._clock, self._stats = hub.clock, hub.stats
        self._deliveries = deliveries
        self._early: dict[bytes, list[OrderResult]] = {}
        self._watchers = Watchers()

    def heartbeat(self, member: Member, incoming: Incoming, beat: Heartbeat) -> None:
        """Note what the PC says of itself, answer, send what it lacks. ``quarantined_key`` for a clone."""
        now = time.monotonic()
        self._stats.counters["heartbeats"] += 1
        if member.status == "quarantined":
            raise RefusedError(
                "quarantined_key", member.reason or "this PC is quarantined", HINTS["quarantined_key"]
            )
        verdict = judge(member.seat, beat.instance, beat.machine_id, now)
        if verdict in CLONES:
            self._clone(member, incoming, beat, verdict)
        if verdict == "late":
            return
        if verdict == "same" and member.control_route not in (b"", incoming.route):
            # The process reconnected; orders under way are sent again on the new connection.
            self._stats.counters["reconnects"] += 1
        member.control_route, member.address = incoming.route, incoming.address
        member.other_addresses.discard(incoming.address)
        before, member.seen, member.beat = member.beat, now, beat
        self._watchers.beat(member.id, beat, now)
        turned = before is None or (before.controls, before.sensors) != (beat.controls, beat.sensors)
        self._ledger.beat(member.id, self._columns(member, beat), turned=turned)
        for result in self._early.pop(incoming.route, []):
            self._take_result(member, result)
        # The PC takes the answer to mean that every result it sent before is safe here.
        self._ledger.when_recorded(member.id, partial(self._reply, member, incoming.route))
        self._deliveries.heard(member, now)

    def policy_fetch(self, member: Member, incoming: Incoming, fetch: PolicyFetch) -> None:
        """Send the release this PC is meant to have, or say which generation it is."""
        if not self._deliveries.fetch(member, incoming.route, fetch.have):
            self._reply(member, incoming.route)

    def order_result(self, member: Member, incoming: Incoming, result: OrderResult) -> None:
        """Record what became of an order.

        Only the connection whose heartbeat holds the seat speaks for the PC. A PC that reconnects sends its results
        first: they wait for the heartbeat behind them, and go with the connection if that is a clone's.
        """
        if member.control_route == incoming.route:
            self._take_result(member, result)
            return
        waiting = self._early.setdefault(incoming.route, [])
        if len(waiting) >= MOST_EARLY:
            raise RefusedError(
                "overloaded", "no heartbeat of this connection was accepted yet", "send one first"
            )
        waiting.append(result)
        while len(self._early) > MOST_EARLY_ROUTES:
            self._early.pop(next(iter(self._early)))

    def _take_result(self, member: Member, result: OrderResult) -> None:
        self._stats.counters["order_results"] += 1
        self._deliveries.finished(result.order_id, member.id)
        self._ledger.result(member.id, result)

    def _reply(self, member: Member, route: bytes) -> None:
        meant = self._deliveries.meant_for(member)
        reply = HeartbeatReply(
            time_us=self._clock.now_us(), policy_generation=meant, watch=self._watchers.duty(member.id)
        )
        self._lanes.send("control", route, reply)

    def _columns(self, member: Member, beat: Heartbeat) -> dict[str, Any]:
        now_us = self._clock.now_us()
        return {
            "hostname": beat.hostname,
            "machine_id": member.seat.machine_id,
            "agent_version": beat.agent_version,
            "last_seen_us": now_us,
            "skew_us": beat.time_us - now_us,
            "policy_generation": beat.policy_generation,
            "policy_digest": beat.policy_digest,
            "spool_depth": beat.spool_depth,
            "spooled": beat.spooled,
            "stored": self._journal.tail(member.id).seq,
            "dropped": beat.dropped,
            "health": list(beat.health),
            "controls": dict(beat.controls),
            "sensors": dict(beat.sensors),
            "segments": list(beat.segments),
            "isolation": beat.isolation,
            "isolation_order": beat.isolation_order,
        }

    def _clone(self, member: Member, incoming: Incoming, beat: Heartbeat, verdict: str) -> None:
        self._early.pop(incoming.route, None)
        if incoming.address != member.address:
            member.other_addresses.add(incoming.address)
        detail = {
            "why": verdict,
            "hostname": beat.hostname,
            "machine_id": beat.machine_id,
            "address": incoming.address,
            "first_machine_id": member.seat.machine_id,
            "first_address": member.address,
            "fix_ja": CLONE_FIX_JA,
            "fix_en": CLONE_FIX_EN,
        }
        self._ledger.repeated(member.id, "clone", detail)
        raise RefusedError(
            "quarantined_key", f"another machine uses this key ({verdict})", HINTS["quarantined_key"]
        )
