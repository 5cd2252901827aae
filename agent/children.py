"""Short-lived children of the agent: each a process of its own, with a socket of packets on its descriptor 0."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping

REAP_S = 0.5
"""How long a killed child is waited for. One in a call that the kernel does not interrupt is reaped at the next start."""


def start(
    module: str, *arguments: str, env: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run a module; returns the child and our end of its socket, which does not block. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-m", module, *arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=env,
                cwd="/",
            )
        except BaseException:
            ours.close()
            raise
    return child, ours


def end(child: subprocess.Popen[bytes], ours: socket.socket) -> None:
    """Kill a child; it may have ended already."""
    ours.close()
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(REAP_S)
