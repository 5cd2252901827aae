"""The HTTP API: routes, guard, error shape, OpenAPI, put together. Bound to loopback; TLS is a reverse proxy's."""

from __future__ import annotations

from pathlib import Path

from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from collector.console.context import Console
from collector.console.gate import SCHEMA, Gate, role_guard
from collector.console.problems import answer_problem
from collector.console.roles import API, TABLE
from collector.console.routes import (
    alerts,
    applications,
    audit,
    backtests,
    coverage,
    events,
    explain,
    hosts,
    indicators,
    inspections,
    neighbours,
    orders,
    people,
    permit_release,
    permits,
    policy,
    registers,
    reviews,
    rings,
    sessions,
    transfers,
)

MODULES = (
    sessions,
    hosts,
    alerts,
    events,
    explain,
    people,
    permits,
    applications,
    policy,
    backtests,
    rings,
    registers,
    permit_release,
    orders,
    coverage,
    inspections,
    neighbours,
    reviews,
    indicators,
    transfers,
    audit,
)
"""Those that hold routes."""
LARGEST_BODY = 64 * 1024
"""Bytes of a request, except a policy release."""


def create_app(data: Path, console: Console | None = None) -> Litestar:
    """The API over the data directory ``data``. ``console`` is given by tests that hold the clock.

    Raises RefusedError ``version`` when the control database is not at this program's revision, and RuntimeError for a
    route that has no line in the role table (or the other way round).
    """
    console = console or Console(data)
    app = Litestar(
        [Router(API, route_handlers=[handler for module in MODULES for handler in module.HANDLERS])],
        guards=[role_guard],
        exception_handlers={Exception: answer_problem, HTTPException: answer_problem},
        request_max_body_size=LARGEST_BODY,
        on_shutdown=[console.close],
        openapi_config=_openapi(),
        logging_config=None,
        debug=False,
    )
    _check_table(app)
    # Around the router, not in Litestar's middleware: calls that match no route are audited, too.
    app.asgi_handler = Gate(app.asgi_handler, console)
    return app


def _openapi() -> OpenAPIConfig:
    bearer = SecurityScheme(type="http", scheme="bearer", description="token of POST /api/v1/sessions")
    return OpenAPIConfig(
        title="Sekisho",
        version="1",
        description="Every error is {name, detail, hint}. Times are UTC microseconds. Bytes are Base64.",
        path=SCHEMA,
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(security_schemes={"bearer": bearer}),
        security=[{"bearer": []}],
    )


def served(app: Litestar) -> set[tuple[str, str]]:
    """Every (method, path template) below ``/api``."""
    return {
        (method, route.path_format)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if route.path_format.startswith(API) and method != "OPTIONS"
    }


def _check_table(app: Litestar) -> None:
    if wrong := served(app) ^ TABLE.keys():
        raise RuntimeError(f"routes and role table differ: {sorted(wrong)}")
