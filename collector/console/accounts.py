"""Operator accounts and their sessions.

Passwords: argon2id at the library's RFC 9106 low-memory profile (64 MiB, 3 passes, 4 lanes). A sign-in is counted as failed
*before* the password is checked and cleared after, so guesses sent at once cannot outrun the lock. From the third
failure on each one doubles the wait, up to a quarter of an hour.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from typing import get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DbSession

from collector.console.problems import ApiError
from collector.console.roles import Caller, Role
from collector.registers.models import Operator, Session
from collector.registers.store import Store
from protocol.refusal import RefusedError

SESSION_US = 8 * 3600 * 1_000_000
"""A working day; a session is not prolonged by use."""
FREE_FAILURES, LONGEST_WAIT_S = 2, 900
SHORTEST_PASSWORD = 12
TOKEN_BYTES = 32
QUEUE_S = 5
"""A sign-in waits no longer than this for its turn, so that a flood of them leaves threads for others."""

hasher = PasswordHasher()
_at_once = threading.BoundedSemaphore(2)
"""Each check takes 64 MiB."""
_nobody = ""


def add_operator(
    session: DbSession,
    name: str,
    password: str,
    role: str,
    *,
    now_us: int,
    section: str = "",
    person_id: str | None = None,
) -> Operator:
    """Make an account. Raises RefusedError ``already_there`` or ``bad_value`` (role, name, password, section)."""
    if not name or session.get(Operator, name) is not None:
        raise RefusedError(
            "already_there" if name else "bad_value", f"operator name {name!r} is taken or empty"
        )
    if role not in get_args(Role):
        raise RefusedError("bad_value", f"role {role!r} is none of {', '.join(get_args(Role))}")
    if role == "section_head" and not section:
        raise RefusedError("bad_value", "a section head needs a section")
    row = Operator(
        name=name,
        person_id=person_id,
        role=role,
        section=section,
        password_hash=hash_password(password),
        active=True,
        failures=0,
        locked_until_us=0,
        created_us=now_us,
    )
    session.add(row)
    session.flush()
    return row


def hash_password(password: str) -> str:
    """Hash a new password. Raises RefusedError ``bad_value`` when it is too short."""
    if len(password) < SHORTEST_PASSWORD:
        raise RefusedError("bad_value", f"the password is shorter than {SHORTEST_PASSWORD} characters")
    with _at_once:
        return hasher.hash(password)


def wait_s(failures: int) -> int:
    """Seconds an account is shut after its ``failures``-th failure in a row."""
    over = failures - FREE_FAILURES
    return 0 if over <= 0 else min(LONGEST_WAIT_S, 1 << min(over, 20))


def sign_in(store: Store, name: str, password: str, now_us: int) -> tuple[str, int, Caller]:
    """Open a session; returns (bearer token, end in µs, caller).

    Raises ApiError 401 ``wrong_password`` (also for an unknown or closed account: which one is not told), 429
    ``locked``, 503 ``overloaded``.
    """
    stored = _count_attempt(store, name, now_us)
    if not _matches(stored, password):
        raise ApiError(
            401, "wrong_password", "name or password is wrong", "after three failures each one waits longer"
        )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    ends = now_us + SESSION_US
    with store.write() as session:
        session.execute(delete(Session).where(Session.expires_us <= now_us))
        row = session.get_one(Operator, name)
        row.failures, row.locked_until_us = 0, 0
        session.add(Session(token_hash=_token_hash(token), operator=name, created_us=now_us, expires_us=ends))
        return token, ends, _caller(row)


def is_operator(store: Store, name: str) -> bool:
    """Whether there is such an account."""
    with store.read() as session:
        return session.get(Operator, name) is not None


def _count_attempt(store: Store, name: str, now_us: int) -> str:
    """Count the attempt as failed and return the password hash ("" for nobody). Raises ApiError 429 when shut."""
    with store.write() as session:
        row = session.get(Operator, name)
        if row is None or not row.active:
            return _nobody
        if now_us < row.locked_until_us:
            left = -(-(row.locked_until_us - now_us) // 1_000_000)
            raise ApiError(429, "locked", f"too many failures; shut for {left} s", "wait", retry_after_s=left)
        row.failures += 1
        row.locked_until_us = now_us + wait_s(row.failures) * 1_000_000
        return row.password_hash


def _matches(stored: str, password: str) -> bool:
    """Check in the same time whether or not the account exists."""
    if not _at_once.acquire(timeout=QUEUE_S):
        raise ApiError(
            503, "overloaded", "too many sign-ins at once", "try again in a moment", retry_after_s=QUEUE_S
        )
    try:
        if not stored:
            hasher.hash(password)
            return False
        return hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
    finally:
        _at_once.release()


def sign_out(store: Store, token: str) -> None:
    """End a session; an unknown token is no error."""
    with store.write() as session:
        session.execute(delete(Session).where(Session.token_hash == _token_hash(token)))


def who(store: Store, token: str, now_us: int) -> Caller | None:
    """Whose token this is; None when unknown, over, or the account was closed."""
    with store.read() as session:
        query = (
            select(Operator)
            .join(Session, Session.operator == Operator.name)
            .where(Session.token_hash == _token_hash(token), Session.expires_us > now_us, Operator.active)
        )
        row = session.scalar(query)
        return _caller(row) if row else None


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _caller(row: Operator) -> Caller:
    return Caller(row.name, row.role, row.section, row.person_id or "")
