"""A PC, a collector and somebody else on one switch; orders signed by a city of the test's own."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.enforcers.isolation import IsolationEnforcer
from agent.platform import Platform
from protocol.events import Event
from protocol.keys import SignPair, new_curve_pair, new_sign_pair
from protocol.messages import OrderResult
from protocol.orders import Ground, Order, sign_order
from protocol.signed import Signed
from protocol.trust import OrderKey, TrustRoot, sign_root
from tests.netns import Lan

AGENT = "a" * 32
NOW = time.time_ns() // 1000
PORTS = (7460, 7461, 7462)


def serve() -> Iterator[str]:
    """Accept TCP on the collector's ports and 443, echo UDP on 53; for ever."""
    poller, listeners = select.poll(), {}
    for family, place in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for port in (*PORTS, 443):
            one = socket.socket(family, socket.SOCK_STREAM)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((place, port))
            one.listen(64)
            listeners[one.fileno()] = one
        one = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((place, 53))
        listeners[one.fileno()] = one
    for descriptor in listeners:
        poller.register(descriptor, select.POLLIN)
    yield "ready"
    kept = []
    while True:
        for descriptor, _ in poller.poll():
            one = listeners[descriptor]
            if one.type == socket.SOCK_STREAM:
                kept.append(one.accept())
            else:
                data, sender = one.recvfrom(100)
                one.sendto(data, sender)


class City:
    """Keys of a city and orders by them."""

    def __init__(self, addresses: tuple[str, ...], **changes: Any) -> None:
        self.root_key, self.ciso = new_sign_pair(), new_sign_pair()
        self.root = TrustRoot(
            city="test",
            serial=1,
            root_key=self.root_key.public,
            collector_key=new_curve_pair().public,
            policy_keys=(new_sign_pair().public,),
            order_keys=(OrderKey(self.ciso.public, "ciso", "CISO"),),
            addresses=addresses,
            **changes,
        )

    def order(self, id: str, kind: str = "isolate", *, by: SignPair | None = None, **changes: Any) -> Signed:
        body = {
            "order_id": id,
            "kind": kind,
            "city": "test",
            "issuer": "CISO",
            "target": AGENT,
            "ground": Ground("meguro", "第18条"),
            "reason": "test",
            "issued_us": NOW,
            "valid_until_us": NOW + 3600_000_000,
            "nonce": os.urandom(16),
        }
        return sign_order(Order(**{**body, **changes}), [by or self.ciso])


class Pc:
    """The enforcer inside the namespace of the test's PC."""

    def __init__(self, net: Lan, state: Path, **changes: Any) -> None:
        self.net = net
        self.addresses = (net.ip4("collector"), net.ip6("collector"))
        self.city = City(self.addresses, **changes)
        self.platform = Platform(state=state, run=state)
        self.enforcer = IsolationEnforcer(self.platform)

    def again(self) -> IsolationEnforcer:
        """A new process would make everything anew."""
        self.enforcer = IsolationEnforcer(Platform(state=self.platform.state, run=self.platform.state))
        return self.enforcer

    def execute(self, document: Signed, now_us: int = NOW) -> OrderResult:
        return self.enforcer.execute(document, self.city.root, AGENT, now_us)

    def reach(self, host: str, port: int = 443) -> dict[str, bool]:
        """What gets through to a host: TCP and UDP over IPv4 and IPv6."""
        return {
            "tcp4": tcp(self.net.ip4(host), port),
            "tcp6": tcp(self.net.ip6(host), port),
            "udp4": udp(self.net.ip4(host)),
            "udp6": udp(self.net.ip6(host)),
        }


ALL = dict.fromkeys(("tcp4", "tcp6", "udp4", "udp6"), True)
NONE = dict.fromkeys(ALL, False)


def tcp(address: str, port: int, timeout: float = 0.3) -> bool:
    try:
        socket.create_connection((address, port), timeout=timeout).close()
    except OSError:
        return False
    return True


def udp(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.3)
        try:
            one.sendto(b"x", (address, 53))
            return one.recv(10) == b"x"
        except OSError:
            return False


def seal_garbage(city: City) -> Signed:
    from protocol.signed import seal

    return seal("order", b"\xc1garbage", [city.ciso])


def enrol(pc: Pc) -> None:
    """Let the PC have its trust root on disk, as after enrolment."""
    from agent.identity import Identity, Target
    from protocol.keys import fingerprint

    document = sign_root(pc.city.root, pc.city.root_key)
    target = Target(pc.city.root.collector_key, fingerprint(pc.city.root.root_key))
    Identity.load_or_make(pc.platform.state).pin(document, target)


def wait_read(enforcer: IsolationEnforcer, fileno: int, timeout: float = 5) -> list[Event]:
    events: list[Event] = []
    deadline = time.monotonic() + timeout
    while not events and (left := deadline - time.monotonic()) > 0:
        if select.select([fileno], [], [], left)[0]:
            events = enforcer.read(fileno)
    return events
