"""The uplink: a thread with one socket for each lane, CURVE to the pinned collector key (DESIGN §4).

It owns the sockets alone. The main thread reaches it through :meth:`Uplink.say`, :meth:`Uplink.wake` and ``state``; it
reaches the main thread through ``inbox``. Everything received goes through a FrameReader first.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from functools import partial

import msgspec
import zmq

from agent.identity import Identity
from agent.lanes import BEAT_S, ControlLane, DataLane
from agent.link import Link
from agent.mailbox import Mailbox
from agent.outbox import Outbox
from agent.policy_keeper import open_policy
from agent.reports import DutyTold, LinkChanged, OrderArrived, PolicyArrived, Refused, Report, TrustChanged
from protocol.messages import (
    Heartbeat,
    HeartbeatReply,
    Lane,
    Message,
    OrderDelivery,
    OrderResult,
    PolicyBundle,
    Refusal,
    TrustUpdate,
)
from protocol.refusal import RefusedError
from protocol.wire import FrameReader

BACKOFF_S, BACKOFF_MAX_S = 1.0, 60.0
STALLED = 3
"""Resends without an acknowledgement after which the sockets are rebuilt."""
SPOOL_RETRY_S = 1.0


class Uplink(threading.Thread):
    """Sends the spool and heartbeats, receives policy and orders. ``state`` is what heartbeats say."""

    def __init__(
        self,
        identity: Identity,
        outbox: Outbox,
        state: Heartbeat,
        *,
        interval_s: float = BEAT_S,
    ) -> None:
        super().__init__(name="uplink", daemon=True)
        self.inbox: Mailbox[Report] = Mailbox()
        self.state = state
        self._identity = identity
        self._commands: Mailbox[OrderResult | None] = Mailbox()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = link = Link(self._context, identity.keys.curve)
        self._readers: dict[Lane, FrameReader] = {
            "control": FrameReader("control", "collector"),
            "data": FrameReader("data", "collector"),
        }
        self._control = ControlLane(self._heartbeat, partial(link.send, "control"), interval_s=interval_s)
        self._control.have = state.policy_generation
        self._data = DataLane(outbox, partial(link.send, "data"))
        self._address = 0
        self._failures = 0
        self._ending = threading.Event()
        self._spool_retry_s = 0.0
        self._watch: tuple[str, ...] | None = None

    @property
    def connected(self) -> bool:
        """Whether the collector answered the last heartbeats."""
        return self._control.up

    # -- called by the main thread -------------------------------------------------------------------------------

    def say(self, result: OrderResult) -> None:
        """Tell the collector what became of an order."""
        self._commands.put(result)

    def wake(self) -> None:
        """There is something new in the spool."""
        self._commands.wake()

    def beat_now(self) -> None:
        """Send a heartbeat at once: ``state`` changed in a way the collector should know."""
        self._commands.put(None)

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and close everything."""
        self._ending.set()
        self._commands.wake()
        if self.is_alive():
            self.join(timeout_s)

    # -- the thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect, and keep at it until stopped. An error of our own ends one connection, never the thread."""
        try:
            while not self._ending.is_set():
                try:
                    self._connect()
                    why = self._serve()
                except Exception as error:  # noqa: BLE001 - events must flow again, whatever went wrong
                    why = f"{type(error).__name__}: {error}"
                    self._report(Refused("uplink", "failed", why))
                self._disconnect(why)
        finally:
            self._link.close()
            self._context.term()

    def _connect(self) -> None:
        root = self._identity.root
        self._link.open(root, root.addresses[self._address % len(root.addresses)])
        self._control.reset(time.monotonic())
        self._data.reset()
        self._data.timeouts = 0

    def _disconnect(self, why: str) -> None:
        """Close the sockets; after a failure wait a little longer each time, and try the next address."""
        self._link.close()
        was_up = self._control.up
        self._control.lost()
        if self._ending.is_set() or why == "trust":
            return
        if was_up or not self._failures:
            self._report(LinkChanged(up=False, why=why))
        self._failures = 1 if was_up else self._failures + 1
        self._address += 1
        wait_s = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        until = time.monotonic() + wait_s
        while not self._ending.is_set() and (left := until - time.monotonic()) > 0:
            self._link.wait(self._commands.fileno(), left, blocked=set())
            self._take_commands()

    def _serve(self) -> str:
        """Work until the connection has to be rebuilt; returns why."""
        while not self._ending.is_set():
            now_s = time.monotonic()
            if not self._control.pump(now_s):
                return f"{self._control.missed} heartbeats unanswered"
            self._pump_data(now_s)
            if self._data.timeouts >= STALLED:
                return "batches unanswered"
            changed = self._wait(now_s)
            if changed:
                return "trust"
        return "stopped"

    def _pump_data(self, now_s: float) -> None:
        if not self._control.up or now_s < self._spool_retry_s:
            return
        try:
            self._data.pump(now_s)
        except (sqlite3.Error, OSError) as error:
            self._spool_retry_s = now_s + SPOOL_RETRY_S
            self._report(Refused("spool", "disk_full", str(error)))

    def _wait(self, now_s: float) -> bool:
        """Wait for the next thing and handle it; True when the collector's key or addresses changed."""
        times = [self._control.due_s(), self._spool_retry_s if self._spool_retry_s > now_s else None]
        if self._control.up:
            times.append(self._data.due_s())
        due_s = min(time for time in times if time is not None)
        blocked: set[Lane] = set()
        blocked |= {"control"} if self._control.blocked else set()
        blocked |= {"data"} if self._data.blocked else set()
        self._link.wait(self._commands.fileno(), due_s - now_s, blocked=blocked)
        self._take_commands()
        if self._link.denied():
            self._report(Refused("control", "unknown_key", "the collector does not admit this PC's key"))
        moved = False
        for lane, parts in self._link.frames():
            moved |= self._receive(lane, parts)
        return moved

    def _take_commands(self) -> None:
        for command in self._commands.take():
            if command is None:
                self._control.beat_now()
            else:
                self._control.say(command)

    # -- what comes in -------------------------------------------------------------------------------------------

    def _receive(self, lane: Lane, parts: list[bytes]) -> bool:
        try:
            message = self._readers[lane].read(parts[0] if len(parts) == 1 else b"")
        except RefusedError as refusal:
            self._report(Refused("frame", refusal.name, refusal.detail))
            return False
        if lane == "data":
            if report := self._data.handle(message, time.monotonic()):
                self._report(report)
            return False
        return self._handle_control(message)

    def _handle_control(self, message: Message) -> bool:
        if isinstance(message, HeartbeatReply):
            if not self._control.up:
                self._failures = 0
                self._report(LinkChanged(up=True))
            self._control.answered(message)
            if message.watch != self._watch:
                self._watch = message.watch
                self._report(DutyTold(message.watch))
        elif isinstance(message, OrderDelivery):
            self._report(OrderArrived(message.document))
        elif isinstance(message, PolicyBundle):
            self._take_policy(message)
        elif isinstance(message, TrustUpdate):
            return self._take_trust(message)
        elif isinstance(message, Refusal):
            self._report(Refused("control", message.name, message.detail))
        return False

    def _take_policy(self, message: PolicyBundle) -> None:
        if message.generation == self._control.have:
            return
        try:
            view = open_policy(
                message.document,
                self._identity.root,
                self._identity.agent_id,
                newer_than=self._control.have,
                now_us=time.time_ns() // 1000,
            )
        except RefusedError as refusal:
            self._control.policy_refused(time.monotonic())
            self._report(Refused("policy", refusal.name, refusal.detail, message.generation))
            return
        self._control.policy_arrived(view.generation)
        self._report(PolicyArrived(view, message.document))

    def _take_trust(self, message: TrustUpdate) -> bool:
        if message.document in self._identity.chain:
            return False  # every session begins with all roots since the first
        before = self._identity.root
        try:
            root = self._identity.advance(message.document)
        except RefusedError as refusal:
            self._report(Refused("trust", refusal.name, refusal.detail))
            return False
        self._report(TrustChanged(root))
        return (before.collector_key, before.addresses) != (root.collector_key, root.addresses)

    def _report(self, report: Report) -> None:
        self.inbox.put(report)

    def _heartbeat(self) -> Heartbeat:
        return msgspec.structs.replace(self.state, time_us=time.time_ns() // 1000)
