"""A policy release on the wire: signed, compressed, refused by name when anything is wrong with it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import Any

import msgspec
import zstandard

from policies.addresses import parse_address, parse_network
from policies.model import Bundle
from protocol.keys import SignPair, fingerprint
from protocol.refusal import UNREADABLE, RefusedError
from protocol.signed import Signed, seal, signers

MAX_BYTES = 64 << 20
"""Most bytes a bundle may unpack to; a frame holds 16 MiB packed."""
_LEVEL = 9


def bundle_digest(document: Signed) -> str:
    """SHA-256, hex, of the signed bytes: the name of this release on every event."""
    return hashlib.sha256(document.body).hexdigest()


def seal_bundle(bundle: Bundle, pairs: Iterable[SignPair]) -> Signed:
    """Pack and sign a release with the policy keys."""
    plain = msgspec.msgpack.encode(bundle, order="deterministic")
    return seal("policy", zstandard.ZstdCompressor(level=_LEVEL).compress(plain), pairs)


def open_bundle(
    document: Signed, policy_keys: Iterable[bytes], *, city: str, newer_than: int = 0, now_us: int
) -> tuple[Bundle, str]:
    """Accept a release; returns it with its digest.

    ``policy_keys`` are the raw public keys of the trust root. ``newer_than`` is the generation in force, 0 to take any.
    To load the last good release from disk, whose age does not matter, pass ``now_us=0``.

    Raises RefusedError: ``unsigned``, ``foreign`` (key or city), ``bad_signature``, ``malformed_body``, ``expired``,
    ``older_generation``. Nothing is unpacked before the signature was verified.
    """
    signers("policy", document, {fingerprint(key): key for key in policy_keys})
    bundle = _decode(document.body)
    if bundle.city != city:
        raise RefusedError("foreign", f"policy of {bundle.city}, this PC belongs to {city}")
    if now_us >= bundle.expires_us:
        late = (now_us - bundle.expires_us) // 1_000_000
        raise RefusedError(
            "expired", f"policy {bundle.generation} ended {late} s ago", "publish it again; check the clock"
        )
    if bundle.generation <= newer_than:
        raise RefusedError("older_generation", f"policy {bundle.generation} is not newer than {newer_than}")
    return bundle, bundle_digest(document)


def _decode(body: bytes) -> Bundle:
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)) as reader:
            plain = reader.read(MAX_BYTES + 1)
        if len(plain) > MAX_BYTES:
            raise RefusedError("malformed_body", f"policy unpacks to more than {MAX_BYTES} bytes")
        bundle = msgspec.msgpack.decode(plain, type=Bundle)
    except (zstandard.ZstdError, *UNREADABLE) as error:
        raise RefusedError("malformed_body", f"policy: {error}") from error
    if wrong := contradiction(bundle):
        raise RefusedError("malformed_body", f"policy {bundle.generation}: {wrong}")
    return bundle


def contradiction(bundle: Bundle) -> str:
    """The first thing in a bundle that contradicts itself or cannot be read; empty = none."""
    for what, entries in (("rule", bundle.rules), ("permit", bundle.permits)):
        ids = [entry.id for entry in entries]
        if len(ids) != len(set(ids)):
            return f"two {what}s with one id"
    known = {rule.id for rule in bundle.rules} | {one.id for one in bundle.correlations}
    if len(known) != len(bundle.rules) + len(bundle.correlations):
        return "two rules with one id"
    for correlation in bundle.correlations:
        if missing := set(correlation.rules) - known:
            return f"correlation {correlation.id} is about {', '.join(sorted(missing))}, which is not there"
    if twice := _named_twice(bundle):
        return twice
    for zone in bundle.zones:
        if bad := _unreadable((*zone.networks, *(to.network for to in zone.allow))):
            return f"zone {zone.name}: not a network: {bad}"
        for address in (*zone.gateways, *zone.resolvers):
            if parse_address(address) is None:
                return f"zone {zone.name}: not an address: {address!r}"
    for permit in bundle.permits:
        if permit.until_us <= permit.from_us:
            return f"permit {permit.id} ends before it begins"
        named = permit.subject.name and not permit.subject.network
        if permit.kind == "destination" and not named and (bad := _unreadable([permit.subject.network])):
            return f"permit {permit.id}: not a network: {bad}"
    return ""


def _named_twice(bundle: Bundle) -> str:
    named = {
        "zones": [zone.name for zone in bundle.zones],
        "places": [place.name for place in bundle.places],
        "labels": [label.name for label in bundle.labels],
        "accounts": [account.user for account in bundle.accounts],
    }
    return next(
        (f"two {what} with one name" for what, names in named.items() if len(names) > len(set(names))), ""
    )


def _unreadable(networks: Iterable[Any]) -> str | None:
    for text in networks:
        try:
            parse_network(text)
        except ValueError:
            return repr(text)
    return None
