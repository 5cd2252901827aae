"""Simulated PCs: real keys, real enrolment, real CURVE connections, signed and chained batches made beforehand."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import zmq
import zstandard

from protocol import events, wire
from protocol.keys import CurvePair, SignPair, fingerprint, new_curve_pair, new_sign_pair, z85
from protocol.messages import (
    ZERO_DIGEST,
    Batch,
    BatchAck,
    EnrolReply,
    EnrolRequest,
    Message,
    batch_digest,
)
from protocol.signed import signing_input

Socket = zmq.Socket[bytes]
Zmq = zmq.Context[Socket]
BATCH = 200
WINDOW = 8
"""Batches a PC sends ahead of their acknowledgement."""


@dataclass
class Simulated:
    """One PC: its keys, its place in its chain, its frames still to send."""

    curve: CurvePair = field(default_factory=new_curve_pair)
    sign: SignPair = field(default_factory=new_sign_pair)
    next_seq: int = 1
    digest: bytes = ZERO_DIGEST
    acked: int = 0

    @property
    def agent_id(self) -> str:
        """Its identity."""
        return fingerprint(self.curve.public)

    def connect(self, context: Zmq, address: str, server: bytes) -> Socket:
        """A connection to one lane."""
        socket = context.socket(zmq.DEALER)
        socket.curve_serverkey = z85(server)
        socket.curve_publickey, socket.curve_secretkey = z85(self.curve.public), z85(self.curve.secret)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        return socket

    def frame(self, body: bytes, count: int = BATCH) -> bytes:
        """The next batch of the chain as a frame."""
        digest = batch_digest(self.next_seq, count, self.digest, body)
        batch = Batch(
            first_seq=self.next_seq,
            count=count,
            prev_digest=self.digest,
            digest=digest,
            signature=self.sign.sign(signing_input("batch", digest)),
            body=body,
        )
        self.next_seq += count
        self.digest = digest
        return wire.encode(batch)


def enrol(context: Zmq, pc: Simulated, address: str, server: bytes, secret: bytes) -> None:
    """Enrol through the collector's own lane. Raises RuntimeError when it is refused."""
    socket = pc.connect(context, address, server)
    proof = pc.sign.sign(signing_input("enrol", pc.curve.public))
    host = f"pc-{pc.agent_id[:8]}"
    request = EnrolRequest(sign_key=pc.sign.public, proof=proof, token=secret, hostname=host, machine_id=host)
    socket.send(wire.encode(request))
    if not socket.poll(10_000):
        raise RuntimeError("the collector did not answer the enrolment")
    reply = wire.FrameReader("enrol", "collector").read(socket.recv())
    socket.close()
    if not isinstance(reply, EnrolReply) or reply.status != "accepted":
        raise RuntimeError(f"enrolment refused: {reply}")


def violation(time_us: int, device_id: str) -> events.Event:
    """A strange USB stick: rule ``unknown_device``."""
    return events.DeviceAttached(
        time_us=time_us,
        zone="lgwan",
        device_id=device_id,
        device_class="storage",
        vendor_id="0951",
        product_id="1666",
        serial=device_id[:12],
        port="1-1",
    )


def ordinary(dice: random.Random, time_us: int) -> events.Event:
    """One event of an ordinary day: a program of a package, or a connection to a server of the city."""
    common: dict[str, Any] = {
        "time_us": time_us,
        "action": "allowed",
        "zone": "lgwan",
        "policy": "1:abcdef012345",
    }
    person = dice.randrange(40)
    actor: dict[str, Any] = {"pid": dice.randrange(300, 60_000), "ppid": 1}
    actor |= {"uid": 1000 + person, "user": f"user{person}"}
    if dice.random() < 0.55:
        tool = dice.randrange(300)
        return events.ProcessStarted(
            **common, **actor, exe="/usr/bin/bash", cmdline=f"tool --case {dice.randrange(10_000)}",
            target=f"/usr/bin/tool{tool}", package="coreutils", digest=f"{tool:064x}", permit="granted",
        )  # fmt: skip
    return events.ConnectionOpened(
        **common, **actor, exe="/usr/bin/soffice", protocol="tcp", src_ip="10.10.2.11",
        src_port=dice.randrange(32_768, 61_000), dest_ip=f"10.10.0.{dice.randrange(2, 40)}", dest_port=443,
        dest_zone="servers", permit="granted",
    )  # fmt: skip


def day(dice: random.Random, count: int) -> Iterator[events.Event]:
    """Ordinary events, 50 µs apart; 1 in 1,000 is a violation."""
    now_us = time.time_ns() // 1000
    for number in range(count):
        time_us = now_us + number * 50
        if dice.random() < 0.001:
            yield violation(time_us, f"{dice.getrandbits(256):064x}")
        else:
            yield ordinary(dice, time_us)


def bodies(count: int, seed: int = 1) -> list[bytes]:
    """Compressed bodies of 200 ordinary events each."""
    dice = random.Random(seed)
    compressor = zstandard.ZstdCompressor(level=3)
    made = []
    for _ in range(count):
        parts = [events.encode_event(event) for event in day(dice, BATCH)]
        made.append(compressor.compress(events.join_encoded(parts)))
    return made


class OtherAnswerError(Exception):
    """A batch was answered otherwise than with an acknowledgement; nothing here gives cause for that."""


def acknowledged(reply: Message) -> int:
    """The sequence number up to which all is stored. Raises OtherAnswerError."""
    if not isinstance(reply, BatchAck):
        raise OtherAnswerError(f"a batch was not acknowledged but: {reply}")
    return reply.seq


@dataclass
class _Sender:
    """One PC while it sends."""

    pc: Simulated
    frames: list[bytes]
    socket: Socket
    start: int
    sent: int = 0
    done: int = 0

    def push(self) -> None:
        """Fill the window."""
        while self.sent < min(len(self.frames), self.done + WINDOW):
            self.socket.send(self.frames[self.sent], copy=False)
            self.sent += 1

    def take(self, reply: Message) -> None:
        """An answer came. Raises OtherAnswerError."""
        self.pc.acked = max(self.pc.acked, acknowledged(reply))
        self.done = (self.pc.acked - self.start) // BATCH


def drive(
    context: Zmq, fleet: list[Simulated], frames: list[list[bytes]], address: str, server: bytes
) -> float:
    """Send every frame of every PC, ``WINDOW`` unacknowledged at most; returns seconds from first send to last ack.

    Raises OtherAnswerError, and TimeoutError when nothing is acknowledged for 30 s.
    """
    reader = wire.FrameReader("data", "collector")
    poller = zmq.Poller()
    senders: dict[Socket, _Sender] = {}
    for pc, mine in zip(fleet, frames, strict=True):
        socket = pc.connect(context, address, server)
        senders[socket] = _Sender(pc, mine, socket, pc.acked)
        poller.register(socket, zmq.POLLIN)
    begin = time.monotonic()
    for sender in senders.values():
        sender.push()
    left = len(senders)
    while left:
        ready = poller.poll(30_000)
        if not ready:
            raise TimeoutError(f"nothing acknowledged for 30 s; {left} PCs still wait")
        for socket, _ in ready:
            sender = senders[socket]
            sender.take(reader.read(socket.recv()))
            sender.push()
            left -= sender.done == len(sender.frames)
    took = time.monotonic() - begin
    for socket in senders:
        socket.close()
    return took
