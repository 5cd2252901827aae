r"""Signed documents: the exact bytes that were signed travel with their signatures, so nothing is re-encoded to verify.

What is signed is ``b"sekisho/" + purpose + b"\0" + body``: a signature for one purpose is worth nothing for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from protocol.keys import SignPair, fingerprint, verify
from protocol.refusal import UNREADABLE, RefusedError

T = TypeVar("T")

Purpose = Literal["trust", "policy", "order", "batch", "enrol"]


class Signature(Struct, frozen=True):
    """One signature: fingerprint of the key, and 64 bytes."""

    key_id: Annotated[str, Meta(max_length=64)]
    value: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Signed(Struct, frozen=True):
    """A document body with its signatures."""

    body: bytes
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=8)] = ()


def signing_input(purpose: Purpose, body: bytes) -> bytes:
    """Bytes that are signed for ``purpose``."""
    return b"sekisho/" + purpose.encode() + b"\0" + body


def seal(purpose: Purpose, body: bytes, pairs: Iterable[SignPair]) -> Signed:
    """Sign ``body`` with every pair."""
    data = signing_input(purpose, body)
    return Signed(body, tuple(Signature(fingerprint(pair.public), pair.sign(data)) for pair in pairs))


def signers(purpose: Purpose, document: Signed, keys: Mapping[str, bytes]) -> list[str]:
    """Fingerprints out of ``keys`` (fingerprint → public key) that validly signed, each once, in order.

    Raises RefusedError: ``unsigned`` without any signature, ``foreign`` when none is by a key of ours,
    ``bad_signature`` when one by a key of ours does not verify.
    """
    if not document.signatures:
        raise RefusedError("unsigned", f"{purpose} document carries no signature")
    data = signing_input(purpose, document.body)
    good: list[str] = []
    for signature in document.signatures:
        public = keys.get(signature.key_id)
        if public is None:
            continue
        if not verify(public, data, signature.value):
            raise RefusedError(
                "bad_signature", f"{purpose} document: signature of key {signature.key_id} is wrong"
            )
        if signature.key_id not in good:
            good.append(signature.key_id)
    if not good:
        raise RefusedError(
            "foreign", f"{purpose} document is signed only by keys that are not in our trust root"
        )
    return good


def read_body(type_: type[T], document: Signed) -> T:
    """Decode a body that was verified. Raises RefusedError ``malformed_body``."""
    try:
        return msgspec.msgpack.decode(document.body, type=type_)
    except UNREADABLE as error:
        raise RefusedError("malformed_body", f"{type_.__name__}: {error}") from error
