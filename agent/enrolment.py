"""Joining a collector: one request over CURVE to the key that was named beforehand, and the trust root in return."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import zmq

from agent import VERSION
from agent.identity import Identity, Target
from protocol.keys import z85
from protocol.messages import EnrolReply, EnrolRequest, Message, Refusal
from protocol.refusal import RefusalName, RefusedError
from protocol.signed import signing_input
from protocol.text import Text
from protocol.wire import FrameReader, encode

ENROL_PORT = 7460
POLL_S = 5.0
"""How often an agent that waits for approval asks again."""

ADVICE: dict[str, Text] = {
    "token_unknown": Text(
        "このトークンは収集サーバーに登録されていません。情報システム担当に新しいトークンを依頼してください。",
        "The collector does not know this token. Ask IT staff for a new one.",
    ),
    "token_expired": Text(
        "トークンの有効期限が切れています。情報システム担当に新しいトークンを依頼してください。",
        "The token has expired. Ask IT staff for a new one.",
    ),
    "token_used_up": Text(
        "トークンの使用回数の上限に達しています。情報システム担当に新しいトークンを依頼してください。",
        "The token has been used as often as it may. Ask IT staff for a new one.",
    ),
    "revoked_key": Text(
        "この端末の鍵は失効しています。状態フォルダーを消去してから登録し直してください。",
        "This PC's key was revoked. Wipe the state folder and enrol again.",
    ),
    "quarantined_key": Text(
        "同じ鍵の端末が他にあります。状態フォルダーを消去してから登録し直してください。",
        "Another PC uses this key. Wipe the state folder and enrol again.",
    ),
    "foreign": Text(
        "収集サーバーが示した信頼の起点が、指定されたものと違います。接続先とトークンを確認してください。",
        "The trust root is not the one that was named. Check the address and the token.",
    ),
    "malformed_body": Text(
        "トークンまたは鍵の形式が正しくありません。全体をコピーし直してください。",
        "The token or key is malformed. Copy it again, whole.",
    ),
    "collector_unreachable": Text(
        "収集サーバーに接続できません。アドレス、ポート 7460、鍵を確認してください。",
        "The collector cannot be reached. Check its address, port 7460 and its key.",
    ),
    "expired": Text(
        "期限までに承認されませんでした。管理者に承認を依頼し、もう一度実行してください。",
        "Nobody approved this PC in time. Ask the administrator and run the command again.",
    ),
    "overloaded": Text(
        "収集サーバーが混み合っています。しばらくしてからもう一度実行してください。",
        "The collector is busy. Run the command again in a while.",
    ),
}
"""Refusal → what the person in front of the PC does next."""
UNADVISED = Text("情報システム担当に連絡してください。", "Tell IT staff.")


def advice(name: str) -> Text:
    """What to do about a refusal."""
    return ADVICE.get(name, UNADVISED)


def enrol(
    identity: Identity,
    target: Target,
    *,
    address: str,
    port: int = ENROL_PORT,
    deadline_s: float = 30.0,
    root: Path = Path("/"),
    progress: Callable[[float], None] = lambda _left: None,
) -> None:
    """Join the collector at ``address`` and pin its trust root.

    ``progress`` gets the seconds left whenever the collector says that approval is pending. Raises RefusedError:
    whatever the collector says, ``collector_unreachable`` without any answer until the deadline, ``expired`` when
    nobody approved, ``foreign`` / ``bad_signature`` for a root that is not the one named.
    """
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    try:
        dealer.linger = 0
        dealer.immediate = True  # a request waits for the connection here, not in a queue
        dealer.curve_serverkey = z85(target.collector_key)
        dealer.curve_publickey, dealer.curve_secretkey = (
            z85(identity.keys.curve.public),
            z85(identity.keys.curve.secret),
        )
        dealer.ipv6 = True
        dealer.connect(f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}")
        reply = _ask(dealer, encode(request(identity, target, root)), deadline_s, progress)
    finally:
        dealer.close()
        context.term()
    if reply.trust is None:
        raise RefusedError("malformed_body", "the collector accepted without a trust root")
    identity.pin(reply.trust, target)


def request(identity: Identity, target: Target, root: Path) -> EnrolRequest:
    """The request of this PC, with the proof that it holds the signing key."""
    keys = identity.keys
    return EnrolRequest(
        sign_key=keys.sign.public,
        proof=keys.sign.sign(signing_input("enrol", keys.curve.public)),
        token=target.secret,
        hostname=socket.gethostname()[:256],
        machine_id=machine_id(root),
        os=" ".join(os.uname()[:3:2])[:256],
        agent_version=VERSION,
    )


def _ask(
    dealer: zmq.Socket[bytes], frame: bytes, deadline_s: float, progress: Callable[[float], None]
) -> EnrolReply:
    """Ask until the collector accepts; a refusal ends it."""
    reader = FrameReader("enrol", "collector")
    deadline = time.monotonic() + deadline_s
    answered = False
    while (left := deadline - time.monotonic()) > 0:
        wait_ms = int(min(left, POLL_S) * 1000)
        if not dealer.poll(wait_ms, zmq.POLLOUT):
            continue
        dealer.send(frame, zmq.NOBLOCK)
        if not dealer.poll(wait_ms):
            continue
        reply = _checked(reader.read(dealer.recv()))
        if reply.status == "accepted":
            return reply
        answered = True
        progress(left)
        # Nothing comes unasked on this lane: this is the wait until the next question.
        dealer.poll(int(min(max(0.0, deadline - time.monotonic()), POLL_S) * 1000))
    if answered:
        raise RefusedError("expired", "nobody approved this PC in time")
    raise RefusedError("collector_unreachable", f"no answer within {deadline_s:.0f} s")


def _checked(message: Message) -> EnrolReply:
    if isinstance(message, Refusal):
        raise RefusedError(cast("RefusalName", message.name), message.detail, message.hint)
    if not isinstance(message, EnrolReply):
        raise RefusedError("wrong_type", f"{type(message).__name__} on the enrol lane")
    return message


def machine_id(root: Path = Path("/")) -> str:
    """The operating system's id of this installation (machine-id(5)); empty where there is none."""
    try:
        return (root / "etc/machine-id").read_text(encoding="ascii").strip()[:256]
    except (OSError, ValueError):
        return ""
