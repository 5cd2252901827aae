"""The operator's side of the API. httpx is imported by the first call: help, keys and files need none."""

from __future__ import annotations

import ipaddress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from collector.operator import session
from protocol.refusal import UNREADABLE

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 40
"""Longer than the longest long poll."""


class ProblemError(Exception):
    """The collector refused, or could not be asked. ``name``, ``detail``, ``hint`` as the API says them."""

    def __init__(self, name: str, detail: str, hint: str = "") -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail
        self.hint = hint


def check_url(url: str) -> None:
    """Refuse to send a password in the clear over a network. Raises ProblemError ``insecure_url`` or ``bad_value``."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ProblemError("bad_value", f"{url} is no http or https URL", "http://127.0.0.1:7480")
    if parts.scheme == "https":
        return
    try:
        near = ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        near = parts.hostname == "localhost"
    if not near:
        raise ProblemError("insecure_url", f"{url} is not encrypted", "use https, or a tunnel to 127.0.0.1")


class Api:
    """One signed-in connection. Answers are the JSON as dicts and lists (see ``collector.console.views``)."""

    def __init__(self, url: str, token: str = "") -> None:
        import httpx

        check_url(url)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # trust_env: no proxy of the environment may stand between an operator and the collector
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers=headers, timeout=TIMEOUT_S, trust_env=False
        )
        self._url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; parameters that are None or "" are left out. Raises ProblemError."""
        return self._call(
            "GET", path, {name: value for name, value in query.items() if value not in (None, "")}
        )

    def post(self, path: str, body: Any) -> Any:
        """POST a struct or map. Raises ProblemError."""
        return self._call("POST", path, {}, msgspec.json.encode(body))

    def delete(self, path: str) -> None:
        """DELETE. Raises ProblemError."""
        self._call("DELETE", path, {})

    def _call(self, method: str, path: str, query: dict[str, Any], body: bytes | None = None) -> Any:
        import httpx

        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            answer = self._http.request(method, path, params=query, content=body, headers=headers)
        except httpx.HTTPError as error:
            what = f"{self._url}: {type(error).__name__}"
            raise ProblemError(
                "collector_unreachable", what, "is sekisho-collector running? --url, SEKISHO_URL"
            ) from error
        if answer.is_success:
            return msgspec.json.decode(answer.content) if answer.content else None
        raise _problem(answer)


def _problem(answer: httpx.Response) -> ProblemError:
    try:
        body = msgspec.json.decode(answer.content, type=dict[str, str])
        return ProblemError(body["name"], body["detail"], body.get("hint", ""))
    except (*UNREADABLE, KeyError):
        return ProblemError(
            "internal", f"HTTP {answer.status_code} without a readable body", "is this a Sekisho collector?"
        )


def signed_in(url: str | None) -> Api:
    """A connection with the saved sign-in. Raises ProblemError ``not_signed_in``."""
    saved = session.load()
    wanted = session.url(url)
    if saved is None or saved.url != wanted:
        raise ProblemError("not_signed_in", f"nobody is signed in at {wanted}", "sekisho login")
    return Api(wanted, saved.token)
