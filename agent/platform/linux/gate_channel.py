"""The agent's end of what the execution gate tells: one socket that outlives every gate, read by whoever comes first."""

from __future__ import annotations

import socket
from collections import deque

from agent.platform.execution_ports import Execution
from agent.platform.linux.gate_wire import (
    DATAGRAM_LIMIT,
    DENIED,
    ON_MEDIA,
    RECORDS,
    REPORT,
    MalformedError,
    Record,
    decode_records,
    decode_report,
)

KEPT = 8192
"""Executions kept when nobody takes them; more are counted as lost."""


class GateChannel:
    """Implements ``ports.ExecutionLog``. Gate processes inherit :attr:`inlet`."""

    def __init__(self) -> None:
        self._outlet, self.inlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._outlet.setblocking(False)
        self._executions: deque[Execution] = deque()
        self._reports: deque[dict[str, str]] = deque(maxlen=256)
        self._lost = 0
        self._dropped_by_gate = 0
        self.malformed = 0
        """Datagrams refused."""

    def fileno(self) -> int:
        return self._outlet.fileno()

    def executions(self) -> list[Execution]:
        self._drain()
        taken = list(self._executions)
        self._executions.clear()
        return taken

    def reports(self) -> list[dict[str, str]]:
        """Drain what the gate said about itself."""
        self._drain()
        taken = list(self._reports)
        self._reports.clear()
        return taken

    def lost(self) -> int:
        lost, self._lost = self._lost, 0
        return lost

    def _drain(self) -> None:
        while (
            len(self._executions) < KEPT
        ):  # what is not taken stays with the gate, which counts what it drops
            try:
                datagram = self._outlet.recv(DATAGRAM_LIMIT)
            except BlockingIOError:
                return
            try:
                self._take(datagram)
            except MalformedError:
                self.malformed += 1

    def _take(self, datagram: bytes) -> None:
        tag, body = datagram[:1], datagram[1:]
        if tag == RECORDS:
            self._executions.extend(execution(record) for record in decode_records(body))
        elif tag == REPORT:
            report = decode_report(body)
            self._count(report)
            self._reports.append(report)
        else:
            raise MalformedError(f"tag {tag!r}")

    def _count(self, report: dict[str, str]) -> None:
        """The gate counts since its handler began; a smaller number means a new handler."""
        dropped = report.get("dropped", "")
        if dropped.isdigit():
            self._lost += max(0, int(dropped) - self._dropped_by_gate)
            self._dropped_by_gate = int(dropped)

    def close(self) -> None:
        self._outlet.close()
        self.inlet.close()


def execution(record: Record) -> Execution:
    """One record as the agent's type; bytes that are no UTF-8 become U+FFFD."""
    exe, cmdline, target, package = (text.decode("utf-8", "replace") for text in record[7:])
    return Execution(
        time_us=record.time_us,
        pid=record.pid,
        ppid=record.ppid,
        uid=record.uid,
        exe=exe,
        cmdline=cmdline,
        target=target,
        digest=record.digest.hex(),
        package=package,
        on_media=bool(record.flags & ON_MEDIA),
        denied=bool(record.flags & DENIED),
        reason=record.reason,
    )
