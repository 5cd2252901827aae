"""A collector small enough to read: real ROUTER sockets with CURVE and ZAP on loopback, no register, no store."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import zmq

from agent.mailbox import Mailbox
from protocol.keys import CurvePair, SignPair, new_curve_pair, new_sign_pair, z85
from protocol.messages import (
    Batch,
    BatchAck,
    EnrolReply,
    EnrolRequest,
    Heartbeat,
    HeartbeatReply,
    Lane,
    Message,
    PolicyBundle,
    PolicyFetch,
)
from protocol.signed import Signed
from protocol.trust import OrderKey, TrustRoot, sign_root
from protocol.wire import FrameReader, encode

M = TypeVar("M", bound=Message)
LANES: tuple[Lane, ...] = ("enrol", "control", "data")
DEADLINE_S = 15.0


@dataclass
class City:
    """The keys of one city."""

    root: SignPair = field(default_factory=new_sign_pair)
    policy: SignPair = field(default_factory=new_sign_pair)
    order: SignPair = field(default_factory=new_sign_pair)
    curve: CurvePair = field(default_factory=new_curve_pair)

    def trust(self, ports: dict[Lane, int], **changes: Any) -> TrustRoot:
        values: dict[str, Any] = {
            "city": "testcity",
            "serial": 1,
            "root_key": self.root.public,
            "collector_key": self.curve.public,
            "policy_keys": (self.policy.public,),
            "order_keys": (OrderKey(self.order.public, "ciso", "t"),),
            "addresses": ("127.0.0.1",),
            "enrol_port": ports["enrol"],
            "control_port": ports["control"],
            "data_port": ports["data"],
        }
        return TrustRoot(**{**values, **changes})


def until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Wait for a condition; fails with its name after the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {condition}")
        threading.Event().wait(0.005)
    return value


class Collector:
    """Answers heartbeats, acknowledges batches and serves a bundle. ``answers`` replaces an answer by message type."""

    def __init__(self) -> None:
        self.city = City()
        self.ports: dict[Lane, int] = {}
        self.received: list[tuple[Lane, Message]] = []
        self.frames: list[tuple[Lane, bytes]] = []
        self.answers: dict[type[Message], Callable[[Any], list[Message | bytes]]] = {}
        self.denied: set[bytes] = set()
        self.generation = 0
        self.bundle: Signed | None = None
        self.peers: dict[Lane, bytes] = {}
        self._orders: Mailbox[tuple[Lane, bytes] | None] = Mailbox()
        self._thread: threading.Thread | None = None
        self.start()

    @property
    def root(self) -> TrustRoot:
        return self.city.trust(self.ports)

    def trust(self) -> Signed:
        return sign_root(self.root, self.city.root)

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(DEADLINE_S)

    def stop(self) -> None:
        if self._thread:
            self._orders.put(None)
            self._thread.join(DEADLINE_S)
            assert not self._thread.is_alive()
            self._thread = None

    def push(self, lane: Lane, message: Message | bytes) -> None:
        """Send without being asked."""
        self._orders.put((lane, message if isinstance(message, bytes) else encode(message)))

    def of(self, kind: type[M]) -> list[M]:
        return [message for _, message in list(self.received) if isinstance(message, kind)]

    def wait_for(self, kind: type[M], count: int = 1) -> list[M]:
        found: list[M] = until(lambda: found if len(found := self.of(kind)) >= count else [])
        return found

    # -- thread ----------------------------------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        context = zmq.Context()
        zap = context.socket(zmq.REP)
        zap.bind("inproc://zeromq.zap.01")
        routers: dict[Lane, Any] = {lane: self._router(context, lane) for lane in LANES}
        readers = {lane: FrameReader(lane, "agent") for lane in LANES}
        poller = zmq.Poller()
        for one in (zap, *routers.values()):
            poller.register(one, zmq.POLLIN)
        poller.register(self._orders.fileno(), zmq.POLLIN)
        ready.set()
        try:
            while True:
                active = dict(poller.poll())
                if zap in active:
                    self._admit(zap)
                for lane, router in routers.items():
                    if router in active:
                        self._take(lane, router, readers[lane])
                for order in self._orders.take():
                    if order is None:
                        return
                    lane, frame = order
                    routers[lane].send_multipart([self.peers[lane], frame])
        finally:
            context.destroy(linger=0)

    def _router(self, context: Any, lane: Lane) -> Any:
        router = context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_secretkey = z85(self.city.curve.secret)
        router.zap_domain = b"sekisho"
        router.bind(f"tcp://127.0.0.1:{self.ports.get(lane, '*')}")
        self.ports[lane] = int(router.last_endpoint.rsplit(b":", 1)[1])
        return router

    def _admit(self, zap: Any) -> None:
        version, request, *_, key = zap.recv_multipart()
        status = [b"400", b"no"] if key in self.denied else [b"200", b"ok"]
        zap.send_multipart([version, request, *status, b"", b""])

    def _take(self, lane: Lane, router: Any, reader: FrameReader) -> None:
        peer, frame = router.recv_multipart()
        self.peers[lane] = peer
        self.frames.append((lane, frame))
        message = reader.read(frame)
        self.received.append((lane, message))
        answer = self.answers.get(type(message), self._answer)
        for reply in answer(message):
            router.send_multipart([peer, reply if isinstance(reply, bytes) else encode(reply)])

    def _answer(self, message: Message) -> list[Message | bytes]:
        match message:
            case Heartbeat():
                return [HeartbeatReply(time_us=time.time_ns() // 1000, policy_generation=self.generation)]
            case Batch():
                return [BatchAck(seq=message.first_seq + message.count - 1)]
            case PolicyFetch() if self.bundle is not None:
                return [PolicyBundle(generation=self.generation, document=self.bundle)]
            case EnrolRequest():
                return [EnrolReply(status="accepted", trust=self.trust())]
        return []


@contextmanager
def running() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.stop()
