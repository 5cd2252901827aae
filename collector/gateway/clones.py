"""Two machines with one key (DESIGN §4): the first stays, the second is refused, IT staff are told. Pure decisions.

A key belongs to the machine id it first reported. Machines copied from one image may share that too; then the random
``instance`` of the agent process tells: a restart makes the old instance fall silent, a clone keeps both alive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

GRACE_S = 1.0
"""A beat of the instance before may still be in flight this long after a restart."""
KEPT = 16

Verdict = Literal["first", "same", "restarted", "late", "other_machine", "two_alive"]
CLONES: tuple[Verdict, ...] = ("other_machine", "two_alive")


@dataclass(slots=True)
class Seat:
    """Which process of which machine holds a key now. Times are monotonic seconds."""

    machine_id: str = ""
    instance: str = ""
    since: float = 0.0
    gone: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Instances that were followed by another one."""
    refused: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Instances found to be clones."""


def judge(seat: Seat, instance: str, machine_id: str, now: float) -> Verdict:
    """Say what a heartbeat of ``instance`` on ``machine_id`` means, and note it in ``seat``."""
    if seat.machine_id and machine_id != seat.machine_id:
        return "other_machine"
    if instance in seat.refused:
        return "two_alive"
    seat.machine_id = machine_id
    if not seat.instance:
        seat.instance, seat.since = instance, now
        return "first"
    if instance == seat.instance:
        return "same"
    if instance not in seat.gone:
        seat.gone.append(seat.instance)
        seat.instance, seat.since = instance, now
        return "restarted"
    if now - seat.since < GRACE_S:
        return "late"
    # The one that seemed to have been followed lives: the follower is the clone.
    seat.refused.append(seat.instance)
    seat.gone.remove(instance)
    seat.instance, seat.since = instance, now
    return "same"
