"""Keeps the tables to what the standing orders say: after a crash, a boot, tampering, a new device, a release, an expiry."""

from __future__ import annotations

import contextlib
import hmac
from typing import TYPE_CHECKING

from agent.enforcers.isolation_cut import Cut
from agent.enforcers.isolation_journal import Journal, Release, Tries
from protocol.events import AgentRestored, AgentTampered, Event
from protocol.orders import Order, hash_code
from protocol.refusal import RefusedError
from protocol.signed import Signed, read_body

if TYPE_CHECKING:
    from agent.platform import Platform

Standing = tuple[tuple[Signed, Order], ...]
"""Orders in force, oldest first, each with the bytes that were signed."""
_HASH_BYTES = 32


class Keeper:
    """``standing`` is what this process knows to be in force; None until :meth:`resume` has looked."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.journal = Journal(platform.state)
        self.cut = Cut(platform)
        self.standing: Standing | None = None
        self._mark = (0, 0)

    def read(self) -> Standing:
        """What the disk says. Raises RefusedError ``corrupt``."""
        return tuple((document, read_body(Order, document)) for document in self.journal.standing())

    def keep(self, standing: Standing) -> None:
        """Remember what stands, and which file says so."""
        self.standing, self._mark = standing, self.journal.mark()

    def release(self, rest: Standing) -> None:
        """Only ``rest`` stands on. Raises OSError.

        Files before tables: a crash in between leaves tables without an order, which the next start removes.
        """
        self.journal.remain(tuple(document for document, _ in rest))
        self.keep(rest)
        if not rest:
            self.cut.lift()

    def unlock(self, code: str, now_us: int) -> AgentRestored:
        """See ``IsolationEnforcer.restore_with_code``."""
        standing = self.read()
        self.keep(standing)
        if not standing:
            raise RefusedError("not_isolated", "no isolation order is in force on this PC")
        tries = self.journal.tries()
        if wait_us := tries.wait_us(now_us):
            return _wrong(now_us, f"too many wrong codes, wait {wait_us // 1_000_000 + 1} s")
        lifted = [order.order_id for _, order in standing if is_code_of(order, code)]
        if not lifted:
            self.journal.note_wrong(Tries(tries.wrong + 1, now_us))
            return _wrong(now_us, "this is not the code of the isolation in force")
        self.journal.note_release(Release(lifted[0], code))
        rest = tuple(one for one in standing if one[1].order_id != lifted[0])
        self.release(rest)
        detail = f"order {rest[-1][1].order_id} still stands" if rest else ""
        return AgentRestored(time_us=now_us, order_id=lifted[0], by_code=True, detail=detail)

    def resume(self) -> list[Event]:
        """Once per process: bring the tables to what the files say. Tables that were missing are a tampering."""
        if self.standing is not None:
            return []
        begun = False
        with contextlib.suppress(OSError):  # a full disk must not keep the tables away
            begun = self.journal.prepare()
        self.keep(self.read())
        present = self.cut.present()
        if not self.standing:
            if present:
                self.cut.lift()
            return []
        self.insist()
        if begun or "inet" in present:
            return []
        return [self._tampered("the isolation tables were missing at start", "")]

    def insist(self) -> None:
        """Make the cut again: by the routes of now; without any as it was last, or as it was written for the boot."""
        path = self.cut.path
        if (root := self.cut.pinned()) is not None:
            try:
                path = self.cut.way(root)
            except RefusedError:
                path = self.cut.path
        if path is None:
            self.cut.load(self.journal.rules())
            return
        self.cut.apply(path, self.cut.level)
        self.journal.refresh(self.cut.boot_rules(path))

    def follow(self) -> None:
        """Routes or devices changed: so do the rules."""
        if self.cut.path is None:
            self.insist()
            return
        path = self.cut.way_now(self.cut.path)
        if path != self.cut.path:
            self.cut.apply(path, self.cut.level)
            self.journal.refresh(self.cut.boot_rules(path))

    def repair(self, culprit: str) -> list[Event]:
        """Put the tables back if they are not as they were set."""
        if not self.standing or not self.cut.is_changed():
            return []
        try:
            self.insist()
        except OSError as error:
            return [self._tampered(f"tables changed, not put back: {error}", culprit, repaired=False)]
        return [self._tampered("the isolation tables were changed", culprit)]

    def notice_release(self) -> list[Event]:
        """The file of standing orders changed under us: by a code that is right, or by somebody who may not.

        The command that took the code has reported the release; here it only takes effect.
        """
        if self.standing is None or self.journal.mark() == self._mark:
            return []
        proof = self.journal.release()
        left = {order.order_id for _, order in self.read()}
        rest = tuple(
            one for one in self.standing if one[1].order_id in left or not was_released(one[1], proof)
        )
        self.release(rest)
        if all(order.order_id in left for _, order in rest):
            return []
        self.insist()
        return [self._tampered("the standing isolation order was removed from disk", "")]

    def expire(self) -> list[Event]:
        """Orders that end by themselves."""
        now_us = self._platform.now_us()
        standing = self.standing or ()
        over = {order.order_id for _, order in standing if order.expires_us and now_us >= order.expires_us}
        if not over:
            return []
        self.release(tuple(one for one in standing if one[1].order_id not in over))
        return [AgentRestored(time_us=now_us, order_id=one, detail="expired") for one in sorted(over)]

    def _tampered(self, detail: str, culprit: str, *, repaired: bool = True) -> AgentTampered:
        return AgentTampered(
            time_us=self._platform.now_us(),
            action="blocked" if repaired else "failed",
            what="isolation",
            by=culprit,
            repaired=repaired,
            detail=detail,
        )


def is_code_of(order: Order, code: str) -> bool:
    """Constant time; an order without a hash has no code."""
    return len(order.release_hash) == _HASH_BYTES and hmac.compare_digest(
        order.release_hash, hash_code(order.order_id, code)
    )


def was_released(order: Order, proof: Release | None) -> bool:
    """Whether the release beside us is proved by the order's own code."""
    return proof is not None and proof.order_id == order.order_id and is_code_of(order, proof.code)


def _wrong(now_us: int, why: str) -> AgentRestored:
    return AgentRestored(time_us=now_us, action="failed", refusal="wrong_code", by_code=True, detail=why)
