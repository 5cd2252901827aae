"""The three ROUTER sockets and what goes in and out of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import msgspec
import zmq

from protocol.keys import CurvePair, z85
from protocol.messages import KIB, LIMITS, Lane, Message
from protocol.refusal import UNREADABLE, RefusedError
from protocol.wire import FrameReader, encode

LANES: tuple[Lane, ...] = get_args(Lane)
RECEIVE_HWM = 4
"""Messages libzmq takes in per connection before TCP pushes back: with 7 KiB batches some 28 KiB per PC."""
SEND_HWM = 64
OVER_LIMIT = 64 * KIB
"""Frames this much over the limit are still read, to be refused by name; beyond, libzmq drops the connection."""
HANDSHAKE_MS, HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS, BACKLOG = 10_000, 15_000, 45_000, 4096

Sent = Literal["sent", "gone", "full"]


class Incoming(NamedTuple):
    """One frame with who sent it (the fingerprint ZAP set), from which connection and address."""

    lane: Lane
    route: bytes
    sender: str
    address: str
    frame: bytes


class _Tag(msgspec.Struct):
    type: str


_tag = msgspec.msgpack.Decoder(_Tag)
_agent_tags = {
    str(kind.__struct_config__.tag): lane
    for lane, kinds in LIMITS.items()
    for kind, (role, _) in kinds.items()
    if role == "agent"
}


class Lanes:
    """Binds ``ports`` (lane → port, 0 = any free one) on ``addresses``. The ZAP handler must be there already."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        key: CurvePair,
        addresses: Sequence[str],
        ports: Mapping[Lane, int],
    ) -> None:
        self.sockets: dict[Lane, zmq.Socket[bytes]] = {}
        self.endpoints: dict[Lane, list[str]] = {}
        self._readers = {lane: FrameReader(lane, "agent") for lane in LANES}
        for lane in LANES:
            self.sockets[lane] = _router(context, key, lane)
            self.endpoints[lane] = [_bind(self.sockets[lane], address, ports[lane]) for address in addresses]

    def receive(self, lane: Lane) -> Incoming | None:
        """The next frame that waits on a lane. Raises RefusedError ``wrong_type`` for more than one part."""
        try:
            route, *parts = self.sockets[lane].recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if len(parts) != 1:
            raise RefusedError("wrong_type", f"a message of {len(parts)} parts on the {lane} lane")
        (frame,) = parts
        return Incoming(
            lane, route.bytes, str(frame.get("User-Id")), str(frame.get("Peer-Address")), frame.bytes
        )

    def read(self, lane: Lane, frame: bytes) -> Message:
        """Decode a frame. Raises RefusedError as ``FrameReader.read``, and ``wrong_lane``."""
        try:
            return self._readers[lane].read(frame)
        except RefusedError as error:
            if error.name != "wrong_tag":
                raise
            tag = ""
            with contextlib.suppress(*UNREADABLE):
                tag = _tag.decode(frame).type
            if tag in _agent_tags:
                raise RefusedError("wrong_lane", f"{tag} belongs on the {_agent_tags[tag]} lane") from error
            raise

    def send(self, lane: Lane, route: bytes, message: Message | bytes) -> Sent:
        """Send to one connection without waiting: ``gone`` when it is closed, ``full`` when it does not read."""
        frame = message if isinstance(message, bytes) else encode(message)
        try:
            self.sockets[lane].send_multipart([route, frame], zmq.NOBLOCK, copy=len(frame) < 16 * KIB)
        except zmq.Again:
            return "full"
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return "gone"
        return "sent"


def _router(context: zmq.Context[zmq.Socket[bytes]], key: CurvePair, lane: Lane) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    largest = max(size for role, size in LIMITS[lane].values() if role == "agent")
    options = {
        zmq.CURVE_SERVER: 1,
        zmq.ZAP_ENFORCE_DOMAIN: 1,
        zmq.ROUTER_MANDATORY: 1,
        zmq.MAXMSGSIZE: largest + OVER_LIMIT,
        zmq.RCVHWM: RECEIVE_HWM,
        zmq.SNDHWM: SEND_HWM,
        zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
        zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
        zmq.HEARTBEAT_TIMEOUT: HEARTBEAT_TIMEOUT_MS,
        zmq.BACKLOG: BACKLOG,
        zmq.TCP_KEEPALIVE: 1,
        zmq.LINGER: 0,
    }
    for option, value in options.items():
        socket.setsockopt(option, value)
    socket.setsockopt(zmq.CURVE_SECRETKEY, z85(key.secret))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, z85(key.public))
    socket.setsockopt(zmq.ZAP_DOMAIN, lane.encode())
    return socket


def _bind(socket: zmq.Socket[bytes], address: str, port: int) -> str:
    """Bind and return the endpoint; ``*`` is IPv6 with IPv4, or IPv4 alone where the kernel has no IPv6."""
    where = f"[{address}]" if ":" in address else address
    endpoint = f"tcp://{where}:{port or '*'}"
    six = address == "*" or ":" in address
    socket.setsockopt(zmq.IPV6, int(six))
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if address == "*" and error.errno != zmq.EADDRINUSE:
            socket.setsockopt(zmq.IPV6, 0)
            socket.bind(endpoint)
        elif error.errno == zmq.EADDRINUSE:
            raise RefusedError(
                "already_there",
                f"port {port} of {address} is in use",
                "stop the other process, or choose another port",
            ) from error
        else:
            raise RefusedError(
                "bad_value", f"cannot listen on {endpoint}: {error}", "check collector.toml"
            ) from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)
