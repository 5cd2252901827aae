"""The isolation enforcer as the rest of the agent uses it, and what is recorded about an order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, cast

from protocol.events import AgentIsolated, AgentRestored, Event
from protocol.messages import OrderResult
from protocol.refusal import RefusedError
from protocol.signed import Signed
from protocol.trust import TrustRoot

if TYPE_CHECKING:
    from agent.enforcers import Enforcer
    from agent.runtime import Runtime

NAME = "isolation"
FREE = "free"


class Isolator(Protocol):
    """What ``agent.enforcers.isolation`` can do beyond being an Enforcer."""

    def execute(
        self, document: Signed, root: TrustRoot, agent_id: str, now_us: int | None = None
    ) -> OrderResult:
        """Verify an order as of ``now_us`` and carry it out; a refusal is a result too."""
        ...

    def restore_with_code(self, code: str) -> AgentRestored:
        """Lift isolation by its one-time code; ``refusal`` says if it was wrong. Raises RefusedError ``not_isolated``."""
        ...

    def state(self) -> str:
        """``free`` or ``isolated``, as measured."""
        ...


def isolator(enforcers: dict[str, Enforcer]) -> Isolator | None:
    """The isolation enforcer among all of them; None where this PC has none."""
    return cast("Isolator | None", enforcers.get(NAME))


def carry_out(runtime: Runtime, document: Signed) -> None:
    """Carry out an order, tell the collector at once, and record it."""
    enforcer = isolator(runtime.enforcers.enforcers)
    now_us = runtime.platform.now_us()
    if enforcer is None:
        result = OrderResult(order_id="", state="failed", detail="this PC cannot be isolated", time_us=now_us)
        before = after = FREE
    else:
        before = enforcer.state()
        result = _execute(runtime, enforcer, document)
        after = enforcer.state()
    runtime.uplink.say(result)
    runtime.handle(as_event(result, restored=before != FREE and after == FREE, time_us=now_us))
    runtime.teller.tell()


def _execute(runtime: Runtime, enforcer: Isolator, document: Signed) -> OrderResult:
    identity, view = runtime.identity, runtime.view
    # A clock set back must not revive an old order: signed times are a floor (the enforcer adds those of orders).
    now_us = max(runtime.platform.now_us(), view.bundle.issued_us if view else 0)
    try:
        return enforcer.execute(document, identity.root, identity.agent_id, now_us)
    except RefusedError as refusal:
        return OrderResult(
            order_id="",
            state="refused",
            refusal=refusal.name,
            detail=refusal.detail,
            time_us=runtime.platform.now_us(),
        )
    except Exception as error:  # noqa: BLE001 - an order that fails must be told, not end the agent
        why = f"{type(error).__name__}: {error}"
        runtime.health.raise_(f"enforcer_failed.{NAME}", why, now_s=time.monotonic())
        return OrderResult(order_id="", state="failed", detail=why[:2000], time_us=runtime.platform.now_us())


def as_event(result: OrderResult, *, restored: bool, time_us: int) -> Event:
    """The event that stays as evidence of an order."""
    if restored:
        return AgentRestored(time_us=time_us, order_id=result.order_id, detail=result.detail)
    return AgentIsolated(
        time_us=time_us,
        action="observed" if result.state in {"applied", "verified"} else "failed",
        order_id=result.order_id,
        must_succeed=result.must_succeed,
        must_fail=result.must_fail,
        sockets_destroyed=result.sockets_destroyed,
        latency_us=result.latency_us,
        refusal=result.refusal,
        detail=result.detail,
    )
