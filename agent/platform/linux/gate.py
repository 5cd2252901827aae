"""The execution gate: a pair of small processes between the kernel's question and its answer.

The *handler* answers executions; the *keeper* marks file systems, watches the handler and talks to the agent. Both hold
the same fanotify groups, and each watches the other by heartbeats:

- handler dead or hung: the keeper ends it, answers what it had left open by the fail mode, and forks a new one. Programs
  that start meanwhile wait in the kernel's queue; none slips through.
- keeper dead or hung: the handler ends it, becomes the keeper, and forks a new handler.

No step executes a program, so a blocked gate can always be repaired. Only when both are killed within the same few
milliseconds does the kernel let programs pass, until the agent has started a new pair. Standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time

from agent.platform.linux.fanotify import Group
from agent.platform.linux.gate_handler import Handler
from agent.platform.linux.gate_keeper import Keeper
from agent.platform.linux.gate_pair import Options, Shared, tell
from agent.platform.linux.gate_wire import encode_report

_OOM_SCORE = b"-900"
_PAUSE_S = 0.05
"""Between the end of one handler and the next: a crash loop must not eat the PC."""


def main(arguments: list[str]) -> None:
    """Run until the agent says quit, or (fail mode open) is gone. Arguments: see :meth:`Options.parse`."""
    options = Options.parse(arguments)
    with (
        contextlib.suppress(OSError),
        open("/proc/self/oom_score_adj", "wb") as file,
    ):  # needs CAP_SYS_RESOURCE
        file.write(_OOM_SCORE)
    gc.disable()  # nothing here makes reference cycles; a collection would only delay an answer
    log = socket.socket(fileno=options.log_fd)
    command = socket.socket(fileno=options.command_fd)
    try:
        groups = Group(), Group()
    except OSError as problem:
        log.send(encode_report({"what": "failed", "why": problem}))
        return
    shared = Shared(options, *groups, log, command)
    run(shared)


def _handle(shared: Shared, keeper: socket.socket, keeper_pid: int) -> str:
    """Run the handler. One that fails ends: its keeper settles what it had open, and the agent is told why."""
    try:
        return Handler(shared, keeper, keeper_pid).run()
    except Exception as problem:  # noqa: BLE001 - told to the agent, and the process ends
        where = problem.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
        why = f"{type(problem).__name__}: {problem} ({place})"
        tell(shared.log, encode_report({"what": "handler_crashed", "why": why}))
        os._exit(1)


def run(shared: Shared) -> None:
    """Fork a handler and keep it; whoever survives begins again. Returns never, except by SystemExit."""
    lost = ""
    while True:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper = os.getpid()
        child = os.fork()
        if child:
            theirs.close()
            Keeper(shared, ours, child).run(lost)
            ours.close()
            lost = ""
            time.sleep(_PAUSE_S)
        else:
            ours.close()
            lost = _handle(shared, theirs, keeper)
            theirs.close()
