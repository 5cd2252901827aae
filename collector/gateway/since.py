"""Since when each control and sensor of a PC is as it is: coverage says "silent since" from this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from collector.registers.models import Agent

States = Mapping[str, str]


def named(controls: States, sensors: States) -> dict[str, str]:
    """``controls.media`` and ``sensors.media`` → state."""
    return {f"controls.{name}": state for name, state in controls.items()} | {
        f"sensors.{name}": state for name, state in sensors.items()
    }


def turned(before: States, since: Mapping[str, int], now: States, now_us: int) -> dict[str, int]:
    """When each state of ``now`` began (UTC µs): unchanged ones keep their time."""
    return {
        name: since[name] if before.get(name) == state and name in since else now_us
        for name, state in now.items()
    }


def write_since(session: Session, beats: Iterable[Mapping[str, Any]]) -> None:
    """Bring ``agents.states_since`` up to date for beats that are about to be written. The caller commits."""
    for beat in beats:
        row = session.get(Agent, beat["id"])
        if row is None:
            continue
        row.states_since = turned(
            named(row.controls, row.sensors),
            row.states_since,
            named(beat["controls"], beat["sensors"]),
            beat["last_seen_us"],
        )
    session.flush()
