"""The isolation desk: takes signed orders, keeps them as desired state, says what is measured of them.

The desk checks what the PC will check again by itself; a compromised collector can neither make nor alter an order. It
only ever adds rows: delivery is the gateway's, the result is the PC's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.desk.trust import trust_in_force
from collector.registers.models import Agent, OrderRow
from policies.ordinance import Ordinance
from protocol.keys import fingerprint
from protocol.orders import Order, verify_order
from protocol.refusal import RefusedError
from protocol.signed import Signed, read_body, signers

Shown = Literal["desired", "sent", "applied", "verified", "failed", "refused", "unreachable"]
FINAL: frozenset[str] = frozenset({"verified", "failed", "refused"})
"""States that nothing follows."""
COLUMN = 64
"""Longest text of the columns concerned."""
SILENT_US = 10_000_000
"""After this long without a result the PC is called unreachable; the order stays desired and waits for it."""


class Accepted(Struct, frozen=True):
    """An order that was taken, and what the operator should know about its ground."""

    order_id: str
    warnings: tuple[str, ...] = ()


def accept_order(
    session: Session, document: Signed, ordinances: Mapping[str, Ordinance], *, posted_by: str, now_us: int
) -> Accepted:
    """Check a signed order and store it as desired. Must run in a write transaction.

    Raises RefusedError: those of ``protocol.orders.verify_order``; ``not_found`` (no such PC), ``wrong_target`` (the PC
    is revoked or still pending, or ``restores`` is another PC's order), ``bad_value`` (empty ground or reason, dates
    that contradict), ``replayed`` (this order id is known).
    """
    root = trust_in_force(session)
    signers("order", document, {fingerprint(entry.key): entry.key for entry in root.order_keys})
    # Signed by one of ours: now it may be read, to know whom it is for, and be checked as that PC will check it.
    order = verify_order(document, root, target=read_body(Order, document).target, now_us=now_us)
    _check_content(order, now_us)
    agent = session.get(Agent, order.target)
    if agent is None:
        raise RefusedError("not_found", f"no PC {order.target}", "sekisho hosts")
    if agent.status not in {"active", "quarantined"}:
        raise RefusedError("wrong_target", f"PC {agent.hostname} is {agent.status}; it takes no orders")
    if session.get(OrderRow, order.order_id) is not None:
        raise RefusedError("replayed", f"order {order.order_id} was posted before")
    if order.kind == "restore":
        _check_restores(session, order)
    session.add(_row(order, document, posted_by, now_us))
    session.flush()
    return Accepted(order.order_id, ground_warnings(order, ordinances))


def _check_content(order: Order, now_us: int) -> None:
    ground = order.ground
    if not ground.ordinance.strip() or not ground.article.strip():
        raise RefusedError(
            "bad_value", "the order names no ground", "--ground ordinance:article, e.g. meguro:第18条"
        )
    if not order.reason.strip():
        raise RefusedError("bad_value", "the order gives no reason", "--reason")
    texts = {"order id": order.order_id, "ordinance": ground.ordinance, "article": ground.article}
    for name, text in {**texts, "incident": order.incident or "-"}.items():
        if not 1 <= len(text) <= COLUMN:
            raise RefusedError("bad_value", f"the {name} has 1 to {COLUMN} characters")
    if order.expires_us and order.expires_us <= now_us:
        raise RefusedError("bad_value", "the isolation would end before it begins", "--expires later")
    if order.kind == "isolate" and len(order.release_hash) != 32:  # noqa: PLR2004  -- SHA-256
        raise RefusedError("bad_value", "the order has no release code", "make it with `sekisho isolate`")


def _check_restores(session: Session, order: Order) -> None:
    cut = session.get(OrderRow, order.restores)
    if cut is None or cut.kind != "isolate":
        raise RefusedError("not_found", f"no isolation order {order.restores!r} to restore", "sekisho orders")
    if cut.agent_id != order.target:
        raise RefusedError("wrong_target", f"order {order.restores} isolated another PC")


def _row(order: Order, document: Signed, posted_by: str, now_us: int) -> OrderRow:
    return OrderRow(
        id=order.order_id,
        kind=order.kind,
        agent_id=order.target,
        issuer=order.issuer,
        ordinance=order.ground.ordinance,
        article=order.ground.article,
        incident=order.incident,
        reason=order.reason,
        document=msgspec.msgpack.encode(document),
        state="desired",
        issued_us=order.issued_us,
        received_us=now_us,
        posted_by=posted_by,
        sent_us=0,
        result_us=0,
        result={},
    )


def ground_warnings(order: Order, ordinances: Mapping[str, Ordinance]) -> tuple[str, ...]:
    """What is odd about the cited article. Never a refusal: in an emergency a slip in a citation must not stop the cut."""
    ground = order.ground
    ordinance = ordinances.get(ground.ordinance)
    if ordinance is None:
        return (f"ground_unknown_ordinance: {ground.ordinance} is not loaded here",)
    # 第17条 is a good ground where the table lists its items 第17条第1号 …
    numbers = [article.number for article in ordinance.articles]
    if not any(number == ground.article or number.startswith(f"{ground.article}第") for number in numbers):
        return (
            f"ground_unknown_article: {ground.ordinance} has no {ground.article} in edition {ordinance.edition}",
        )
    return ()


def shown_state(row: OrderRow, now_us: int) -> Shown:
    """What to show: the state on record, or ``unreachable`` when the PC has been silent about it for too long."""
    silent = row.state in {"desired", "sent"} and now_us - row.received_us >= SILENT_US
    return "unreachable" if silent else row.state  # type: ignore[return-value]  # the column holds only these


def standing_isolation(session: Session, agent_id: str) -> OrderRow | None:
    """The newest isolation order of a PC that no posted restore order names; what ``restore`` lifts."""
    rows = session.scalars(
        select(OrderRow).where(OrderRow.agent_id == agent_id).order_by(OrderRow.issued_us.desc())
    ).all()
    lifted = {
        _restores(row) for row in rows if row.kind == "restore" and row.state not in {"failed", "refused"}
    }
    return next(
        (row for row in rows if row.kind == "isolate" and row.id not in lifted and row.state != "refused"),
        None,
    )


def _restores(row: OrderRow) -> str:
    return read_body(Order, msgspec.msgpack.decode(row.document, type=Signed)).restores
