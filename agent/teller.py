"""Tells the state of the agent: heartbeats for the collector, ``status.json`` for the PC."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Literal

from agent import VERSION
from agent.enrolment import machine_id
from agent.health import condition
from agent.isolating import FREE, NAME
from agent.status import Complaint, Status, write_status
from protocol.messages import Heartbeat

if TYPE_CHECKING:
    from agent.runtime import Runtime

STATUS_S = 2.0
MEASURE_S = 30.0
"""How often the enforcers measure what is set, for the status."""
CODES = 128
"""Health codes a heartbeat may carry."""
SEGMENTS = 8
"""Segments a heartbeat may carry."""


class Teller:
    """Collects the state once a second; writes and sends it when it is due or changed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._instance = secrets.token_hex(8)
        self._machine_id = machine_id(runtime.platform.root)
        self._hostname = socket.gethostname()[:256]
        self._started_us = runtime.platform.now_us()
        self._written_s = self._measured_s = float("-inf")
        self._measured: dict[str, dict[str, str]] = {}
        self._told: tuple[object, ...] = ()

    def heartbeat(self) -> Heartbeat:
        """What a heartbeat says now; the uplink fills in the time."""
        runtime, view, spool = self._runtime, self._runtime.view, self._runtime.spool
        isolation, order = self._isolation()
        return Heartbeat(
            time_us=0,
            instance=self._instance,
            machine_id=self._machine_id,
            hostname=self._hostname,
            agent_version=VERSION,
            zone=view.zone.name if view else "",
            policy_generation=view.generation if view else 0,
            policy_digest=view.digest if view else "",
            spool_depth=spool.depth,
            spooled=spool.last_seq,
            dropped=spool.dropped,
            health=tuple(runtime.health.shown())[:CODES],
            isolation=isolation,
            isolation_order=order,
            controls=runtime.enforcers.controls(view, runtime.sensors.senses),
            sensors={name: state[:256] for name, state in runtime.sensors.states().items()},
            segments=runtime.sensors.segments()[:SEGMENTS],
        )

    def measure_soon(self) -> None:
        """Something happened that changes what the enforcers measure."""
        self._measured_s = float("-inf")

    def tell(self) -> None:
        """Bring heartbeat and status up to date. What the collector should know at once is sent at once."""
        now_s = time.monotonic()
        if now_s - self._measured_s >= MEASURE_S:
            self._measure(now_s)
        beat = self.heartbeat()
        self._runtime.uplink.state = beat
        told = (
            beat.health,
            beat.isolation,
            beat.policy_generation,
            beat.controls,
            beat.sensors,
            beat.segments,
            self._runtime.uplink.connected,
        )
        changed = told != self._told
        if changed:
            self._told = told
            self._runtime.uplink.beat_now()
        if changed or now_s - self._written_s >= STATUS_S:
            self._written_s = now_s
            with contextlib.suppress(
                OSError
            ):  # a full /run must not end the agent; the collector still hears
                write_status(self._runtime.platform.run, self._status(beat))

    def _measure(self, now_s: float) -> None:
        self._measured_s = now_s
        self._measured = self._runtime.enforcers.observed()
        isolation, order = self._isolation()
        if isolation == FREE:
            self._runtime.health.clear("isolated")
        else:
            self._runtime.health.raise_("isolated", order, now_s=now_s)

    def _status(self, beat: Heartbeat) -> Status:
        runtime, view, spool = self._runtime, self._runtime.view, self._runtime.spool
        return Status(
            agent_id=runtime.identity.agent_id,
            version=VERSION,
            pid=os.getpid(),
            started_us=self._started_us,
            updated_us=runtime.platform.now_us(),
            city=runtime.identity.root.city,
            zone=beat.zone,
            section=view.section if view else "",
            policy_generation=beat.policy_generation,
            policy_digest=beat.policy_digest,
            collector="connected" if runtime.uplink.connected else "unreachable",
            isolation=beat.isolation,
            isolation_order=beat.isolation_order,
            spool_depth=spool.depth,
            spool_last=spool.last_seq,
            spool_acknowledged=spool.file.acknowledged,
            spool_bytes=spool.file.bytes,
            spool_dropped=spool.dropped,
            controls=beat.controls,
            sensors=runtime.sensors.states(),
            enforcers=self._measured,
            health=tuple(self._complaints()),
            counters=dict(runtime.health.counters),
        )

    def _complaints(self) -> list[Complaint]:
        return [
            Complaint(code, row.severity, row.text.ja, row.text.en, there.detail)
            for code, there in self._runtime.health.shown().items()
            for row in (condition(code),)
        ]

    def _isolation(self) -> tuple[Literal["free", "isolated"], str]:
        """State and order, as measured by the enforcer; not asked every second, a look costs milliseconds."""
        measured = self._measured.get(NAME, {})
        state: Literal["free", "isolated"] = "free" if measured.get("state", FREE) == FREE else "isolated"
        return state, measured.get("order", "")
