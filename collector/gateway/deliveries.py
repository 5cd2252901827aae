"""What goes out to the PCs unasked: orders first, then trust roots and policy bundles, a few at a time.

A lost delivery costs time, not correctness: orders go out again with each heartbeat until there is a result, bundles as
long as the PC says it has an older one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collector.gateway.hub import Hub
from collector.gateway.records import OrderDue
from collector.gateway.roster import Member
from collector.registers.releases import ALL, target_of
from protocol.messages import OrderDelivery, TrustUpdate
from protocol.signed import Signed
from protocol.wire import encode

RESEND_S = 5.0
"""An order without a result goes out again with the first heartbeat after this."""
UNREACHABLE_S = 10.0
"""An order that has no result after this is shown as unreachable; it is delivered all the same when the PC returns."""
BUNDLE_S = 60.0
"""The same bundle is not pushed again to the same connection before this."""
BUNDLES_AT_ONCE = 16


@dataclass(slots=True)
class _Due:
    order: OrderDue
    frame: bytes
    since: float
    sent: float = 0.0
    route: bytes = b""
    unreachable: bool = False


class Deliveries:
    """Orders, trust and policy on their way. Times are monotonic seconds unless named ``_us``."""

    def __init__(self, hub: Hub) -> None:
        self._lanes, self._roster, self._ledger, self._stats = hub.lanes, hub.roster, hub.ledger, hub.stats
        self._orders: dict[str, dict[str, _Due]] = {}
        self._meant: dict[str, int] = {}
        self._bundles: dict[int, bytes] = {}
        self.serial = 0
        self._trust: list[bytes] = []
        self._pushed: dict[str, tuple[bytes, int, float]] = {}
        self._told_trust: dict[str, tuple[bytes, int]] = {}
        self._waiting: deque[str] = deque()
        self._queued: set[str] = set()

    # -- what is to be delivered -------------------------------------------------------------------------------------

    def add_orders(self, orders: Iterable[OrderDue], now: float) -> None:
        """Take orders on; each is sent at once where the PC is connected."""
        for order in orders:
            mine = self._orders.setdefault(order.agent_id, {})
            if order.id not in mine:
                mine[order.id] = _Due(order, encode(OrderDelivery(document=order.document)), now)
                self._send_order(order.agent_id, mine[order.id], now)

    def set_releases(self, meant: Mapping[str, int], bundles: Mapping[int, bytes]) -> None:
        """Ring → generation, and the frames not held so far: every connected PC that has an older one gets its own."""
        if meant == self._meant and not bundles and not self._roster.moved:
            return
        self._meant, self._roster.moved = dict(meant), False
        frames = {**self._bundles, **bundles}
        self._bundles = {one: frames[one] for one in meant.values()}
        for member in self._roster.members():
            if member.beat is not None and member.beat.policy_generation < self.meant_for(member):
                self._queue(member)

    def meant_for(self, member: Member) -> int:
        """Generation that a PC is meant to have, by its ring; 0 = none yet."""
        return target_of(self._meant, member.ring)

    @property
    def generation(self) -> int:
        """Generation for the PCs that are in no ring."""
        return target_of(self._meant, ALL)

    @property
    def held(self) -> frozenset[int]:
        """Generations whose frames are in memory."""
        return frozenset(self._bundles)

    def set_trust(self, serial: int, documents: list[Signed]) -> None:
        """A new trust root: every connected PC gets all roots after the first, oldest first."""
        self.serial = serial
        self._trust = [encode(TrustUpdate(document=document)) for document in documents]
        for member in self._roster.members():
            self._queue(member)

    # -- occasions ---------------------------------------------------------------------------------------------------

    def heard(self, member: Member, now: float) -> None:
        """A heartbeat came in: send what this PC lacks."""
        for due in self._orders.get(member.id, {}).values():
            if due.route != member.control_route or now - due.sent >= RESEND_S:
                self._send_order(member.id, due, now)
        if self._lacks_trust(member) or self._lacks_bundle(member, now):
            self._queue(member)

    def fetch(self, member: Member, route: bytes, have: int) -> bool:
        """A PC asks for a bundle newer than it has: send it now. Returns whether there is one."""
        meant = self.meant_for(member)
        return have < meant and self._lanes.send("control", route, self._bundles[meant]) != "gone"

    def finished(self, order_id: str, agent_id: str) -> None:
        """There is a result: no more deliveries."""
        mine = self._orders.get(agent_id, {})
        mine.pop(order_id, None)
        if not mine:
            self._orders.pop(agent_id, None)

    def pump(self, now: float) -> bool:
        """Send some of what is queued; returns whether more waits."""
        for _ in range(min(BUNDLES_AT_ONCE, len(self._waiting))):
            agent_id = self._waiting.popleft()
            self._queued.discard(agent_id)
            member = self._roster.get(agent_id)
            if member is None or not member.control_route or self._roster.refusal(agent_id, "data"):
                continue
            if self._lacks_trust(member):
                self._send_trust(member)
            if self._lacks_bundle(member, now):
                self._push_bundle(member, now)
        return bool(self._waiting)

    def look(self, now: float, guarded_us: int) -> None:
        """Once a second: which orders did not get through, which have lapsed."""
        for agent_id, mine in list(self._orders.items()):
            for order_id, due in list(mine.items()):
                lapsed = guarded_us > due.order.valid_until_us
                if not due.unreachable and (lapsed or now - max(due.since, due.sent) > UNREACHABLE_S):
                    due.unreachable = True
                    self._ledger.mark(order_id, "unreachable")
                if lapsed:
                    self.finished(order_id, agent_id)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send_order(self, agent_id: str, due: _Due, now: float) -> None:
        member = self._roster.get(agent_id)
        if member is None or not member.control_route:
            return
        if self._lanes.send("control", member.control_route, due.frame) != "sent":
            return
        self._stats.counters["orders_sent"] += 1
        due.sent, due.route, due.unreachable = now, member.control_route, False
        self._ledger.mark(due.order.id, "sent")

    def _send_trust(self, member: Member) -> None:
        if all(self._lanes.send("control", member.control_route, frame) == "sent" for frame in self._trust):
            self._told_trust[member.id] = (member.control_route, self.serial)

    def _push_bundle(self, member: Member, now: float) -> None:
        meant = self.meant_for(member)
        if self._lanes.send("control", member.control_route, self._bundles[meant]) == "sent":
            self._pushed[member.id] = (member.control_route, meant, now)
            self._stats.counters["bundles_sent"] += 1

    def _lacks_trust(self, member: Member) -> bool:
        return bool(self._trust) and self._told_trust.get(member.id) != (member.control_route, self.serial)

    def _lacks_bundle(self, member: Member, now: float) -> bool:
        meant = self.meant_for(member)
        if member.beat is None or member.beat.policy_generation >= meant:
            return False
        route, generation, at = self._pushed.get(member.id, (b"", 0, 0.0))
        same = route == member.control_route and generation == meant
        return not same or now - at >= BUNDLE_S

    def _queue(self, member: Member) -> None:
        if member.control_route and member.id not in self._queued:
            self._queued.add(member.id)
            self._waiting.append(member.id)
