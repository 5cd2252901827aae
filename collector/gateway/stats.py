"""Counters of the gateway, and the file they are written to for check-config, the console and the bench."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec


class Stats:
    """``counters`` by name, ``refused`` by ``lane/name``, ``health`` codes in force with their detail."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.health: dict[str, str] = {}
        self._started_us = time.time_ns() // 1000

    def refuse(self, lane: str, name: str) -> None:
        """Count a refusal."""
        self.refused[f"{lane}/{name}"] += 1

    def raise_health(self, code: str, detail: str) -> bool:
        """Raise a health code; tells whether it is new."""
        new = code not in self.health
        self.health[code] = detail
        return new

    def clear_health(self, code: str) -> None:
        """The condition is over."""
        self.health.pop(code, None)

    def write(self, path: Path, **more: Any) -> None:
        """Write all of it, whole or not at all. A full disk is no reason to stop: the next one will do."""
        content = {
            "pid": os.getpid(),
            "time_us": time.time_ns() // 1000,
            "started_us": self._started_us,
            "counters": dict(self.counters),
            "refused": dict(self.refused),
            "health": self.health,
            **more,
        }
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(content))
            temporary.replace(path)
