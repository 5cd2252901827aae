"""Signing in and out, who am I, and whether the service is well."""

from __future__ import annotations

import anyio.to_thread
from litestar import delete, get, post
from litestar.params import JSONBody
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from collector.console.accounts import is_operator, sign_in, sign_out
from collector.console.gate import note
from collector.console.problems import ApiError
from collector.console.routes.common import Call, Text, caller_of, console_of
from collector.desk.release import current_release
from collector.desk.trust import trust_in_force
from collector.isolation.preview import ONLINE_US
from collector.registers.models import Agent


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """Name and password of an operator."""

    name: Text
    password: Text


class SignedIn(Struct, frozen=True):
    """``token`` is sent as ``Authorization: Bearer``; it ends at ``expires_us`` whatever happens."""

    token: str
    expires_us: int
    operator: str
    role: str
    section: str


class Me(Struct, frozen=True):
    """The caller and the installation."""

    operator: str
    role: str
    section: str
    person_id: str
    sees_people: bool
    city: str


class Health(Struct, frozen=True):
    """``ok`` or ``degraded``; ``problems`` are stable codes. Counts tell nothing about people or PCs."""

    status: str
    problems: tuple[str, ...]
    hosts: int
    online: int
    generation: int


@post("/sessions", status_code=201, sync_to_thread=True)
def open_session(request: Call, data: JSONBody[Login]) -> SignedIn:
    """Sign in. 401 ``wrong_password``, 429 ``locked`` with ``Retry-After``."""
    console = console_of(request)
    if is_operator(console.store, data.name):
        note(request.scope, account=data.name)  # any other text may be a password in the wrong field
    token, ends, caller = sign_in(console.store, data.name, data.password, console.clock())
    request.scope["state"]["caller"] = caller
    return SignedIn(token, ends, caller.name, caller.role, caller.section)


@delete("/sessions", status_code=204, sync_to_thread=True)
def close_session(request: Call) -> None:
    """Sign out: the token is worthless from now on."""
    sign_out(console_of(request).store, request.scope["state"]["token"])


@get("/me", sync_to_thread=True)
def me(request: Call) -> Me:
    """Who calls."""
    caller = caller_of(request)
    with console_of(request).store.read() as session:
        city = trust_in_force(session).city
    return Me(caller.name, caller.role, caller.section, caller.person_id, caller.sees_people, city)


@get("/health")
async def health(request: Call) -> Health:
    """Whether the API can read and the installation is complete. 503 ``unhealthy`` when the database cannot be read."""
    try:
        return await anyio.to_thread.run_sync(_health, request)
    except (SQLAlchemyError, OSError) as error:
        raise ApiError(
            503, "unhealthy", "the control database cannot be read", "see the collector's log"
        ) from error


def _health(request: Call) -> Health:
    console = console_of(request)
    since = console.clock() - ONLINE_US
    problems = []
    with console.store.read() as session:
        hosts = session.scalar(select(func.count()).select_from(Agent).where(Agent.status == "active")) or 0
        online = session.scalar(
            select(func.count())
            .select_from(Agent)
            .where(Agent.status == "active", Agent.last_seen_us > since)
        )
        release = current_release(session)
    if release is None:
        problems.append("no_policy_released")
    if not console.layout.policy.exists():
        problems.append("site_file_missing")
    status = "degraded" if problems else "ok"
    return Health(status, tuple(problems), hosts, online or 0, release.generation if release else 0)


HANDLERS = (open_session, close_session, me, health)
