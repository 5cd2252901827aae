"""Enrolment tokens: limited number, expiry, target section and zone (DESIGN §4). Only the secret's hash is kept."""

from __future__ import annotations

import base64
import hashlib
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import Token
from protocol.keys import fingerprint
from protocol.refusal import RefusedError

SECRET_BYTES = 16
PREFIX = "SKT1-"


def token_text(collector_key: bytes, root_key: bytes, secret: bytes) -> str:
    """What IT staff type on the PC: prefix and base32 of collector CURVE key (32 bytes), root fingerprint (20), secret.

    It pins the collector and the trust root, so the first contact needs no trust in the network.
    """
    raw = collector_key + base64.b32decode(fingerprint(root_key).upper()) + secret
    return PREFIX + base64.b32encode(raw).decode().rstrip("=").lower()


def issue_token(
    session: Session,
    *,
    zone: str,
    uses: int,
    lifetime_us: int,
    created_by: str,
    now_us: int,
    section: str = "",
) -> tuple[Token, bytes]:
    """Make a token; returns the row and the 16-byte secret, which is shown once. Raises RefusedError ``bad_value``."""
    if uses < 1 or lifetime_us < 1:
        raise RefusedError("bad_value", "a token needs at least one use and a lifetime")
    secret = secrets.token_bytes(SECRET_BYTES)
    row = Token(
        id=secrets.token_hex(6),
        secret_hash=hashlib.sha256(secret).digest(),
        zone=zone,
        section=section,
        uses=uses,
        uses_left=uses,
        expires_us=now_us + lifetime_us,
        created_us=now_us,
        created_by=created_by,
        revoked=False,
    )
    session.add(row)
    session.flush()
    return row, secret


def redeem(session: Session, secret: bytes, now_us: int) -> Token:
    """Use a token once; call it in the write transaction that registers the PC.

    Raises RefusedError ``token_unknown`` (also when revoked), ``token_expired``, ``token_used_up``. A secret of 128
    random bits is looked up by its hash: comparing in constant time would add nothing.
    """
    row = session.scalar(select(Token).where(Token.secret_hash == hashlib.sha256(secret).digest()))
    if row is None or row.revoked:
        raise RefusedError("token_unknown", "no such enrolment token", "ask IT staff for a new one")
    if now_us >= row.expires_us:
        raise RefusedError(
            "token_expired", f"enrolment token {row.id} has expired", "ask IT staff for a new one"
        )
    if row.uses_left < 1:
        raise RefusedError(
            "token_used_up", f"enrolment token {row.id} has no uses left", "ask IT staff for a new one"
        )
    row.uses_left -= 1
    session.flush()
    return row


def revoke_token(session: Session, token_id: str) -> Token:
    """Make a token worthless. Raises RefusedError ``not_found``."""
    row = session.get(Token, token_id)
    if row is None:
        raise RefusedError("not_found", f"no enrolment token {token_id}")
    row.revoked = True
    session.flush()
    return row


def list_tokens(session: Session) -> list[Token]:
    """All tokens, newest first."""
    return list(session.scalars(select(Token).order_by(Token.created_us.desc(), Token.id)))


def token_state(row: Token, now_us: int) -> str:
    """``usable``, or why not: ``revoked`` | ``expired`` | ``used_up``."""
    if row.revoked:
        return "revoked"
    if now_us >= row.expires_us:
        return "expired"
    return "usable" if row.uses_left else "used_up"
