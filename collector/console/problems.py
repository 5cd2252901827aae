"""The one error shape of the API: ``{"name", "detail", "hint"}``, whatever went wrong and wherever.

``name`` is stable and what a program looks at; ``detail`` says what and where; ``hint`` what to do next.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from sqlalchemy.exc import OperationalError, StatementError

from collector.desk.site import SiteError
from policies.granting import PermitError
from protocol.refusal import RefusedError

log = logging.getLogger("sekisho.api")

REFUSAL_STATUS: dict[str, int] = {
    "not_found": 404,
    "already_there": 409,
    "replayed": 409,
    "stale": 409,
    "wrong_state": 409,
    "older_generation": 409,
    "untested": 409,
    "self_approval": 403,
    "role_missing": 403,
    "foreign": 403,
    "unsigned": 403,
    "bad_signature": 403,
    "oversized": 413,
    "overloaded": 503,
    "disk_full": 507,
    "corrupt": 500,
}
"""HTTP status of a named refusal; every other one is 422."""

PERMIT_STATUS: dict[str, int] = {"self_approval": 403, "role_not_named": 403, "not_permittable": 403}
"""HTTP status of a permit that may not be granted; every other one is 422."""

HTTP_NAMES: dict[int, str] = {
    400: "bad_request",
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "oversized",
    415: "wrong_type",
    429: "locked",
    503: "overloaded",
}


class Problem(msgspec.Struct, frozen=True):
    """Body of every answer that is not a success."""

    name: str
    detail: str
    hint: str = ""


class ApiError(Exception):
    """A call that the API itself refuses."""

    def __init__(
        self, status: int, name: str, detail: str, hint: str = "", *, retry_after_s: int = 0
    ) -> None:
        super().__init__(f"{name}: {detail}")
        self.status = status
        self.problem = Problem(name, detail, hint)
        self.retry_after_s = retry_after_s


def problem_of(error: Exception) -> tuple[int, Problem]:
    """HTTP status and body for anything that can be raised under a route; the unforeseen tells nothing of itself."""
    if isinstance(error, ApiError):
        return error.status, error.problem
    if isinstance(error, RefusedError):
        return REFUSAL_STATUS.get(error.name, 422), Problem(error.name, error.detail, error.hint)
    if isinstance(error, PermitError):
        return PERMIT_STATUS.get(error.name, 422), Problem(error.name, error.detail, error.hint)
    if isinstance(error, SiteError):
        return 422, Problem("bad_site_file", str(error), "mend policy.yaml on the collector and try again")
    if isinstance(error, HTTPException):
        return error.status_code, _http_problem(error)
    if isinstance(error, OperationalError):
        return 503, Problem("overloaded", "the control database is busy", "try again in a moment")
    return 500, Problem(
        "internal", "the collector made a mistake; its log has the trace", "tell IT staff the time"
    )


def _http_problem(error: HTTPException) -> Problem:
    status = error.status_code
    name = HTTP_NAMES.get(status, HTTPStatus(status).name.lower())
    extras = error.extra if isinstance(error.extra, list) else []
    wrong = [
        f"{extra.get('key', 'body')}: {extra.get('message', '')}"
        for extra in extras
        if isinstance(extra, dict)
    ]
    return Problem(
        name,
        "; ".join([error.detail or HTTPStatus(status).phrase, *wrong]),
        "GET /schema describes each call",
    )


def log_failure(event: str, error: Exception) -> None:
    """Log an unforeseen error with its trace, without local variables or SQL parameters: those hold people's data."""
    if isinstance(error, StatementError):
        error.hide_parameters = True
    log.error(event, exc_info=error)


def answer_problem(_request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Litestar's exception handler for everything."""
    status, problem = problem_of(error)
    if status == 500:  # noqa: PLR2004
        log_failure("api_error", error)
    headers = (
        {"retry-after": str(error.retry_after_s)}
        if isinstance(error, ApiError) and error.retry_after_s
        else {}
    )
    if status == 401:  # noqa: PLR2004
        headers["www-authenticate"] = "Bearer"
    return Response(problem, status_code=status, media_type=MediaType.JSON, headers=headers)
