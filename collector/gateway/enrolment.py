"""Whether a PC may join: pure decisions; tokens themselves are checked by ``collector.registers.tokens``."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from protocol.keys import verify
from protocol.messages import EnrolRequest
from protocol.refusal import RefusedError
from protocol.signed import signing_input

MOST_WAITING = 1000
"""PCs that may wait for approval at once: nobody fills the database by asking."""

Step = Literal["renew", "token", "wait"]
"""It is in already; take it in if the token is good; it waits for approval."""


class Known(Struct, frozen=True):
    """What is known of a key that asks."""

    status: str
    sign_key: bytes


def check_proof(curve_key: bytes, request: EnrolRequest) -> None:
    """The sender holds the signing key too. Raises RefusedError ``bad_proof``."""
    if not verify(request.sign_key, signing_input("enrol", curve_key), request.proof):
        raise RefusedError(
            "bad_proof", "the proof is not the signing key's signature of the connection's key"
        )


def decide(known: Known | None, request: EnrolRequest, *, waiting: int) -> Step:
    """What is to be done about a request.

    Raises RefusedError ``revoked_key``, ``foreign`` (same connection key, other signing key), ``overloaded`` (too many
    wait already).
    """
    if known is not None and known.status == "revoked":
        raise RefusedError(
            "revoked_key", "this key was revoked", "remove the agent's state and enrol it anew"
        )
    if known is not None and known.sign_key != request.sign_key:
        raise RefusedError(
            "foreign",
            "this key enrolled with another signing key",
            "remove the agent's state and enrol it anew",
        )
    if known is not None and known.status != "pending":
        return "renew"
    if request.token:
        return "token"
    if known is None and waiting >= MOST_WAITING:
        raise RefusedError(
            "overloaded", f"{waiting} PCs wait for approval", "use a token, or approve some first"
        )
    return "wait"
