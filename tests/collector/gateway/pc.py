"""A PC as the gateway sees it: its keys, its three sockets, its chain of batches. And a gateway to talk to."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import zmq
import zstandard
from msgspec.structs import replace
from sqlalchemy import select

from collector import bus
from collector.config import Config, Layout, read_curve_key
from collector.evidence.reader import JournalReader
from collector.gateway.lanes import LANES
from collector.gateway.service import Gateway, ports_of
from collector.init import Admin, Plan, set_up
from collector.registers.models import Agent, Finding, Release
from collector.registers.store import Store, now_us, open_store
from collector.registers.tokens import issue_token
from protocol.events import ConnectionOpened, encode_event, join_encoded
from protocol.keys import CurvePair, SignPair, fingerprint, new_curve_pair, new_sign_pair, z85
from protocol.messages import (
    ZERO_DIGEST,
    Batch,
    EnrolRequest,
    Heartbeat,
    Lane,
    Message,
    batch_digest,
)
from protocol.signed import Signed, seal, signing_input
from protocol.trust import OrderKey
from protocol.wire import FrameReader, encode

T = TypeVar("T")
DEADLINE_S = 10.0
PASSWORD = "correct horse battery staple"
DAY_US = 86_400_000_000


def eventually(probe: Callable[[], T | Literal[False] | None], seconds: float = DEADLINE_S) -> T:
    """Wait until ``probe`` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        if value := probe():
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def free_ports() -> dict[Lane, int]:
    """Ports nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in LANES]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return dict(zip(LANES, ports, strict=True))


class City:
    """A set-up collector: keys, data directory, store."""

    def __init__(self, data: Path) -> None:
        self.layout = Layout(data)
        self.root, self.policy, self.ciso = new_sign_pair(), new_sign_pair(), new_sign_pair()
        plan = Plan(
            data=data,
            city="試験市",
            ordinances=("nagoya",),
            addresses=("127.0.0.1",),
            root=self.root,
            policy_keys=(self.policy.public,),
            order_keys=(OrderKey(self.ciso.public, "ciso", "CISO"),),
            ports=free_ports(),
            config=Config(bind=("127.0.0.1",), min_free_mib=0),
            admin=Admin("admin", PASSWORD),
        )
        self.trust = set_up(plan, now_us())
        self.curve = read_curve_key(self.layout)

    def copy(self, data: Path) -> City:
        """The same collector in another directory: setting up hashes a password, which takes its time."""
        shutil.copytree(self.layout.data, data)
        other = copy.copy(self)
        other.layout = Layout(data)
        return other

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The control database."""
        store = open_store(self.layout.control)
        try:
            yield store
        finally:
            store.close()

    def release(self, generation: int, ring: str = "", *, body: bytes = b"") -> Signed:
        """Put a signed policy in force, for all PCs or for a ring."""
        document = seal("policy", body or f"bundle {generation}".encode(), [self.policy])
        with self.store() as store, store.write() as session:
            session.add(
                Release(
                    generation=generation,
                    status="released",
                    document=msgspec.msgpack.encode(document),
                    digest="d",
                    created_us=now_us(),
                    created_by="test",
                    ring=ring,
                )
            )
        return document

    def token(self, uses: int = 1, lifetime_us: int = DAY_US, *, at_us: int | None = None) -> bytes:
        """Secret of a new enrolment token."""
        with self.store() as store, store.write() as session:
            _, secret = issue_token(
                session,
                zone="lgwan",
                section="市民課",
                uses=uses,
                lifetime_us=lifetime_us,
                created_by="test",
                now_us=at_us or now_us(),
            )
        return secret

    def known(self, pc: PC, status: str = "active", machine_id: str | None = None) -> None:
        """Put a PC into the register."""
        with self.store() as store, store.write() as session:
            session.add(
                Agent(
                    id=pc.id,
                    curve_key=pc.curve.public,
                    sign_key=pc.sign.public,
                    status=status,
                    hostname=pc.hostname,
                    machine_id=pc.machine_id if machine_id is None else machine_id,
                    enrolled_us=now_us(),
                    health=[],
                    controls={},
                )
            )

    def agent(self, pc: PC) -> Agent:
        """A PC's row."""
        with self.store() as store, store.read() as session:
            row = session.get(Agent, pc.id)
        assert row is not None
        return row


class Running:
    """A gateway in a thread of this process."""

    def __init__(self, city: City, config: Config | None = None) -> None:
        self.city = city
        config = config or Config(bind=("127.0.0.1",), min_free_mib=0)
        self.gateway = Gateway(city.layout, config, {"enrol": 0, "control": 0, "data": 0})
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.gateway.run()
        except BaseException as error:  # the test's thread reports it
            self.failure = error
            raise

    def endpoint(self, lane: Lane) -> str:
        return self.gateway.lanes.endpoints[lane][0]

    def knows(self, agent_id: str) -> None:
        """Wait until the gateway has what the register says of a PC; nothing for one it does not know."""
        with self.city.store() as store, store.read() as session:
            row = session.get(Agent, agent_id)
        if row is None:
            return

        def told() -> bool:
            self.poke("agents")
            member = self.gateway.roster.get(agent_id)
            return member is not None and member.status == row.status

        eventually(told)

    def poke(self, what: bus.What) -> None:
        """Poke the gateway as the API does."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        outlet = bus.outlet(context, self.city.layout.run, "gateway")
        outlet.setsockopt(zmq.LINGER, 1000)
        bus.poke(outlet, what)
        outlet.close()

    def refused(self, key: str) -> int:
        """How often ``lane/name`` was refused."""
        return self.gateway.stats.refused[key]

    def stop(self) -> None:
        self.gateway.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self.failure is None


@contextmanager
def running(city: City, config: Config | None = None) -> Iterator[Running]:
    """A gateway over ``city`` while the block runs."""
    gateway = Running(city, config)
    try:
        yield gateway
    finally:
        gateway.stop()


class Process:
    """A gateway in a process of its own, as the supervisor starts it."""

    def __init__(self, city: City) -> None:
        self.city = city
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [sys.executable, "-m", "collector.child", "gateway", "--data", str(self.city.layout.data)]
        self._process = subprocess.Popen([*argv, "--parent", str(os.getpid())])

    def kill(self) -> None:
        """SIGKILL: nothing is finished."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        assert self._end(signal.SIGTERM) == 0

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(DEADLINE_S)
        self._process = None
        return code

    def endpoint(self, lane: Lane) -> str:
        return f"tcp://127.0.0.1:{ports_of(self.city.trust)[lane]}"

    def knows(self, _agent_id: str) -> None:
        """It reads the register when it starts."""


class PC:
    """One PC; sockets are made at first use."""

    def __init__(self, city: City, hostname: str = "pc", machine_id: str = "") -> None:
        self.city, self.hostname = city, hostname
        self.curve: CurvePair = new_curve_pair()
        self.sign: SignPair = new_sign_pair()
        self.machine_id = machine_id or self.id[:16]
        self.instance = "first"
        self.seq, self.digest = 0, ZERO_DIGEST
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.sockets: dict[Lane, zmq.Socket[bytes]] = {}

    @property
    def id(self) -> str:
        return fingerprint(self.curve.public)

    def twin(self, hostname: str, *, machine_id: str = "", instance: str = "second") -> PC:
        """A copy of this PC: same keys, same chain, sockets of its own."""
        other = PC(self.city, hostname, machine_id or self.machine_id)
        other.curve, other.sign, other.instance = self.curve, self.sign, instance
        other.machine_id = machine_id or self.machine_id
        other.seq, other.digest = self.seq, self.digest
        return other

    def connect(self, gateway: Running | Process, *lanes: Lane, source: str = "") -> PC:
        gateway.knows(self.id)
        for lane in lanes or ("control", "data"):
            if lane in self.sockets:
                self.sockets.pop(lane).close()
            made = self.context.socket(zmq.DEALER)
            made.setsockopt(zmq.LINGER, 0)
            made.setsockopt(zmq.RECONNECT_IVL, 20)
            made.setsockopt(zmq.SNDTIMEO, int(DEADLINE_S * 1000))
            made.setsockopt(zmq.CURVE_SERVERKEY, z85(self.city.curve.public))
            made.setsockopt(zmq.CURVE_PUBLICKEY, z85(self.curve.public))
            made.setsockopt(zmq.CURVE_SECRETKEY, z85(self.curve.secret))
            endpoint = gateway.endpoint(lane)
            made.connect(endpoint.replace("tcp://", f"tcp://{source}:0;") if source else endpoint)
            self.sockets[lane] = made
        return self

    def close(self) -> None:
        for one in self.sockets.values():
            one.close()
        self.sockets.clear()

    def send(self, lane: Lane, message: Message | bytes) -> None:
        frame = message if isinstance(message, bytes) else encode(message)
        self.sockets[lane].send(frame)

    def receive(self, lane: Lane, seconds: float = DEADLINE_S) -> Any:
        """The next message, or None."""
        if not self.sockets[lane].poll(int(seconds * 1000)):
            return None
        return FrameReader(lane, "collector").read(self.sockets[lane].recv())

    def ask(self, lane: Lane, message: Message | bytes) -> Any:
        """Send and return the answer."""
        self.send(lane, message)
        return self.receive(lane)

    def expect(self, lane: Lane, kind: type[T], seconds: float = DEADLINE_S) -> T:
        """The next message of this type; others are passed over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self.receive(lane, left)
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    # -- messages ----------------------------------------------------------------------------------------------------

    def enrolment(self, token: bytes = b"") -> EnrolRequest:
        return EnrolRequest(
            sign_key=self.sign.public,
            proof=self.sign.sign(signing_input("enrol", self.curve.public)),
            token=token,
            hostname=self.hostname,
            machine_id=self.machine_id,
        )

    def beat(self, **fields: Any) -> Heartbeat:
        beat = Heartbeat(
            time_us=now_us(), instance=self.instance, machine_id=self.machine_id, hostname=self.hostname
        )
        return replace(beat, **fields)

    def batch(self, count: int = 3, *, skip: int = 0, body: bytes | None = None) -> Batch:
        """The next batch of the chain, after ``skip`` numbers that were given up."""
        first = self.seq + skip + 1
        body = events(first, count) if body is None else body
        made = sign_batch(self.sign, first, count, self.digest, body)
        self.seq, self.digest = first + count - 1, made.digest
        return made


def sign_batch(pair: SignPair, first: int, count: int, prev: bytes, body: bytes) -> Batch:
    digest = batch_digest(first, count, prev, body)
    return Batch(
        first_seq=first,
        count=count,
        prev_digest=prev,
        digest=digest,
        signature=pair.sign(signing_input("batch", digest)),
        body=body,
    )


def events(first: int, count: int) -> bytes:
    """A batch body of ``count`` connections."""
    made = [
        encode_event(ConnectionOpened(time_us=now_us(), dest_ip="10.2.0.1", dest_port=443, pid=seq))
        for seq in range(first, first + count)
    ]
    return zstandard.compress(join_encoded(made), 3)


def stored(city: City, pc: PC) -> list[tuple[int, int]]:
    """(first, count) of what the journal holds of a PC, in order."""
    reader = JournalReader(city.layout.journal)
    rows = reader.read_after(0, 100_000)
    reader.close()
    return [(row.first_seq, row.count) for row in rows if row.agent_id == pc.id]


def findings(city: City, name: str = "") -> list[Finding]:
    """Findings so far."""
    with city.store() as store, store.read() as session:
        rows = session.scalars(select(Finding).order_by(Finding.id)).all()
    return [row for row in rows if name in ("", row.name)]
