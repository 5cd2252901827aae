"""The policy: what is in force, the draft that would be next, and taking the signed release."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct
from sqlalchemy import select

from collector.console.gate import note
from collector.console.routes.common import Call, Reason, caller_of, console_of
from collector.desk import draft
from collector.desk.diff import Change, diff
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
    """The exact bytes to sign (Base64) and what they change."""

    release: ReleaseView
    body: bytes
    lines: tuple[str, ...]


class NewRelease(Struct, frozen=True, forbid_unknown_fields=True):
    """A draft with its signature."""

    document: Signed
    reason: Reason


def _view(row: Release, *, due: bool | None = None, expires_us: int = 0) -> ReleaseView:
    return ReleaseView(**draft.summary(row), due=due, expires_us=expires_us)


@get("/policy/current", sync_to_thread=True)
def current(request: Call) -> ReleaseView:
    """The release in force. 404 ``not_found`` before the first."""
    console = console_of(request)
    with console.store.read() as session:
        row = _in_force(draft.current_release(session))
        bundle = draft.bundle_of(row)
        due = draft.differs(bundle, console.sources(session), console.clock())
        return _view(row, due=due, expires_us=bundle.expires_us)


@get("/policy/document", sync_to_thread=True)
def document(request: Call) -> Document:
    """The release in force as it was signed."""
    with console_of(request).store.read() as session:
        row = _in_force(draft.current_release(session))
        return Document(_view(row), draft.document_of(row))


def _in_force(row: Release | None) -> Release:
    if row is None:
        raise RefusedError("not_found", "no policy has been released yet", "sekisho policy apply --key FILE")
    return row


@get("/policy/draft", sync_to_thread=True)
def get_draft(request: Call) -> Draft:
    """The draft to sign. The same bytes come back as long as nothing changes (and for an hour)."""
    console = console_of(request)
    with console.store.write() as session:
        sources = console.sources(session)
        row, bundle = draft.make_draft(
            session, sources, created_by=caller_of(request).name, now_us=console.clock()
        )
        lines = tuple(map(str, diff(draft.current_bundle(session), bundle)))
        return Draft(_view(row, due=bool(lines)), draft.document_of(row).body, lines)


@get("/policy/diff", sync_to_thread=True)
def get_diff(request: Call) -> DiffView:
    """What a release made now would change; nothing is stored."""
    console = console_of(request)
    with console.store.read() as session:
        generation = draft.next_generation(session)
        bundle = draft.build(console.sources(session), generation, console.clock())
        changes = diff(draft.current_bundle(session), bundle)
    return DiffView(generation, tuple(changes), tuple(map(str, changes)))


@get("/policy/releases", sync_to_thread=True)
def list_releases(request: Call) -> list[ReleaseView]:
    """All releases, newest first."""
    with console_of(request).store.read() as session:
        query = select(Release).order_by(Release.generation.desc())
        return [_view(row) for row in session.scalars(query)]


@post("/policy/releases", request_max_body_size=LARGEST_RELEASE, sync_to_thread=True)
def post_release(request: Call, data: JSONBody[NewRelease]) -> ReleaseView:
    """Put a signed draft in force. 409 ``stale`` when something changed since it was fetched."""
    console = console_of(request)
    note(request.scope, reason=data.reason)
    with console.store.write() as session:
        row = draft.take_release(
            session,
            console.sources(session),
            data.document,
            reason=data.reason,
            posted_by=caller_of(request).name,
            now_us=console.clock(),
        )
        note(request.scope, generation=row.generation, digest=row.digest)
        shown = _view(row, due=False)
    console.poke("policy", "gateway", "detector")
    return shown


HANDLERS = (current, document, get_draft, get_diff, list_releases, post_release)
