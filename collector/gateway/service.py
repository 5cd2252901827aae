"""The gateway's process: one loop over the ZAP handler, the lanes, pokes and the clerk (DESIGN §4).

Order of service in each round: who may connect, control, what is pushed, then one group of batches, then enrolment. So
orders never queue behind logs, and a flood of requests to join never before either.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import zmq

from collector import bus
from collector.config import Config, Layout, read_curve_key
from collector.evidence.journal import Journal
from collector.gateway import records
from collector.gateway.clerk import Clerk
from collector.gateway.clock import Clock
from collector.gateway.control_lane import ControlLane
from collector.gateway.data_lane import DataLane
from collector.gateway.deliveries import Deliveries
from collector.gateway.enrol_lane import EnrolLane
from collector.gateway.hub import Hub
from collector.gateway.lanes import Incoming, Lanes
from collector.gateway.ledger import Ledger
from collector.gateway.records import Snapshot
from collector.gateway.roster import Roster
from collector.gateway.stats import Stats
from collector.gateway.zap import Admission, ZapHandler
from collector.registers.store import Store, open_store
from protocol.messages import (
    Batch,
    EnrolRequest,
    Heartbeat,
    Lane,
    Message,
    OrderResult,
    PolicyFetch,
    Refusal,
)
from protocol.refusal import RefusedError
from protocol.trust import TrustRoot

ROUND_MS = 250
STATS_S = 2.0
LOOK_S, LOOK_PER_PC_S = 1.0, 1 / 3000
"""How often the control database is looked at without a poke; slower for many PCs."""
CONTROL_AT_ONCE, ENROL_AT_ONCE = 512, 16
DETAIL = 300
HEARD_S = 60.0
"""A PC counts as connected for this long after its last heartbeat."""

Handler = Callable[[Any, Incoming, Any], None]

FINDINGS = {"forked_batch", "replayed_batch", "bad_signature", "bad_digest"}
"""Refusals that are an alert of their own."""


class Gateway:
    """Everything of one gateway. ``ports``: lane → port; 0 = any free one (``endpoints`` tells which)."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        ports: Mapping[Lane, int],
        *,
        store: Store | None = None,
    ) -> None:
        self._layout = layout
        self._store = store or open_store(layout.control)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=2)
        self._stop = False
        self._looking, self._look_at, self._stats_at = False, 0.0, 0.0
        self.stats, self.roster = Stats(), Roster()
        try:
            hub = self._open(config, ports)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self.journal, self.lanes = hub.journal, hub.lanes
        self._ledger, self.clock = hub.ledger, hub.clock
        self.deliveries = Deliveries(hub)
        self._data = DataLane(hub, config.min_free_mib << 20, partial(bus.poke, self._detector, "batches"))
        self._handlers = self._table(hub)
        self._take(records.look(self._store, ("desired", "sent", "unreachable"), frozenset(), 0))
        self._poller = zmq.Poller()
        for socket in [self._zap.socket, self._inlet, *self.lanes.sockets.values()]:
            self._poller.register(socket, zmq.POLLIN)
        for clerk in (self._clerk, self._enrol_clerk):
            self._poller.register(clerk.fd, zmq.POLLIN)

    def _open(self, config: Config, ports: Mapping[Lane, int]) -> Hub:
        """Sockets and files; ZAP before the lanes, so that nobody connects unasked."""
        context, store, run = self._context, self._store, self._layout.run
        self._admission = Admission(self.roster)
        self._zap = ZapHandler(context, self._admission, self.stats.refuse)
        self._detector = bus.outlet(context, run, "detector")
        self._inlet = bus.inlet(context, run, "gateway")
        lanes = Lanes(context, read_curve_key(self._layout), config.bind, ports)
        with store.read() as session:
            clock = Clock(records.clock_high(session))
            journal = Journal(self._layout.journal, records.acknowledged(session))
        # Two threads: a flood of requests to join must not hold up orders.
        self._clerk, self._enrol_clerk = Clerk(store), Clerk(store)
        ledger = Ledger(self._clerk, clock, self.stats, partial(bus.poke, self._detector, "findings"))
        return Hub(lanes, self.roster, journal, ledger, clock, self.stats)

    def _table(self, hub: Hub) -> dict[tuple[Lane, type[Message]], Handler]:
        """Lane and message type → handler; schema, size and role stand in ``protocol.messages.LIMITS``."""
        control = ControlLane(hub, self.deliveries)
        return {
            ("enrol", EnrolRequest): EnrolLane(hub, self._admission, self._enrol_clerk).request,
            ("control", Heartbeat): control.heartbeat,
            ("control", PolicyFetch): control.policy_fetch,
            ("control", OrderResult): control.order_result,
            ("data", Batch): self._data.take,
        }

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until :meth:`stop`, then write down what is left and close."""
        wait_ms = 0
        try:
            while not self._stop:
                ready = dict(self._poller.poll(wait_ms))
                wait_ms = 0 if self._round(ready, time.monotonic()) else ROUND_MS
        finally:
            self.close()

    def stop(self) -> None:
        """Ask the loop to end; may be called from a signal handler or another thread."""
        self._stop = True

    def close(self) -> None:
        """Write what is left to the control database and close everything."""
        self._ledger.flush_all()
        self._clerk.close()
        self._enrol_clerk.close()
        self.journal.close()
        self._write_stats()
        self._context.destroy(linger=0)
        self._store.close()

    def _round(self, ready: Mapping[Any, int], now: float) -> bool:
        """One round; returns whether there is more to do at once."""
        sockets = self.lanes.sockets
        if self._zap.socket in ready:
            self._zap.serve()
        for clerk in (self._clerk, self._enrol_clerk):
            if clerk.fd in ready:
                clerk.collect()
        if self._inlet in ready:
            self._poked(now)
        more = False
        if sockets["control"] in ready:
            self._drain("control", CONTROL_AT_ONCE)
        more |= self.deliveries.pump(now)
        if sockets["data"] in ready:
            more |= self._data.drain(self._handle, partial(self._count, "data"))
        if sockets["enrol"] in ready:
            self._drain("enrol", ENROL_AT_ONCE)
        self._regularly(now)
        self._ledger.flush(now)
        return more

    def _drain(self, lane: Lane, limit: int) -> None:
        for _ in range(limit):
            try:
                incoming = self.lanes.receive(lane)
            except RefusedError as error:
                self._count(lane, error)
                continue
            if incoming is None:
                return
            self._handle(incoming)

    # -- one message -------------------------------------------------------------------------------------------------

    def _handle(self, incoming: Incoming) -> None:
        """Sender, then schema, then handler; whatever is refused is counted and told by name."""
        message: Message | None = None
        try:
            member = None
            if incoming.lane != "enrol":
                member = self.roster.sender(incoming.sender, incoming.lane)
            message = self.lanes.read(incoming.lane, incoming.frame)
            self._handlers[incoming.lane, type(message)](member, incoming, message)
        except RefusedError as error:
            self._refuse(incoming, error, message.first_seq if isinstance(message, Batch) else 0)
        except Exception:  # noqa: BLE001 - our mistake about one message must not silence every PC
            self.stats.counters["internal_errors"] += 1
            trace = traceback.format_exc()
            if self.stats.raise_health("internal_error", trace.splitlines()[-1][:DETAIL]):
                sys.stderr.write(trace)

    def _refuse(self, incoming: Incoming, error: RefusedError, first_seq: int) -> None:
        self._count(incoming.lane, error)
        refusal = Refusal(name=error.name, detail=error.detail[:DETAIL], hint=error.hint, first_seq=first_seq)
        self.lanes.send(incoming.lane, incoming.route, refusal)
        if error.name in FINDINGS:
            detail = {"detail": error.detail[:DETAIL], "first_seq": first_seq, "address": incoming.address}
            self._ledger.repeated(incoming.sender, error.name, detail)

    def _count(self, lane: Lane, error: RefusedError) -> None:
        self.stats.refuse(lane, error.name)

    # -- what happens by itself --------------------------------------------------------------------------------------

    def _poked(self, now: float) -> None:
        while True:
            try:
                self._inlet.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
        self._look_at = now

    def _regularly(self, now: float) -> None:
        if now >= self._look_at and not self._looking:
            self._looking = True
            self._look_at = now + LOOK_S + len(self.roster) * LOOK_PER_PC_S
            held, serial = self.deliveries.held, self.deliveries.serial
            self._clerk.ask(
                lambda store: records.look(store, ("desired",), held, serial), self._looked, self._blind
            )
        if now >= self._stats_at:
            self._stats_at = now + STATS_S
            self._check_clock()
            self._write_stats()
        self._data.look(now)
        self.deliveries.look(now, self.clock.guarded_us())

    def _looked(self, snapshot: Snapshot) -> None:
        self._looking = False
        self.stats.clear_health("control_db")
        self._take(snapshot)

    def _blind(self, error: Exception) -> None:
        self._looking = False
        self.stats.raise_health("control_db", str(error)[:DETAIL])

    def _take(self, snapshot: Snapshot) -> None:
        self.roster.update(snapshot.rows)
        if snapshot.trust is not None:
            self.deliveries.set_trust(*snapshot.trust)
        self.deliveries.set_releases(snapshot.meant, snapshot.bundles)
        self.deliveries.add_orders(snapshot.orders, time.monotonic())

    def _check_clock(self) -> None:
        behind = self.clock.behind_us()
        if not behind:
            self.stats.clear_health("clock_back")
        elif self.stats.raise_health("clock_back", f"{behind // 1_000_000} s behind what it showed before"):
            self._ledger.finding("", "clock_back", {"behind_us": behind})

    def _write_stats(self) -> None:
        now = time.monotonic()
        heard = [member for member in self.roster.members() if member.beat and now - member.seen < HEARD_S]
        self.stats.write(
            self._layout.stats,
            agents=len(self.roster),
            heard=len(heard),
            last_rowid=self.journal.last_rowid,
            generation=self.deliveries.generation,
            endpoints=self.lanes.endpoints,
        )


def ports_of(root: TrustRoot) -> dict[Lane, int]:
    """The ports PCs dial."""
    return {"enrol": root.enrol_port, "control": root.control_port, "data": root.data_port}
