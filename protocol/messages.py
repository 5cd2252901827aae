"""Messages of the three lanes: enrol 7460, control 7461, data 7462.

A frame is one MessagePack map tagged ``type``. Each side has one table of what it takes on which lane, how large, and
nothing else is decoded. The sender is the key ZAP authenticated, never a field.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

from protocol.signed import Signed

VERSION = 1
Lane = Literal["enrol", "control", "data"]
Role = Literal["agent", "collector"]
Name = Annotated[str, Meta(max_length=256)]
Detail = Annotated[str, Meta(max_length=2000)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
"""A database holds 64 bits with sign, MessagePack 64 without: what does not fit is refused where it arrives."""
Micros = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
ZERO_DIGEST = bytes(32)


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all messages; ``version`` is the protocol's."""

    version: int = VERSION


# -- enrol lane ------------------------------------------------------------------------------------------------------


class EnrolRequest(Message, frozen=True, kw_only=True, tag="enrol"):
    """A PC asks to join. ``proof`` is its Ed25519 signature (purpose ``enrol``) over its CURVE public key."""

    sign_key: Digest
    proof: Annotated[bytes, Meta(min_length=64, max_length=64)]
    token: Annotated[bytes, Meta(max_length=64)] = b""
    """Secret part of a one-time token; empty = wait for approval by fingerprint."""
    hostname: Name
    machine_id: Name
    os: Name = ""
    agent_version: Name = ""


class EnrolReply(Message, frozen=True, kw_only=True, tag="enrolled"):
    """Answer to a request: accepted with the trust root, or pending an approval."""

    status: Literal["accepted", "pending"]
    trust: Signed | None = None
    agent_id: Name = ""


# -- control lane ----------------------------------------------------------------------------------------------------


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Agent → collector, every 10 s with jitter."""

    time_us: Micros
    instance: Name
    """Random per process start: two at once with one key are clones."""
    machine_id: Name
    hostname: Name = ""
    agent_version: Name = ""
    zone: Name = ""
    policy_generation: Count = 0
    policy_digest: Name = ""
    spool_depth: Count = 0
    """Events not yet acknowledged."""
    spooled: Count = 0
    """Highest sequence number given out."""
    dropped: Count = 0
    health: Annotated[tuple[Name, ...], Meta(max_length=128)] = ()
    isolation: Literal["free", "isolated"] = "free"
    isolation_order: Name = ""
    controls: Annotated[dict[Name, Name], Meta(max_length=32)] = {}
    """control → enforce | observe | off | unsupported."""
    sensors: Annotated[dict[Name, Name], Meta(max_length=32)] = {}
    """sensor → running | standby | why it does not run."""
    segments: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()
    """Segments this PC could watch: network and MAC of its gateway, e.g. ``10.1.2.0/24 00:11:22:33:44:55``."""


class HeartbeatReply(Message, frozen=True, kw_only=True, tag="heartbeat_reply"):
    """Collector → agent."""

    time_us: int
    policy_generation: int = 0
    watch: tuple[Name, ...] = ()
    """Segments this PC is to watch from now on; the others it stands by for."""


class PolicyFetch(Message, frozen=True, kw_only=True, tag="policy_fetch"):
    """Agent asks for a bundle newer than ``have``."""

    have: int = 0


class PolicyBundle(Message, frozen=True, kw_only=True, tag="policy_bundle"):
    """A signed bundle; its body is zstd over ``policies.bundle.Bundle``."""

    generation: int
    document: Signed


class TrustUpdate(Message, frozen=True, kw_only=True, tag="trust_update"):
    """A new trust root, signed by the old one."""

    document: Signed


class OrderDelivery(Message, frozen=True, kw_only=True, tag="order"):
    """A signed order."""

    document: Signed


class OrderResult(Message, frozen=True, kw_only=True, tag="order_result"):
    """What became of an order on the PC; all of it measured there."""

    order_id: Name
    state: Literal["applied", "verified", "failed", "refused"]
    refusal: Name = ""
    detail: Detail = ""
    must_succeed: bool = False
    must_fail: bool = False
    sockets_destroyed: Count = 0
    latency_us: Count = 0
    time_us: Micros = 0


class Refusal(Message, frozen=True, kw_only=True, tag="refusal"):
    """The peer's message was refused by name."""

    name: Name
    detail: Detail = ""
    hint: Detail = ""
    first_seq: int = 0
    """For a refused batch."""


# -- data lane -------------------------------------------------------------------------------------------------------


class Batch(Message, frozen=True, kw_only=True, tag="batch"):
    """Events ``first_seq`` … ``first_seq + count - 1`` of the sender, without a hole.

    ``body`` is zstd over a MessagePack array of events. ``digest`` is :func:`batch_digest`; ``signature`` is the
    agent's Ed25519 signature of it (purpose ``batch``). ``prev_digest`` links to the batch before, so the batches of
    one agent form a chain that starts at 32 zero bytes.
    """

    first_seq: Annotated[int, Meta(ge=1, le=1 << 53)]
    count: Annotated[int, Meta(ge=1, le=10_000)]
    prev_digest: Digest
    digest: Digest
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    body: Annotated[bytes, Meta(max_length=4 * 1024 * 1024)]


class BatchAck(Message, frozen=True, kw_only=True, tag="ack"):
    """Everything up to ``seq`` is on the collector's disk."""

    seq: int


class RetryAfter(Message, frozen=True, kw_only=True, tag="retry_after"):
    """The collector is under load: send again from ``seq`` + 1 after this long. Not ill health."""

    ms: int
    seq: int = 0


def batch_digest(first_seq: int, count: int, prev_digest: bytes, body: bytes) -> bytes:
    """SHA-256 over first_seq (8 bytes big endian), count (4), prev_digest (32) and body."""
    return hashlib.sha256(
        first_seq.to_bytes(8, "big") + count.to_bytes(4, "big") + prev_digest + body
    ).digest()


# -- tables ----------------------------------------------------------------------------------------------------------

KIB, MIB = 1024, 1024 * 1024

LIMITS: dict[Lane, dict[type[Message], tuple[Role, int]]] = {
    "enrol": {
        EnrolRequest: ("agent", 4 * KIB),
        EnrolReply: ("collector", 64 * KIB),
        Refusal: ("collector", 8 * KIB),
    },
    "control": {
        Heartbeat: ("agent", 32 * KIB),
        PolicyFetch: ("agent", KIB),
        OrderResult: ("agent", 8 * KIB),
        HeartbeatReply: ("collector", KIB),
        PolicyBundle: ("collector", 16 * MIB),
        TrustUpdate: ("collector", 64 * KIB),
        OrderDelivery: ("collector", 16 * KIB),
        Refusal: ("collector", 8 * KIB),
    },
    "data": {
        Batch: ("agent", 4 * MIB + KIB),
        BatchAck: ("collector", KIB),
        RetryAfter: ("collector", KIB),
        Refusal: ("collector", 8 * KIB),
    },
}
"""lane → message type → (who may send it, largest frame in bytes)."""
