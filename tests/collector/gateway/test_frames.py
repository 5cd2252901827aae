"""Frames that must not get in: refused by name and counted, and nobody else notices."""

import random
from collections.abc import Callable

import msgspec
import pytest
import zmq

from collector.registers.agents import set_status
from protocol.messages import LIMITS, BatchAck, HeartbeatReply, Lane, PolicyFetch, Refusal
from protocol.wire import encode
from tests.collector.gateway.pc import PC, City, Running, eventually

New = Callable[..., PC]


@pytest.mark.parametrize("lane", ["control", "data"])
@pytest.mark.parametrize("status", ["", "pending", "revoked"])
def test_who_is_not_active_cannot_connect(gateway: Running, new_pc: New, lane: Lane, status: str) -> None:
    name = "revoked_key" if status == "revoked" else "unknown_key"
    pc = new_pc(status=status).connect(gateway, lane)
    eventually(lambda: gateway.refused(f"{lane}/{name}"))
    # libzmq gives the connection up: there is nothing to send on.
    eventually(lambda: not pc.sockets[lane].poll(0, zmq.POLLOUT))


def good_batch(pc: PC) -> bytes:
    return encode(pc.batch())


FRAMES: list[tuple[str, Lane, Callable[[PC], bytes], str]] = [
    ("cut off", "data", lambda pc: good_batch(pc)[:-5], "truncated"),
    ("empty", "data", lambda _: b"", "truncated"),
    ("not MessagePack", "control", lambda _: b"\xc1\xc1", "truncated"),
    ("a number", "control", lambda _: b"\x05", "wrong_type"),
    ("no type", "control", lambda _: msgspec.msgpack.encode({"instance": "x"}), "wrong_type"),
    ("unknown type", "control", lambda _: msgspec.msgpack.encode({"type": "shell"}), "wrong_tag"),
    ("a collector's message", "control", lambda _: encode(HeartbeatReply(time_us=1)), "wrong_tag"),
    ("a batch on control", "control", good_batch, "wrong_lane"),
    ("a heartbeat on data", "data", lambda pc: encode(pc.beat()), "wrong_lane"),
    ("an enrolment on control", "control", lambda pc: encode(pc.enrolment()), "wrong_lane"),
    ("a field of another type", "control", lambda _: msgspec.msgpack.encode({"type": "policy_fetch", "have": "x"}), "wrong_type"),
    ("too large for its type", "control", lambda _: encode(PolicyFetch(have=1)) + bytes(2048), "truncated"),
    ("a heartbeat too large", "control", lambda pc: encode(pc.beat(health=("x" * 256,) * 128, controls={"y" * 200 + str(i): "z" * 256 for i in range(32)})), "oversized"),
    ("larger than the lane takes", "control", lambda pc: bytes(LIMITS["control"][type(pc.beat())][1] + 1), "oversized"),
    ("another protocol version", "control", lambda _: msgspec.msgpack.encode({"type": "policy_fetch", "version": 2}), "version"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lane", "make", "name"), [case[1:] for case in FRAMES], ids=[case[0] for case in FRAMES]
)
def test_a_bad_frame_is_refused_by_name_and_others_go_on(
    gateway: Running, new_pc: New, lane: Lane, make: Callable[[PC], bytes], name: str
) -> None:
    bad, good = new_pc("bad").connect(gateway), new_pc("good").connect(gateway)
    answer = bad.ask(lane, make(bad))
    assert isinstance(answer, Refusal)
    assert answer.name == name
    assert gateway.refused(f"{lane}/{name}") == 1
    assert isinstance(good.ask("control", good.beat()), HeartbeatReply)
    assert isinstance(good.ask("data", good.batch()), BatchAck)
    # The same connection may go on, too.
    assert isinstance(bad.ask("control", bad.beat()), HeartbeatReply)


def test_a_message_of_several_parts_is_refused(gateway: Running, new_pc: New) -> None:
    pc = new_pc().connect(gateway)
    pc.sockets["control"].send_multipart([encode(pc.beat()), b"more"])
    eventually(lambda: gateway.refused("control/wrong_type"))
    assert isinstance(pc.ask("control", pc.beat()), HeartbeatReply)


def test_far_too_large_a_frame_ends_only_its_own_connection(gateway: Running, new_pc: New) -> None:
    bad, good = new_pc("bad").connect(gateway), new_pc("good").connect(gateway)
    bad.send("control", bytes(4 * 1024 * 1024))
    assert isinstance(good.ask("control", good.beat()), HeartbeatReply)
    assert bad.receive("control", 0.3) is None


def test_two_thousand_random_frames(gateway: Running, new_pc: New) -> None:
    """Noise, and good frames with bytes changed, on all lanes; then the gateway serves as before."""
    dice = random.Random(7)
    pc, good = new_pc("fuzz").connect(gateway, "enrol", "control", "data"), new_pc("good").connect(gateway)
    # All frames are of an earlier place in the chain, so that a lucky one cannot be stored as a new batch.
    samples: dict[Lane, bytes] = {
        "enrol": encode(pc.enrolment()),
        "control": encode(pc.beat()),
        "data": encode(pc.batch()),
    }
    for number in range(2000):
        lane = dice.choice(list(samples))
        frame = bytearray(dice.randbytes(dice.randint(0, 300)) if number % 2 else samples[lane])
        for _ in range(dice.randint(1, 4)):
            if frame:
                frame[dice.randrange(len(frame))] = dice.randrange(256)
        pc.send(lane, bytes(frame))
        while pc.sockets[lane].poll(0):
            pc.sockets[lane].recv()
    refused = gateway.gateway.stats.refused
    eventually(lambda: refused.total() > 1800)
    assert isinstance(good.ask("control", good.beat()), HeartbeatReply)
    assert isinstance(good.ask("data", good.batch()), BatchAck)


def test_a_name_in_a_message_is_only_a_label(city: City, gateway: Running, new_pc: New) -> None:
    """The sender is the key: claiming the other PC's name and machine id changes nothing for the other PC."""
    victim, liar = new_pc("victim").connect(gateway), new_pc("liar").connect(gateway)
    victim.ask("control", victim.beat())
    assert victim.ask("data", victim.batch(5)).seq == 5
    liar.ask("control", liar.beat(hostname="victim", spooled=99))
    assert liar.ask("data", liar.batch(2)).seq == 2
    eventually(lambda: city.agent(liar).hostname == "victim")
    assert (city.agent(victim).spooled, city.agent(liar).spooled) == (0, 99)
    # A batch the victim signed is worth nothing on the liar's connection.
    refusal = liar.ask("data", victim.batch(1))
    assert (refusal.name, refusal.first_seq) == ("bad_signature", 6)


def test_revoking_takes_effect_on_open_connections(city: City, gateway: Running, new_pc: New) -> None:
    pc = new_pc().connect(gateway)
    pc.ask("control", pc.beat())
    assert pc.ask("data", pc.batch()).seq == 3
    with city.store() as store, store.write() as session:
        set_status(session, pc.id, "revoked")
    eventually(lambda: isinstance(pc.ask("control", pc.beat()), Refusal))
    refusal = pc.ask("data", pc.batch())
    assert refusal.name == "revoked_key"
    assert city.agent(pc).stored <= 3


def test_what_is_sent_without_curve_is_never_read(gateway: Running) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(gateway.endpoint("enrol"))
    socket.send(b"hello")
    assert socket.poll(300) == 0
    assert gateway.gateway.stats.refused.total() == 0
    socket.close()
