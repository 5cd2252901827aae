"""Arithmetic of the measurements; pure."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all do not exceed (nearest rank). Raises ValueError if empty."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def added(off: Sequence[Sequence[float]], on: Sequence[Sequence[float]]) -> float:
    """What *on* costs more than *off*: the median over rounds of the difference of medians.

    Round by round, so that a machine that grows slower or faster meanwhile counts on both sides alike.
    """
    pairs = zip(off, on, strict=True)
    return statistics.median(statistics.median(one) - statistics.median(other) for other, one in pairs)


def last_before(arrivals: Sequence[int], begin: int, end: int) -> int | None:
    """The last of the sorted ``arrivals`` from ``begin`` on and before ``end``; None if there is none."""
    at = bisect.bisect_left(arrivals, end)
    return arrivals[at - 1] if at and arrivals[at - 1] >= begin else None
