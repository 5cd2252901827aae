"""How the collector's processes poke each other: "look at the database", never a command with content.

PUSH/PULL over ``ipc://`` in the data directory's ``run/`` (0700). A lost poke costs nothing: every process also looks
once a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import zmq

What = Literal["orders", "policy", "agents", "trust", "batches", "findings", "registers"]
Who = Literal["gateway", "detector"]


def address(run: Path, who: Who) -> str:
    """Socket address of a process's poke inlet."""
    return f"ipc://{run / who}.poke"


def inlet(context: zmq.Context[zmq.Socket[bytes]], run: Path, who: Who) -> zmq.Socket[bytes]:
    """Bind the socket on which ``who`` is poked."""
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, 1000)
    socket.bind(address(run, who))
    return socket


def outlet(context: zmq.Context[zmq.Socket[bytes]], run: Path, who: Who) -> zmq.Socket[bytes]:
    """Connect a socket to poke ``who``."""
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, 1000)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(address(run, who))
    return socket


def poke(socket: zmq.Socket[bytes], what: What) -> None:
    """Poke without ever waiting."""
    try:
        socket.send(what.encode(), zmq.NOBLOCK)
    except zmq.Again:
        return
