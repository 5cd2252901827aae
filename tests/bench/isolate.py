"""Isolation: from the operator's API call to the last packet of the isolated PC that a peer outside still sees."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from collector.operator.keyfile import load_key
from collector.operator.ordering import make_order
from protocol.keys import SignPair, fingerprint
from protocol.orders import Ground, Order, new_code, sign_order
from tests.bench.figures import last_before, percentile
from tests.bench.hall import PYTHON, Hall
from tests.e2e.testbed.cityhall import CLOUD_V4
from tests.e2e.testbed.installation import ADMIN, PASSWORD
from tests.e2e.testbed.machine import wait_for

ROUNDS = 20
PORT, PER_SECOND = "53", "5000"
API_PORT = "7480"
DAY_US = 86_400_000_000


@dataclass
class Round:
    """One cut, ns of CLOCK_MONOTONIC: when it was posted, verified; when the restore that follows was posted."""

    posted: int
    verified: int
    restored: int


def signed_pair(key: SignPair, target: str) -> list[dict[str, str]]:
    """An isolation and the restore that lifts it, as the API takes them."""
    before: dict[str, Any] = {
        "city": "試験市",
        "radius": {"host_id": target},
        "signers": [{"key_id": fingerprint(key.public), "holder": "CISO"}],
        "standing": "",
    }

    def order(kind: Any, standing: str) -> Order:
        return make_order(
            kind,
            {**before, "standing": standing},
            key,
            ground=Ground("nagoya", "第58条"),
            reason="bench",
            incident="",
            valid_us=DAY_US,
            code=new_code() if kind == "isolate" else "",
        )

    cut = order("isolate", "")
    lift = order("restore", cut.order_id)
    return [
        {"id": one.order_id, "body": msgspec.json.encode({"document": sign_order(one, [key])}).decode()}
        for one in (cut, lift)
    ]


def rounds_of(done: list[dict[str, Any]]) -> list[Round]:
    """Pair each isolation with the restore after it. Raises RuntimeError when one was not verified."""
    for order in done:
        if order["state"] != "verified":
            raise RuntimeError(f"order {order['id']} ended {order['state']}")
    pairs = zip(done[::2], done[1::2], strict=True)
    return [Round(cut["posted"], cut["ended"], lift["posted"]) for cut, lift in pairs]


def _cut_and_restore(hall: Hall) -> tuple[list[Round], list[int]]:
    key = load_key(hall.site.office.machine.path("/root/keys/ciso.key"), None)
    orders = [order for _ in range(ROUNDS) for order in signed_pair(key, hall.id)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    sink = hall.hall.outside.spawn([*PYTHON, "sink", CLOUD_V4, PORT], **pipes)
    assert sink.stdout is not None
    wait_for("the receiver", lambda: sink.stdout is not None and sink.stdout.readline() == "ready\n")
    flood = hall.pc.spawn([*PYTHON, "flood", CLOUD_V4, PORT, PER_SECOND], user="tanaka", **pipes)
    try:
        task = json.dumps({"login": {"name": ADMIN, "password": PASSWORD}, "orders": orders})
        poster = hall.site.office.machine
        done = poster.run([*PYTHON, "orders", API_PORT], stdin=task, net=hall.hall.collector, timeout=300)
        flood.communicate(timeout=30)
        came, _ = sink.communicate(timeout=30)
    finally:
        for process in (flood, sink):
            process.kill()
            process.wait()
    return rounds_of(json.loads(done.stdout)), json.loads(came)


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """Milliseconds over ``ROUNDS`` cuts, orders signed beforehand, while the PC floods an allowed destination."""
    say("building a city hall")
    with Hall() as hall:
        say(f"{ROUNDS} times isolated and restored")
        rounds, came = _cut_and_restore(hall)
    cut = []
    for one in rounds:
        last = last_before(came, one.posted - DAY_US, one.restored)
        if last is None or last > one.restored - 1:
            raise RuntimeError("the flood did not reach the outside")
        cut.append(max(0.0, (last - one.posted) / 1e6))
    verified = [(one.verified - one.posted) / 1e6 for one in rounds]
    return {
        "isolate.host_p50_ms": percentile(cut, 50),
        "isolate.host_p95_ms": percentile(cut, 95),
        "isolate.host_max_ms": max(cut),
        "isolate.verified_p50_ms": percentile(verified, 50),
        "isolate.rounds": len(cut),
    }
