"""What runs inside the machines of the testbed; standard library only, ``python3 -S inside.py COMMAND …``.

Times are CLOCK_MONOTONIC in ns, which all namespaces of a machine share. Answers are JSON on standard output.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable

WARM_UP = 100
PAUSE_S = 0.001
"""Between two tries: a person's programs do not connect in a tight loop, and the agent gets to its work meanwhile."""
SETTLE_S = 0.4
"""Between an order that was verified and the next: the flood runs freely again, or its last packets are through."""


def connects(address: str, port: str, count: str) -> None:
    """Connect so many times over TCP; says how long each connect() took."""
    took = []
    for _ in range(WARM_UP + int(count)):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        begin = time.monotonic_ns()
        client.connect((address, int(port)))
        took.append(time.monotonic_ns() - begin)
        client.recv(64)
        client.close()
        time.sleep(PAUSE_S)
    print(json.dumps(took[WARM_UP:]))


def starts(program: str, count: str) -> None:
    """Start a program so many times and wait for its end; says how long each took."""
    took = []
    for _ in range(WARM_UP + int(count)):
        begin = time.monotonic_ns()
        os.waitpid(os.posix_spawn(program, [program], {}), 0)
        took.append(time.monotonic_ns() - begin)
        time.sleep(PAUSE_S)
    print(json.dumps(took[WARM_UP:]))


def flood(address: str, port: str, per_second: str) -> None:
    """Send UDP packets until standard input ends; what is refused is tried again, with a new socket if need be."""
    pause = 1 / int(per_second)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            out.sendto(b"x" * 64, (address, int(port)))
        except PermissionError:
            pass
        except OSError:  # isolation destroys sockets
            out.close()
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        time.sleep(pause)


def sink(address: str, port: str) -> None:
    """Receive UDP until standard input ends; says when each packet came."""
    inlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inlet.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    inlet.bind((address, int(port)))
    print("ready", flush=True)
    came = []
    while True:
        ready = select.select([inlet, sys.stdin], [], [])[0]
        if inlet in ready:
            inlet.recv(2048)
            came.append(time.monotonic_ns())
        if sys.stdin in ready:
            break
    print(json.dumps(came))


def orders(port: str) -> None:
    """Post signed orders one after the other; says for each when it was posted and when it was verified.

    Standard input: ``{"login": {…}, "orders": [{"id": …, "body": …}]}``.
    """
    task = json.load(sys.stdin)
    api = http.client.HTTPConnection("127.0.0.1", int(port), timeout=40)
    headers = {"content-type": "application/json"}

    def call(method: str, path: str, body: str | None = None) -> dict[str, str]:
        api.request(method, f"/api/v1{path}", body, headers)
        answer = api.getresponse()
        content = answer.read()
        if answer.status >= 400:
            sys.exit(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        return dict(json.loads(content))

    headers["authorization"] = "Bearer " + call("POST", "/sessions", json.dumps(task["login"]))["token"]
    done = []
    for order in task["orders"]:
        posted = time.monotonic_ns()
        state = call("POST", "/orders", order["body"])["state"]
        while state not in {"verified", "failed", "refused", "unreachable"}:
            state = call("GET", f"/orders/{order['id']}?wait_s=20")["state"]
        done.append({"id": order["id"], "posted": posted, "ended": time.monotonic_ns(), "state": state})
        time.sleep(SETTLE_S)
    print(json.dumps(done))


COMMANDS: dict[str, Callable[..., None]] = {
    "connects": connects,
    "starts": starts,
    "flood": flood,
    "sink": sink,
    "orders": orders,
}

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        COMMANDS[sys.argv[1]](*sys.argv[2:])
