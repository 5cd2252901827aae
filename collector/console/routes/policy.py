"""The policy: what is in force for whom, the draft that would be next, and taking the signed release."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct
from sqlalchemy import select

from collector.console.gate import note
from collector.console.routes.common import (
    Call,
    OptionalReason,
    PathNumber,
    QueryMicros,
    QueryText,
    Reason,
    Text,
    caller_of,
    console_of,
    need_reason,
)
from collector.desk import release
from collector.desk.diff import Change, diff
from collector.registers import releases
from collector.registers.models import Release
from protocol.refusal import RefusedError
from protocol.signed import Signed

LARGEST_RELEASE = 24 * 1024 * 1024
"""A signed bundle of 16 MiB in Base64, and its frame."""


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A release. ``due``: one made now would say something else, so something waits to be signed (None = not asked)."""

    generation: int
    status: str
    digest: str
    reason: str
    created_us: int
    created_by: str
    released_us: int
    ring: str
    """Ring it was released to; empty = to all."""
    promoted_us: int
    """When a ring's release went to all."""
    rollback_of: int
    """Generation it goes back to."""
    study_id: int
    """Back-test it was released on; 0 = none."""
    untested: str
    """Why without one."""
    pcs: int | None = None
    """Active PCs that said they run it (None = not asked)."""
    due: bool | None = None
    expires_us: int = 0
    """When PCs stop taking it; 0 = not asked."""


class Document(Struct, frozen=True):
    """A signed (or, for a draft, to be signed) bundle; bytes in Base64."""

    release: ReleaseView
    document: Signed


class DiffView(Struct, frozen=True):
    """What a release made now would change."""

    generation: int
    changes: tuple[Change, ...]
    lines: tuple[str, ...]


class Draft(Struct, frozen=True):
    """The exact bytes to sign (Base64) and what they change; ``study_id``: a back-test it passed, 0 = none yet."""

    release: ReleaseView
    body: bytes
    lines: tuple[str, ...]
    study_id: int = 0


class NewRelease(Struct, frozen=True, forbid_unknown_fields=True):
    """A draft with its signature; ``ring`` empty = for all. ``without_backtest``: why it goes untested."""

    document: Signed
    reason: Reason
    ring: Text = ""
    without_backtest: OptionalReason = ""


class Promotion(Struct, frozen=True, forbid_unknown_fields=True):
    """Why it goes to all."""

    reason: Reason


def _view(
    row: Release, *, due: bool | None = None, expires_us: int = 0, pcs: int | None = None
) -> ReleaseView:
    return ReleaseView(**release.summary(row), due=due, expires_us=expires_us, pcs=pcs)


@get("/policy/current", sync_to_thread=True)
def current(request: Call, ring: QueryText = "") -> ReleaseView:
    """The release in force for a ring (empty: for PCs in none). 404 ``not_found`` before the first."""
    console = console_of(request)
    with console.store.read() as session:
        row = _in_force(release.current_release(session, ring))
        bundle = release.bundle_of(row)
        due = release.differs(bundle, console.sources(session), console.clock())
        running = releases.running(session).get(row.generation, 0)
        return _view(row, due=due, expires_us=bundle.expires_us, pcs=running)


@get("/policy/document", sync_to_thread=True)
def document(request: Call, ring: QueryText = "") -> Document:
    """The release in force for a ring, as it was signed."""
    with console_of(request).store.read() as session:
        row = _in_force(release.current_release(session, ring))
        return Document(_view(row), release.document_of(row))


def _in_force(row: Release | None) -> Release:
    if row is None:
        raise RefusedError(
            "not_found", "no policy has been released yet", "sekisho policy release --key FILE"
        )
    return row


@get("/policy/draft", sync_to_thread=True)
def get_draft(request: Call, ring: QueryText = "", rollback_of: QueryMicros = 0) -> Draft:
    """The draft to sign, compared with what ``ring`` has. The same bytes come back while nothing changes (for an hour).

    ``rollback_of``: a generation to go back to, with the registers of today.
    """
    console = console_of(request)
    with console.store.write() as session:
        row, bundle = release.make_draft(
            session,
            console.sources(session),
            created_by=caller_of(request).name,
            now_us=console.clock(),
            rollback_of=rollback_of,
        )
        lines = tuple(map(str, diff(release.current_bundle(session, ring), bundle)))
        tested = release.passed(session, bundle)
        view = _view(row, due=bool(lines))
        return Draft(view, release.document_of(row).body, lines, tested.id if tested else 0)


@get("/policy/diff", sync_to_thread=True)
def get_diff(request: Call, ring: QueryText = "", rollback_of: QueryMicros = 0) -> DiffView:
    """What a release made now would change for ``ring``; nothing is stored."""
    console = console_of(request)
    with console.store.read() as session:
        generation = release.next_generation(session)
        bundle = release.make_bundle(
            session, console.sources(session), generation, rollback_of=rollback_of, now_us=console.clock()
        )
        changes = diff(release.current_bundle(session, ring), bundle)
    return DiffView(generation, tuple(changes), tuple(map(str, changes)))


@get("/policy/releases", sync_to_thread=True)
def list_releases(request: Call) -> list[ReleaseView]:
    """All releases, newest first, each with how many PCs run it."""
    with console_of(request).store.read() as session:
        query = select(Release).order_by(Release.generation.desc())
        running = releases.running(session)
        return [_view(row, pcs=running.get(row.generation, 0)) for row in session.scalars(query)]


@post("/policy/releases", request_max_body_size=LARGEST_RELEASE, sync_to_thread=True)
def post_release(request: Call, data: JSONBody[NewRelease]) -> ReleaseView:
    """Put a signed draft in force. 409 ``stale`` when something changed since it was fetched, ``untested`` by name."""
    console = console_of(request)
    note(request.scope, reason=data.reason, untested=data.without_backtest)
    posting = release.Posting(
        reason=data.reason,
        posted_by=caller_of(request).name,
        ring=data.ring,
        untested=data.without_backtest.strip(),
    )
    with console.store.write() as session:
        sources = console.sources(session)
        row = release.take_release(session, sources, data.document, posting, console.clock())
        note(request.scope, generation=row.generation, digest=row.digest, ring=row.ring)
        shown = _view(row, due=False)
    console.poke("policy", "gateway", "detector")
    return shown


@post("/policy/releases/{generation:int}/promote", status_code=200, sync_to_thread=True)
def promote(request: Call, generation: PathNumber, data: JSONBody[Promotion]) -> ReleaseView:
    """Give a ring's release to all: the same signed document. 409 ``wrong_state``, ``older_generation``."""
    console = console_of(request)
    why = need_reason(data.reason, "giving a release to all PCs")
    note(request.scope, reason=why, generation=generation)
    with console.store.write() as session:
        shown = _view(release.promote(session, generation, console.clock()))
    console.poke("policy", "gateway", "detector")
    return shown


HANDLERS = (current, document, get_draft, get_diff, list_releases, post_release, promote)
