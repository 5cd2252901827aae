"""The scan child: takes files as descriptors over the socket on descriptor 0, forks for each, tells what was found.

It has no network, no rights and no way to write a file; its forks have limits of memory and time besides, so that what
one file does to its reader ends with that file.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from types import FrameType

from agent.platform.linux import confine
from agent.scan import worker
from agent.scan.job import GRACE_S, MESSAGE_BYTES, Finding, Job, State, encode, job_decoder
from agent.scan.sink import Stop
from agent.scan.warm import warm_up

IDLE_S = 10.0
"""Without work for so long, it ends."""
_OPEN_FILES = 32
_RESULT_BYTES = 1 << 16


def give_up_rights() -> None:
    """No network, no new rights, nobody's user id; never writes a file and leaves no core. Raises OSError."""
    confine.end_with_parent()
    if os.geteuid() == 0:
        confine.without_network()
        confine.become_nobody()
        confine.end_with_parent()
    confine.no_new_rights()
    confine.untraceable()  # a fork must not trace the others
    confine.write_nothing()
    confine.limit(resource.RLIMIT_NOFILE, _OPEN_FILES)


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise Stop("too_slow")


def _work(job: Job, file: int, result: int) -> None:
    """In the fork: look at the file, write the finding, end."""
    limits = job.limits
    confine.limit(resource.RLIMIT_AS, limits.memory)
    confine.limit(resource.RLIMIT_CPU, int(limits.seconds + GRACE_S) + 1)
    confine.limit(resource.RLIMIT_NPROC, 0)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    with os.fdopen(file, "rb") as opened:
        finding = worker.examine(opened, job)
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.write(result, encode(finding))


def serve(job: Job, file: int) -> bytes:
    """Have one file looked at by a fork; returns the encoded finding."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            _work(job, file, write_end)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    os.close(file)
    try:
        data, state = _collect(read_end, job.limits.seconds + GRACE_S)
    finally:
        os.close(read_end)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return data or encode(Finding(number=job.number, state=state))


def _collect(pipe: int, seconds: float) -> tuple[bytes, State]:
    """What a fork wrote until it ended; nothing and why not, where it wrote nothing."""
    data, ends_s = b"", time.monotonic() + seconds
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while (left := ends_s - time.monotonic()) > 0:
        if not poller.poll(left * 1000):
            continue
        chunk = os.read(pipe, _RESULT_BYTES)
        if not chunk or len(data) > _RESULT_BYTES:
            # It ended without a word: out of memory in a library that cannot bear it, or a crash.
            return data, "unreadable"
        data += chunk
    return b"", "too_slow"


def main() -> None:
    """Serve until there is nothing to do, or the agent is gone."""
    warm_up()
    channel = socket.socket(fileno=0)
    give_up_rights()
    os.nice(10)
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    while poller.poll(IDLE_S * 1000):
        message, files, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
        if not message or len(files) != 1:
            return
        channel.send(serve(job_decoder.decode(message), files[0]))


if __name__ == "__main__":
    main()
