"""A policy for one PC, hosts that answer, and what gets through to them."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - sockets want it, and after setuid it may not be readable
import os
import select
import socket
from collections.abc import Iterator

from policies.model import Assignment, Bundle, Citation, Destination, Permit, Scope, Setting, Subject, Zone
from policies.view import PolicyView
from tests.netns import Lan


def view(
    net: Lan,
    mode: str = "enforce",
    fail: str = "closed",
    *,
    allow: tuple[Destination, ...] | None = None,
    permits: tuple[Permit, ...] = (),
) -> PolicyView:
    """A policy that lets the PC of zone z talk to "friend" only."""
    friends = (Destination(net.ip4("friend")), Destination(net.ip6("friend")))
    bundle = Bundle(
        city="test",
        generation=1,
        issued_us=0,
        expires_us=2**62,
        ordinances=(),
        rules=(),
        permits=permits,
        zones=(Zone(name="z", title_ja="z", title_en="z", allow=friends if allow is None else allow),),
        settings={"connections": {"z": Setting(mode, fail)}},  # type: ignore[arg-type]
        assignments={"pc": Assignment("z")},
    )
    return PolicyView(bundle, "0" * 64, "pc")


def permit(network: str, *, users: tuple[str, ...] = (), until_us: int = 2**62) -> Permit:
    return Permit(
        id="p1",
        kind="destination",
        subject=Subject(network=network),
        scope=Scope(users=users),
        from_us=0,
        until_us=until_us,
        article=Citation("meguro", "第1条"),
    )


def serve() -> Iterator[str]:
    """Accept TCP at 443, echo UDP at 53, both families; for ever."""
    poller, open_ = select.poll(), {}
    for family, place in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind, port in ((socket.SOCK_STREAM, 443), (socket.SOCK_DGRAM, 53)):
            one = socket.socket(family, kind)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((place, port))
            if kind == socket.SOCK_STREAM:
                one.listen(64)
            open_[one.fileno()] = one
            poller.register(one, select.POLLIN)
    yield "ready"
    kept = []
    while True:
        for descriptor, _ in poller.poll():
            one = open_[descriptor]
            if one.type == socket.SOCK_STREAM:
                kept.append(one.accept())
            else:
                data, sender = one.recvfrom(100)
                one.sendto(data, sender)


def reaches(address: str, uid: int = 0) -> tuple[bool, bool, bool]:
    """(TCP, UDP, ping) to an address, as a user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(uid)
        raw = _ping_socket(address)
        os.setuid(uid)
        os.write(writer, bytes([_tcp(address), _udp(address), _ping(raw, address)]))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    result = os.read(reader, 3)
    os.close(reader)
    return bool(result[0]), bool(result[1]), bool(result[2])


def _tcp(address: str) -> bool:
    try:
        socket.create_connection((address, 443), timeout=0.25).close()
    except OSError:
        return False
    return True


def _udp(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.25)
        try:
            one.sendto(b"x", (address, 53))
            return one.recv(9) == b"x"
        except OSError:
            return False


def _ping_socket(address: str) -> socket.socket:
    six = ":" in address
    return socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)


def _ping(raw: socket.socket, address: str) -> bool:
    echo = b"\x80\0\0\0\0\7\0\1" if ":" in address else b"\x08\0\xf7\xf7\0\7\0\1"
    raw.settimeout(0.25)
    try:
        raw.sendto(echo, (address, 0))
        return len(raw.recv(100)) > 0
    except OSError:
        return False


YES, NO = (True, True, True), (False, False, False)
