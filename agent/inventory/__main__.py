"""The inventory child: takes one job over the socket on descriptor 0, does it under resource limits, ends.

It keeps its rights (homes are closed to others) but gains none, and dies with the agent.
"""

from __future__ import annotations

import os
import resource
import socket

from agent.inventory.job import MESSAGE_BYTES, Ended, Failed, encode, job_decoder
from agent.platform.linux import confine
from agent.small import stay_small

MEMORY, CPU_S, FILES, FILE_BYTES = 1 << 30, 1800, 64, 512 << 20
"""Bytes, seconds, descriptors; and bytes of the file it keeps digests in."""
_DETAIL = 1000


def settle_in() -> None:
    """Die with the agent; no new rights; limits. Raises OSError."""
    confine.end_with_parent()
    confine.no_new_rights()
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        confine.limit(what, most)


def main() -> None:
    """Serve one job."""
    channel = socket.socket(fileno=0)
    settle_in()
    os.umask(0o077)
    stay_small()
    from agent.inventory.look import look

    try:
        job = job_decoder.decode(channel.recv(MESSAGE_BYTES))
        os.nice(job.nice)
        look(job, lambda said: channel.sendall(encode(said)), lambda: _until_told(channel))
        said: Ended | Failed = Ended()
    except Exception as problem:  # noqa: BLE001 - whatever it is, the agent says it
        said = Failed(f"{type(problem).__name__}: {problem}"[:_DETAIL].encode("utf-8", "replace").decode())
    channel.sendall(encode(said))


def _until_told(channel: socket.socket) -> None:
    if not channel.recv(MESSAGE_BYTES):
        raise EOFError("the agent is gone")


if __name__ == "__main__":
    main()
