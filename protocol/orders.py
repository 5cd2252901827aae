"""Isolation orders: signed documents that a PC verifies by itself against the pinned order keys (DESIGN §8)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.keys import SignPair, fingerprint
from protocol.refusal import RefusedError
from protocol.signed import Signed, read_body, seal, signers
from protocol.trust import TrustRoot

Name = Annotated[str, Meta(max_length=256)]
CODE_GROUPS, CODE_GROUP = 5, 4
CODE_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class Ground(Struct, frozen=True):
    """The article that allows the cut, e.g. ``meguro`` / ``第18条``."""

    ordinance: Name
    article: Name


class Order(Struct, frozen=True, kw_only=True):
    """One order for one PC. Times are UTC µs.

    ``valid_until_us`` is when delivery lapses (a stale order is refused); ``expires_us`` is when a carried-out
    isolation ends by itself, 0 = until restored. ``release_hash`` is :func:`hash_code` of the one-time code that lifts
    this isolation on the PC without a network.
    """

    order_id: Name
    kind: Literal["isolate", "restore"]
    city: Name
    issuer: Name
    target: Name
    ground: Ground
    incident: Name = ""
    reason: Annotated[str, Meta(max_length=2000)]
    issued_us: int
    valid_until_us: int
    expires_us: int = 0
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    release_hash: Annotated[bytes, Meta(max_length=32)] = b""
    restores: Name = ""
    """For ``restore``: the isolation order it lifts."""


def new_code() -> str:
    """A one-time release code: 20 characters (100 bits) in groups that can be read out over the telephone."""
    groups = ("".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_GROUP)) for _ in range(CODE_GROUPS))
    return "-".join(groups)


def hash_code(order_id: str, code: str) -> bytes:
    """What the order carries of a code: SHA-256 over order id and code, dashes and case ignored.

    A plain hash is enough: the code has 100 random bits.
    """
    plain = code.replace("-", "").replace(" ", "").upper()
    return hashlib.sha256(f"sekisho/release\0{order_id}\0{plain}".encode()).digest()


def sign_order(order: Order, pairs: Iterable[SignPair]) -> Signed:
    """Seal an order with the issuer's key and, where asked, a co-signer's."""
    return seal("order", msgspec.msgpack.encode(order), pairs)


def verify_order(document: Signed, root: TrustRoot, *, target: str, now_us: int) -> Order:
    """Accept an order for ``target``, or raise RefusedError by name.

    ``unsigned``, ``foreign``, ``bad_signature``, ``role_missing`` (too few signers), ``malformed_body``,
    ``wrong_target``, ``stale``. ``now_us`` must be the later of the PC's clock and the newest signed time it has
    seen, so that a clock set back cannot revive an old order. Replay is the caller's: it remembers order ids.
    """
    keys = {fingerprint(entry.key): entry.key for entry in root.order_keys}
    good = signers("order", document, keys)
    if len(good) < root.order_signatures:
        raise RefusedError("role_missing", f"{len(good)} of {root.order_signatures} order signatures present")
    order = read_body(Order, document)
    if order.city != root.city:
        raise RefusedError("foreign", f"order of {order.city}, this PC belongs to {root.city}")
    if order.target != target:
        raise RefusedError("wrong_target", f"order {order.order_id} is for {order.target}")
    if now_us > order.valid_until_us:
        late = (now_us - order.valid_until_us) // 1_000_000
        raise RefusedError(
            "stale", f"order {order.order_id} lapsed {late} s ago", "issue it again; check the PC clock"
        )
    return order
