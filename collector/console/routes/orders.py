"""Isolation orders: the blast radius before signing, posting a signed one, and watching it take effect."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct
from sqlalchemy import select

from collector.console.gate import note
from collector.console.roles import Caller
from collector.console.routes.common import (
    Call,
    PathText,
    QueryLimit,
    QueryText,
    WaitSeconds,
    caller_of,
    console_of,
    host_for,
)
from collector.console.views import OrderView, order
from collector.desk.release import current_bundle
from collector.desk.trust import trust_in_force
from collector.isolation.desk import FINAL, accept_order, standing_isolation
from collector.isolation.preview import Radius, radius, recent_connections
from collector.registers.models import Agent, OrderRow
from protocol.keys import fingerprint
from protocol.refusal import RefusedError
from protocol.signed import Signed


class NewOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed order; bytes in Base64."""

    document: Signed


class Signer(Struct, frozen=True):
    """A key that may sign orders."""

    key_id: str
    role: str
    holder: str


class Preview(Struct, frozen=True, kw_only=True):
    """What a cut would stop, and what making the order needs. ``standing`` is the isolation order to restore."""

    city: str
    radius: Radius
    standing: str
    order_signatures: int
    signers: tuple[Signer, ...]
    ordinances: tuple[str, ...]


@get("/orders/preview", sync_to_thread=True)
def preview(request: Call, target: QueryText) -> Preview:
    """The blast radius of one PC (by id, host name or fingerprint prefix)."""
    console = console_of(request)
    with console.store.read() as session:
        root = trust_in_force(session)
        agent = host_for(session, target, caller_of(request))
        standing = standing_isolation(session, agent.id)
        recent = recent_connections(console.layout.data, agent.id, console.clock())
        return Preview(
            city=root.city,
            radius=radius(
                session, agent, current_bundle(session), root.addresses, recent, now_us=console.clock()
            ),
            standing=standing.id if standing else "",
            order_signatures=root.order_signatures,
            signers=tuple(
                Signer(fingerprint(entry.key), entry.role, entry.holder) for entry in root.order_keys
            ),
            ordinances=tuple(console.ordinances),
        )


@post("/orders", sync_to_thread=True)
def post_order(request: Call, data: JSONBody[NewOrder]) -> OrderView:
    """Post a signed order. It is checked here and again by the PC; 409 ``replayed`` for one posted before."""
    console = console_of(request)
    with console.store.write() as session:
        accepted = accept_order(
            session,
            data.document,
            console.ordinances,
            posted_by=caller_of(request).name,
            now_us=console.clock(),
        )
        row = session.get_one(OrderRow, accepted.order_id)
        agent = session.get_one(Agent, row.agent_id)
        note(request.scope, reason=row.reason, order=row.id, kind=row.kind, host=row.agent_id)
        shown = order(row, agent.hostname, console.clock(), accepted.warnings)
    console.poke("orders", "gateway")
    return shown


@get("/orders", sync_to_thread=True)
def list_orders(request: Call, host: QueryText = "", limit: QueryLimit = 100) -> list[OrderView]:
    """Orders, newest first."""
    caller, console = caller_of(request), console_of(request)
    with console.store.read() as session:
        query = select(OrderRow, Agent).join(Agent, Agent.id == OrderRow.agent_id)
        if caller.only_section is not None:
            query = query.where(Agent.section == caller.only_section)
        if host:
            query = query.where(OrderRow.agent_id == host_for(session, host, caller).id)
        rows = session.execute(query.order_by(OrderRow.received_us.desc()).limit(limit))
        return [order(row, agent.hostname, console.clock()) for row, agent in rows]


@get("/orders/{order_id:str}")
async def get_order(
    request: Call, order_id: PathText, wait_s: WaitSeconds = 0, unless: QueryText = ""
) -> OrderView:
    """One order. With ``wait_s`` (≤ 25) the call waits until it is verified, failed or refused.

    ``unless=STATE`` returns as soon as the shown state is another one, to follow every step.
    """
    caller, console = caller_of(request), console_of(request)

    def look() -> OrderView:
        with console.store.read() as session:
            row = session.get(OrderRow, order_id)
            agent = session.get(Agent, row.agent_id) if row else None
            if row is None or agent is None or _hidden(caller, agent):
                raise RefusedError("not_found", f"no order {order_id}", "sekisho orders")
            return order(row, agent.hostname, console.clock())

    def done(view: OrderView) -> bool:
        return view.state in FINAL or bool(unless and view.state != unless)

    return await console.watch.until(look, done, wait_s)


def _hidden(caller: Caller, agent: Agent) -> bool:
    return caller.only_section is not None and agent.section != caller.only_section


HANDLERS = (preview, post_order, list_orders, get_order)
