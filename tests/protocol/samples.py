"""Fixed samples of everything on the wire; the golden frames are made of them."""

from __future__ import annotations

from protocol import events, messages, orders, trust
from protocol.keys import CurvePair, SignPair
from protocol.signed import Signed, seal

ROOT = SignPair(bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"), bytes(32))
COLLECTOR = CurvePair(bytes(range(32)), bytes(32))

TRUST = trust.TrustRoot(
    city="試験市",
    serial=1,
    root_key=ROOT.public,
    collector_key=COLLECTOR.public,
    policy_keys=(ROOT.public,),
    order_keys=(trust.OrderKey(ROOT.public, "ciso", "CISO"),),
    addresses=("192.0.2.1", "2001:db8::1"),
)
TRUST_DOCUMENT = trust.sign_root(TRUST, ROOT)

ORDER = orders.Order(
    order_id="o-1",
    kind="isolate",
    city="試験市",
    issuer="ciso",
    target="pc-1",
    ground=orders.Ground("meguro", "第18条"),
    reason="malware on the PC",
    issued_us=1_000_000,
    valid_until_us=2_000_000,
    nonce=bytes(16),
    release_hash=orders.hash_code("o-1", "ABCD-EFGH-JKLM-NPQR-STUV"),
)


def order_document() -> Signed:
    return orders.sign_order(ORDER, [ROOT])


EVENTS: dict[str, events.Event] = {
    tag: type_(time_us=1_700_000_000_000_000, action="observed", zone="lgwan")
    for tag, type_ in events.KINDS.items()
}
EVENTS["connection.blocked"] = events.ConnectionBlocked(
    time_us=1_700_000_000_000_001,
    action="blocked",
    permit="none",
    zone="mynumber",
    rules=("sekisho.connection.forbidden",),
    policy="12:abcdef012345",
    pid=4242,
    ppid=1,
    exe="/usr/bin/curl",
    cmdline="curl 198.51.100.7",
    uid=1000,
    user="tanaka",
    protocol="tcp",
    src_ip="10.0.0.5",
    src_port=40000,
    dest_ip="198.51.100.7",
    dest_port=443,
    dest_zone="outside",
    latency_us=720,
    attribution="sock_diag",
)
EVENTS["agent.dropped"] = events.AgentDropped(
    time_us=5, reason="spool_full", ranges=((3, 9), (12, 12)), count=8
)

_BODY = events.join_encoded([events.encode_event(EVENTS["connection.blocked"])])
_DIGEST = messages.batch_digest(1, 1, messages.ZERO_DIGEST, _BODY)

MESSAGES: dict[str, messages.Message] = {
    "enrol": messages.EnrolRequest(
        sign_key=ROOT.public,
        proof=bytes(64),
        token=bytes(16),
        hostname="pc-01",
        machine_id="m-1",
        os="Debian 12",
    ),
    "enrolled": messages.EnrolReply(status="accepted", trust=TRUST_DOCUMENT, agent_id="a" * 32),
    "heartbeat": messages.Heartbeat(
        time_us=1, instance="i", machine_id="m-1", health=("spool_full",), controls={"devices": "enforce"}
    ),
    "heartbeat_reply": messages.HeartbeatReply(time_us=2, policy_generation=7),
    "policy_fetch": messages.PolicyFetch(have=6),
    "policy_bundle": messages.PolicyBundle(generation=7, document=seal("policy", b"body", [ROOT])),
    "trust_update": messages.TrustUpdate(document=TRUST_DOCUMENT),
    "order": messages.OrderDelivery(document=order_document()),
    "order_result": messages.OrderResult(order_id="o-1", state="verified", must_succeed=True, must_fail=True),
    "refusal": messages.Refusal(name="forked_batch", detail="sequence 7", first_seq=7),
    "batch": messages.Batch(
        first_seq=1,
        count=1,
        prev_digest=messages.ZERO_DIGEST,
        digest=_DIGEST,
        signature=ROOT.sign(_DIGEST),
        body=_BODY,
    ),
    "ack": messages.BatchAck(seq=1),
    "retry_after": messages.RetryAfter(ms=250),
}
