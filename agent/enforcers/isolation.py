"""Host isolation by signed order: the PC talks to its collector and to nobody else (DESIGN §8).

Journal → act → read back → record. The cut is one nftables transaction in plain tables of its own, so it outlives this
process, and ``isolation.nft`` is loaded before the network at boot. It is proved by one probe that must succeed (the
collector's control port) and one that must fail (a datagram elsewhere must be refused on this PC itself). If the
collector cannot be reached the cut is taken back: a PC is never locked out by an order.

What this cannot keep alive: a DHCP lease (then only the release code on the PC helps), and a tunnel to the collector
(such orders fail and say so).

Not thread-safe; call from the agent's main thread, or from a command beside it (release).
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, ClassVar, Literal

from agent.enforcers import Enforcer
from agent.enforcers.isolation_cut import PROBE_MS, Proof
from agent.enforcers.isolation_journal import Intent, Taken, digest_of
from agent.enforcers.isolation_keeper import Keeper, Standing
from agent.platform.linux.isolation_rules import Path
from agent.platform.ports import FirewallWatch, OverflowedError, Readiness, UnsupportedError
from agent.sensors import POLLIN
from policies.model import Control
from protocol.events import AgentRestored, Event
from protocol.messages import OrderResult
from protocol.orders import Order, verify_order
from protocol.refusal import RefusedError
from protocol.signed import Signed, read_body
from protocol.trust import TrustRoot

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

_LOOK_TICKS = 10
"""Compare the tables with what was set this often even if nobody was seen changing them."""
_FAILED = Proof(must_succeed=False, must_fail=False)


class IsolationEnforcer(Enforcer):
    """Always on. What orders and codes lead to is recorded by the caller; expiry and tampering are reported here."""

    name: ClassVar[str] = "isolation"
    control: ClassVar[Control | None] = None

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._keeper = Keeper(platform)
        self._cut, self._journal = self._keeper.cut, self._keeper.journal
        self._watch: FirewallWatch | None = None
        self._ticks = 0
        self._pending: list[Event] = []

    # -- state -------------------------------------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """The filter must answer."""
        try:
            self.platform.firewall.tables()
        except UnsupportedError as error:
            return Readiness("unsupported", error.why, error.hint)
        except OSError as error:
            return Readiness("unsupported", str(error), "run the agent as root")
        return Readiness("enforce")

    def state(self) -> Literal["free", "isolated"]:
        """Measured: whether the tables are there."""
        return "isolated" if "inet" in self._cut.present() else "free"

    def current_order(self) -> Order | None:
        """The newest order in force."""
        standing = self._keeper.read() if self._keeper.standing is None else self._keeper.standing
        return standing[-1][1] if standing else None

    def observe(self) -> dict[str, str]:
        """Measured state, the order, and how far the cut reaches."""
        order, path = self.current_order(), self._cut.path
        return {
            "state": self.state(),
            "order": order.order_id if order else "",
            "families": " ".join(sorted(self._cut.present())),
            "devices": " ".join(path.devices) if path else "",
        }

    # -- orders ------------------------------------------------------------------------------------------------------

    def execute(
        self, document: Signed, root: TrustRoot, agent_id: str, now_us: int | None = None
    ) -> OrderResult:
        """Verify an order and carry it out. Never raises RefusedError: a refusal is a result.

        The same order delivered again while it stands is measured again; after a restore it is ``replayed``.
        """
        started_ns = time.perf_counter_ns()
        now = self.platform.now_us() if now_us is None else now_us
        try:
            self._pending += self._keeper.resume()
            newest_us = self._journal.seen().newest_us
            order = verify_order(document, root, target=agent_id, now_us=max(now, newest_us))
            if (again := self._delivered_again(document, order)) is not None:
                return again
            if order.kind == "isolate":
                return self._isolate(document, order, root, started_ns)
            return self._restore(document, order, root, started_ns)
        except RefusedError as refusal:
            return self._refused(document, refusal)

    def _refused(self, document: Signed, refusal: RefusedError) -> OrderResult:
        try:
            order_id = read_body(Order, document).order_id
        except RefusedError:
            order_id = ""
        return OrderResult(
            order_id=order_id,
            state="refused",
            refusal=refusal.name,
            detail=str(refusal)[:2000],
            time_us=self.platform.now_us(),
        )

    def _delivered_again(self, document: Signed, order: Order) -> OrderResult | None:
        """An order that stands is measured; a restore that was carried out keeps its result; the rest is a replay."""
        seen = self._journal.seen()
        taken = seen.find(order.order_id)
        standing = self._keeper.standing or ()
        stands = any(known.order_id == order.order_id for _, known in standing)
        if taken is None and not stands:
            if order.issued_us < seen.floor_us:
                raise RefusedError("stale", f"order {order.order_id} is older than all this PC remembers")
            return None
        same = taken is None or taken.digest == digest_of(document)
        if same and stands and self._cut.path is not None:
            return self._result(order, self._cut.prove(self._cut.path), "in force already")
        if same and order.kind == "restore" and taken and taken.result and not standing:
            return taken.result
        raise RefusedError("replayed", f"order {order.order_id} was carried out before")

    def _result(
        self, order: Order, proof: Proof, detail: str = "", *, sockets: int = 0, latency_us: int = 0
    ) -> OrderResult:
        proved = proof.must_succeed and (proof.must_fail or order.kind == "restore")
        return OrderResult(
            order_id=order.order_id,
            state="verified" if proved else "failed",
            detail="; ".join(part for part in (detail, proof.detail) if part)[:2000],
            must_succeed=proof.must_succeed,
            must_fail=proof.must_fail,
            sockets_destroyed=sockets,
            latency_us=latency_us,
            time_us=self.platform.now_us(),
        )

    def _isolate(self, document: Signed, order: Order, root: TrustRoot, started_ns: int) -> OrderResult:
        path = self._cut.way(root)
        before = self._keeper.standing or ()
        seen = self._journal.seen().plus(Taken(order.order_id, digest_of(document), order.issued_us))
        standing = (*before, (document, order))
        intent = Intent(tuple(one for one, _ in standing), self._cut.boot_rules(path), seen)
        try:
            self._journal.begin(intent)
        except OSError as error:
            raise RefusedError("disk_full", f"the order could not be written down: {error}") from error
        try:
            self._cut.apply(path)
        except OSError as error:
            self._settle(intent)
            self._back_to(before)
            return self._record(document, order, self._result(order, _FAILED, f"nftables: {error}"))
        latency_us = (time.perf_counter_ns() - started_ns) // 1000
        ended, note = self._cut.destroy_sockets(path)
        notes = [note, self._settle(intent)]
        self._keeper.keep(standing)
        proof, weaker = self._prove_or_weaken(path)
        notes.append(weaker)
        if not proof.must_succeed:
            self._back_to(before)
            notes.append("taken back: the collector was cut off too")
        detail = "; ".join(filter(None, notes))
        result = self._result(order, proof, detail, sockets=ended, latency_us=latency_us)
        return self._record(document, order, result)

    def _settle(self, intent: Intent) -> str:
        """What could not be written stays in the journal, and the next start makes it from there."""
        try:
            self._journal.settle(intent)
        except OSError as error:
            return f"not all is written down yet: {error}"
        return ""

    def _prove_or_weaken(self, path: Path) -> tuple[Proof, str]:
        """Below IP some networks need more than we know (tags, tunnels): then the cut is made without ``netdev``."""
        proof = self._cut.prove(path)
        if proof.must_succeed or self._cut.level in ("arp", "inet"):
            return proof, ""
        self._cut.apply(path, "arp")
        proof = self._cut.prove(path)
        return proof, "without netdev: the collector is not reached with it" if proof.must_succeed else ""

    def _back_to(self, before: Standing) -> None:
        """Roll back: what stood before stands again, and no more."""
        self._keeper.release(before)
        if before:
            self._keeper.insist()

    def _record(self, document: Signed, order: Order, result: OrderResult) -> OrderResult:
        """Note the result. A full disk loses the note, not the result."""
        taken = Taken(order.order_id, digest_of(document), order.issued_us, result)
        with contextlib.suppress(OSError):
            self._journal.record(self._journal.seen().plus(taken))
        return result

    def _restore(self, document: Signed, order: Order, root: TrustRoot, started_ns: int) -> OrderResult:
        """Empty ``restores`` lifts every order."""
        standing = self._keeper.standing or ()
        rest = tuple(one for one in standing if order.restores and one[1].order_id != order.restores)
        if len(rest) == len(standing):
            raise RefusedError("not_isolated", f"no order {order.restores or '(any)'} is in force on this PC")
        seen = self._journal.seen().plus(Taken(order.order_id, digest_of(document), order.issued_us))
        try:
            self._journal.record(seen)
            self._keeper.release(rest)
        except OSError as error:
            return self._record(document, order, self._result(order, _FAILED, str(error)))
        latency_us = (time.perf_counter_ns() - started_ns) // 1000
        reached = self.platform.network.reachable(root.addresses, root.control_port, PROBE_MS)
        detail = f"order {rest[-1][1].order_id} still stands" if rest else "the isolation tables are gone"
        proof = Proof(must_succeed=reached, must_fail=False)
        return self._record(document, order, self._result(order, proof, detail, latency_us=latency_us))

    def restore_with_code(self, code: str) -> AgentRestored:
        """Lift the order whose one-time code this is; works without the resident agent.

        A wrong code is an event too (``refusal``). Raises RefusedError ``not_isolated``, OSError when the disk or the
        filter fails.
        """
        return self._keeper.unlock(code, self.platform.now_us())

    # -- keeping it --------------------------------------------------------------------------------------------------

    def apply(self, policy: PolicyView) -> None:
        """A policy changes nothing here; what stands is asserted, with the trust root of now."""
        self._pending += self._keeper.resume()
        if self._keeper.standing:
            self._keeper.insist()
        self._open_watch()

    def _open_watch(self) -> None:
        if self._watch is None:
            self._watch = self.platform.firewall_watch()

    def clean(self) -> None:
        """Removes tables no order stands behind. A standing isolation is lifted by order or code only."""
        if not self._keeper.read():
            self._cut.lift()
        if self._watch:
            self._watch.close()
            self._watch = None

    def filenos(self) -> list[tuple[int, int]]:
        """The watch."""
        return [(self._watch.fileno(), POLLIN)] if self._watch else []

    def read(self, fileno: int) -> list[Event]:
        """Somebody changed a ruleset: was it a release beside us, or ours that was changed?"""
        if self._watch is None or fileno != self._watch.fileno():
            return []
        try:
            culprits = self._watch.changed_by()
        except OverflowedError:
            culprits = [""]
        if not culprits:
            return []
        return [*self._keeper.notice_release(), *self._keeper.repair(culprits[-1])]

    def tick(self) -> list[Event]:
        """Releases beside us, expiry, new devices and routes, drift."""
        events = [*self._pending, *self._keeper.resume()]
        self._pending = []
        self._open_watch()
        events += self._keeper.notice_release()
        events += self._keeper.expire()
        if self._keeper.standing:
            self._keeper.follow()
            self._ticks += 1
            events += self._keeper.repair("") if self._ticks % _LOOK_TICKS == 0 else []
        return events
