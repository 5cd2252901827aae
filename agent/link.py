"""The sockets of the control and data lanes: DEALERs with CURVE to the pinned collector key."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from protocol.keys import CurvePair, z85
from protocol.messages import MIB, Lane, Message
from protocol.trust import TrustRoot
from protocol.wire import encode

RECONNECT_MS, RECONNECT_MAX_MS = 500, 15_000
KEEPALIVE_IDLE_S = 60
FRAME_MAX: dict[Lane, int] = {"control": 32 * MIB, "data": MIB}
"""Above this libzmq ends the connection by itself; below, the FrameReader refuses by name."""


class Link:
    """One connection to one address of the collector; opened and closed as a whole."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: CurvePair) -> None:
        self._context, self._keys = context, keys
        self._lanes: dict[Lane, zmq.Socket[bytes]] = {}
        self._monitor: zmq.Socket[bytes] | None = None

    def open(self, root: TrustRoot, address: str) -> None:
        """Start connecting; whether it succeeds shows when something comes back."""
        host = f"[{address}]" if ":" in address else address
        self._lanes["control"] = self._dealer(
            "control", f"tcp://{host}:{root.control_port}", root.collector_key
        )
        self._lanes["data"] = self._dealer("data", f"tcp://{host}:{root.data_port}", root.collector_key)
        self._monitor = self._lanes["control"].get_monitor_socket(zmq.Event.HANDSHAKE_FAILED_AUTH)

    def _dealer(self, lane: Lane, endpoint: str, collector_key: bytes) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.ipv6 = True
        dealer.immediate = True  # nothing is queued for a collector that is not there
        dealer.maxmsgsize = FRAME_MAX[lane]
        dealer.reconnect_ivl, dealer.reconnect_ivl_max = RECONNECT_MS, RECONNECT_MAX_MS
        dealer.tcp_keepalive, dealer.tcp_keepalive_idle = 1, KEEPALIVE_IDLE_S
        dealer.curve_serverkey = z85(collector_key)
        dealer.curve_publickey, dealer.curve_secretkey = z85(self._keys.public), z85(self._keys.secret)
        dealer.connect(endpoint)
        return dealer

    def close(self) -> None:
        """Close all sockets; what was not sent is gone."""
        if self._monitor is not None:
            self._lanes["control"].disable_monitor()
            self._monitor.close()
            self._monitor = None
        for dealer in self._lanes.values():
            dealer.close()
        self._lanes.clear()

    def send(self, lane: Lane, message: Message) -> bool:
        """Send one message; False when the lane takes nothing now."""
        try:
            self._lanes[lane].send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def wait(self, wake: int, timeout_s: float, *, blocked: set[Lane]) -> None:
        """Wait for a frame, a denial, the descriptor ``wake``, or a ``blocked`` lane to take something again."""
        poller = zmq.Poller()
        poller.register(wake, zmq.POLLIN)
        if self._monitor is not None:
            poller.register(self._monitor, zmq.POLLIN)
        for lane, dealer in self._lanes.items():
            poller.register(dealer, zmq.POLLIN | (zmq.POLLOUT if lane in blocked else 0))
        poller.poll(max(0, int(timeout_s * 1000) + 1))

    def frames(self) -> Iterator[tuple[Lane, list[bytes]]]:
        """What has arrived; control before data."""
        for lane, dealer in list(self._lanes.items()):
            while True:
                try:
                    parts = dealer.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                yield lane, parts

    def denied(self) -> bool:
        """Whether the collector refused our key since the last call (ZAP status 400)."""
        denied = False
        while self._monitor is not None and self._monitor.poll(0):
            self._monitor.recv_multipart()
            denied = True
        return denied
