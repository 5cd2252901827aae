"""What coverage is judged from: the register of PCs as rows."""

from __future__ import annotations

from collections.abc import Iterable

from collector.coverage.judge import Pc
from collector.isolation.preview import ONLINE_US
from collector.registers.models import Agent

COUNTED = ("active", "quarantined")
"""PCs that count: pending ones are not ours yet, revoked ones no more."""


def pcs(rows: Iterable[Agent], now_us: int) -> list[Pc]:
    """PCs of the register that count. ``now_us`` (UTC µs) decides who is silent."""
    return [
        Pc(
            id=row.id,
            hostname=row.hostname,
            zone=row.zone,
            section=row.section,
            online=now_us - row.last_seen_us < ONLINE_US,
            last_seen_us=row.last_seen_us,
            enrolled_us=row.enrolled_us,
            generation=row.policy_generation,
            controls=row.controls,
            sensors=row.sensors,
            since=row.states_since,
        )
        for row in rows
        if row.status in COUNTED
    ]
