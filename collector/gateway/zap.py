"""Who may connect: a ZAP 1.0 handler (ZeroMQ RFC 27) for CURVE, run in the gateway's own loop.

Nothing of a peer is parsed before this said yes. The ``User-Id`` it sets is the key's fingerprint; that is the sender of
every message on the connection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import zmq

from collector.gateway.roster import Roster
from protocol.keys import fingerprint
from protocol.refusal import RefusalName

ENDPOINT = "inproc://zeromq.zap.01"
FIXED_FRAMES = 6
"""version, request id, domain, address, routing id, mechanism; credentials follow."""
KEY_BYTES = 32
REMEMBERED = 20_000
"""Keys of enrolling peers kept for their request; the oldest goes first."""


class Admission:
    """Decides by lane and key. ``enrol`` takes any key: what the peer may do there is to ask."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    def key_of(self, agent_id: str) -> bytes | None:
        """CURVE public key of a peer that connected to the enrol lane."""
        return self._keys.get(agent_id)

    def admit(self, lane: str, key: bytes) -> RefusalName | None:
        """None, or the name of the refusal."""
        agent_id = fingerprint(key)
        if lane == "enrol":
            self._keys[agent_id] = key
            self._keys.move_to_end(agent_id)
            if len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)
            return None
        if lane not in ("control", "data"):
            return "wrong_lane"
        return self._roster.refusal(agent_id, lane)


def answer(
    request: list[bytes], admit: Callable[[str, bytes], RefusalName | None]
) -> tuple[list[bytes], str, RefusalName | None]:
    """Answer one ZAP request (frames without envelope): reply frames, lane, and the refusal's name or None.

    Malformed requests (wrong version, mechanism or key length) get 500 / ``wrong_type`` as RFC 27 asks.
    """
    version, request_id, domain = [*request, b"", b"", b""][:3]
    lane = domain.decode(errors="replace")
    credentials = request[FIXED_FRAMES:]
    if version != b"1.0" or request[5:6] != [b"CURVE"] or [len(one) for one in credentials] != [KEY_BYTES]:
        return [b"1.0", request_id, b"500", b"malformed request", b"", b""], lane, "wrong_type"
    (key,) = credentials
    refusal = admit(lane, key)
    if refusal is not None:
        return [b"1.0", request_id, b"400", refusal.encode(), b"", b""], lane, refusal
    return [b"1.0", request_id, b"200", b"OK", fingerprint(key).encode(), b""], lane, None


class ZapHandler:
    """The socket libzmq asks. Must be bound before the lanes are."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        admission: Admission,
        refused: Callable[[str, RefusalName], None],
    ) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.bind(ENDPOINT)
        self._admission = admission
        self._refused = refused

    def serve(self, limit: int = 512) -> None:
        """Answer what waits, at most ``limit`` requests."""
        for _ in range(limit):
            try:
                route, empty, *request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            reply, lane, refusal = answer(request, self._admission.admit)
            self.socket.send_multipart([route, empty, *reply])
            if refusal is not None:
                self._refused(lane, refusal)
