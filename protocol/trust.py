"""The trust root: which keys a PC believes, and where its collector is.

It changes only by a document with a higher serial that the *current* root key signed (DESIGN §4).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.keys import SignPair, fingerprint
from protocol.refusal import RefusedError
from protocol.signed import Signed, read_body, seal, signers

Role = Literal["ciso", "deputy", "csirt"]
Name = Annotated[str, Meta(max_length=256)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]


class OrderKey(Struct, frozen=True):
    """A key that may sign orders, and for whom."""

    key: Key
    role: Role
    holder: Name


class TrustRoot(Struct, frozen=True, kw_only=True):
    """What an agent pins. ``collector_key`` is the CURVE key of the sockets; addresses are literal IPs."""

    city: Name
    serial: Annotated[int, Meta(ge=1)]
    root_key: Key
    collector_key: Key
    policy_keys: Annotated[tuple[Key, ...], Meta(min_length=1, max_length=8)]
    order_keys: Annotated[tuple[OrderKey, ...], Meta(min_length=1, max_length=16)]
    order_signatures: Annotated[int, Meta(ge=1, le=4)] = 1
    """How many different order keys must have signed; 2 = co-signer required."""
    addresses: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)]
    """IP addresses of the collector, v4 or v6."""
    enrol_port: int = 7460
    control_port: int = 7461
    data_port: int = 7462


def sign_root(root: TrustRoot, key: SignPair) -> Signed:
    """Seal a trust root with the (current) root key."""
    return seal("trust", msgspec.msgpack.encode(root), [key])


def first_root(document: Signed, root_fingerprint: str) -> TrustRoot:
    """Accept the first root: it must be self-signed by the key whose fingerprint the enrolment token named.

    Raises RefusedError (``foreign``, ``bad_signature``, ``unsigned``, ``malformed_body``).
    """
    root = read_body(TrustRoot, document)
    if fingerprint(root.root_key) != root_fingerprint:
        raise RefusedError(
            "foreign", "the trust root is not the one the token names", "ask IT staff for a new token"
        )
    signers("trust", document, {root_fingerprint: root.root_key})
    return root


def next_root(current: TrustRoot, document: Signed) -> TrustRoot:
    """Accept a change of trust: signed by the current root key, same city, higher serial."""
    signers("trust", document, {fingerprint(current.root_key): current.root_key})
    root = read_body(TrustRoot, document)
    if root.city != current.city:
        raise RefusedError("foreign", f"trust root of {root.city}, this PC belongs to {current.city}")
    if root.serial <= current.serial:
        raise RefusedError("older_generation", f"trust root {root.serial} is not newer than {current.serial}")
    return root
