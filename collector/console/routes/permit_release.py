"""Permits that PCs do not know yet, or still have: the release that changes only that, and taking it signed."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from collector.console.gate import note
from collector.console.routes.common import Call, Reason, caller_of, console_of
from collector.desk.permit_desk import Extent, PermitDesk
from policies.bundle import seal_bundle
from protocol.signed import Signed

LARGEST_RELEASE = 24 * 1024 * 1024
"""A signed bundle of 16 MiB in Base64, and its frame."""
QueryExtent = Annotated[Extent, QueryParameter()]


class ToSign(Struct, frozen=True):
    """The exact bytes to sign (Base64), and the signed release in force that they follow. ``ring`` empty: for all."""

    ring: str
    generation: int
    base: Signed
    body: bytes


class SignedReleases(Struct, frozen=True, forbid_unknown_fields=True):
    """All that were due, signed, in the order they came."""

    documents: Annotated[tuple[Signed, ...], Meta(max_length=64)]
    reason: Reason
    extent: Extent = "all"


class Released(Struct, frozen=True):
    """What is in force now."""

    generation: int
    ring: str
    digest: str


@get("/policy/permits", sync_to_thread=True)
def list_due(request: Call, extent: QueryExtent = "all") -> list[ToSign]:
    """Releases that change permits only; ``extent``: all | revoked. Empty when PCs are meant to have just that."""
    console = console_of(request)
    with console.store.read() as session:
        found = PermitDesk(session, console.ordinances, console.clock()).due(extent)
    return [
        ToSign(one.ring, one.bundle.generation, one.base, seal_bundle(one.bundle, []).body) for one in found
    ]


@post("/policy/permits", request_max_body_size=LARGEST_RELEASE, sync_to_thread=True)
def post_signed(request: Call, data: JSONBody[SignedReleases]) -> list[Released]:
    """Put them in force for all PCs at once. 409 ``stale`` when they are not exactly what is due."""
    console = console_of(request)
    note(request.scope, reason=data.reason, extent=data.extent)
    with console.store.write() as session:
        desk = PermitDesk(session, console.ordinances, console.clock())
        rows = desk.take(data.documents, data.extent, reason=data.reason, posted_by=caller_of(request).name)
        shown = [Released(row.generation, row.ring, row.digest) for row in rows]
    console.poke("policy", "gateway", "detector")
    return shown


HANDLERS = (list_due, post_signed)
