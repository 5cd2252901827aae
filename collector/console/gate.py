"""The gate before every route: who calls (before anything is parsed), may they, and a line in the audit log."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import msgspec
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from collector.console.accounts import who
from collector.console.context import Console
from collector.console.problems import ApiError, Problem, log_failure
from collector.console.roles import API, PUBLIC, TABLE, Caller
from collector.registers import audit

_LONGEST_TOKEN = 128
_LONGEST_TEXT = 2000
SCHEMA = "/schema"
UNLOGGED = frozenset({SCHEMA, f"{SCHEMA}/openapi.json", f"{API}/health"})


def public(method: str, path: str) -> bool:
    """Whether a call needs no sign-in: the schema, and what the table says."""
    return path == SCHEMA or path.startswith(f"{SCHEMA}/") or TABLE.get((method, path.rstrip("/"))) == PUBLIC


def bearer(scope: Scope) -> str:
    """The bearer token of a request, or ""."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer " and len(value) <= _LONGEST_TOKEN:
            return value[7:].decode("latin-1").strip()
    return ""


def role_guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Litestar guard, before the body is read: the table decides. Raises ApiError 403."""
    template = connection.scope["path_template"]
    if template == SCHEMA or template.startswith(f"{SCHEMA}/"):
        return
    allowed = TABLE[connection.scope["method"], template]  # type: ignore[typeddict-item]  # HTTP only, by Gate
    caller: Caller | None = connection.scope["state"].get("caller")
    if allowed == PUBLIC or (caller is not None and caller.role in allowed):
        return
    raise ApiError(
        403, "forbidden", f"role {caller.role if caller else 'none'} may not do this", _who_may(allowed)
    )


def _who_may(allowed: frozenset[str]) -> str:
    return "roles that may: " + ", ".join(sorted(allowed))


def note(scope: Scope, *, reason: str = "", **detail: str | int) -> None:
    """Add to this call's line in the audit log."""
    line = scope["state"].setdefault("audit", {"reason": "", "detail": {}})
    line["reason"] = reason or line["reason"]
    line["detail"].update(
        {name: value[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in detail.items()}
    )


class Gate:
    """ASGI wrapper around the whole application.

    An answer leaves only after its line stands in the audit log; if that cannot be written the caller is told
    ``audit_failed`` (503) instead of the answer. Health checks and the schema are not logged.
    """

    def __init__(self, app: ASGIApp, console: Console) -> None:
        self._app = app
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        token = bearer(scope)
        caller = (
            await anyio.to_thread.run_sync(who, self._console.store, token, self._console.clock())
            if token
            else None
        )
        scope["state"].update(caller=caller, token=token, console=self._console)
        audited = _Audited(self._console, scope, send)
        path = scope["path"]
        if caller is None and not public(scope["method"], path):
            await audited.refuse(401, Problem("not_signed_in", "no session, or it is over", "sekisho login"))
            return
        if path in UNLOGGED:
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, audited)


class _Audited:
    """A ``send`` that writes the audit line before the first byte of the answer."""

    def __init__(self, console: Console, scope: Any, send: Send) -> None:
        self._console = console
        self._scope = scope
        self._send = send
        self._broken = False

    async def __call__(self, message: Message) -> None:
        if self._broken:
            return
        if message["type"] == "http.response.start" and not await self._log(message["status"]):
            self._broken = True
            await self._answer(
                503, Problem("audit_failed", "the audit log could not be written", "tell IT staff")
            )
            return
        await self._send(message)

    async def refuse(self, status: int, problem: Problem) -> None:
        """Answer by ourselves, with a line in the log."""
        if not await self._log(status):
            status, problem = (
                503,
                Problem("audit_failed", "the audit log could not be written", "tell IT staff"),
            )
        await self._answer(status, problem)

    async def _log(self, status: int) -> bool:
        try:
            await anyio.to_thread.run_sync(self._write, status)
        except (SQLAlchemyError, OSError, ValueError) as error:
            log_failure("audit_failed", error)
            return False
        return True

    def _write(self, status: int) -> None:
        scope = self._scope
        caller: Caller | None = scope["state"].get("caller")
        line = scope["state"].get("audit", {"reason": "", "detail": {}})
        query = scope["query_string"].decode("latin-1")[:_LONGEST_TEXT]
        detail = {**({"query": query} if query else {}), **line["detail"]}
        with self._console.store.write() as session:
            audit.record(
                session,
                time_us=self._console.clock(),
                operator=caller.name if caller else "",
                role=caller.role if caller else "",
                method=scope["method"][:8],
                path=scope["path"][:_LONGEST_TEXT],
                status=status,
                reason=line["reason"][:_LONGEST_TEXT],
                detail=detail,
            )

    async def _answer(self, status: int, problem: Problem) -> None:
        body = msgspec.json.encode(problem)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 401:  # noqa: PLR2004
            headers.append((b"www-authenticate", b"Bearer"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
