"""What a correlation says of the entries of one window. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from msgspec import Struct

from policies.model import All, Any, Compare, Correlation, Node, Not, Threshold


class Entry(Struct, frozen=True, array_like=True):
    """One hit that counts: when (µs), whose event, which rule fired, and the values that the correlation looks at.

    ``weight``: how many equal events the PC folded into it.
    """

    time_us: int
    agent_id: str
    seq: int
    rule: str
    values: tuple[str | int, ...] = ()
    weight: int = 1


_ORDERS: dict[Threshold, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "neq": operator.ne,
}
_GROWS = frozenset({"event_count", "value_count", "value_sum", "temporal", "temporal_ordered"})


def grows(correlation: Correlation) -> bool:
    """Whether more entries can only make it truer; if not, a window is judged when it has closed."""
    if correlation.condition is not None:
        return not _negates(correlation.condition)
    return correlation.kind in _GROWS and correlation.op in {"gt", "gte"}


def _negates(node: Node) -> bool:
    if isinstance(node, Compare):
        return False
    return isinstance(node, Not) or any(_negates(part) for part in node.parts)


def figure(correlation: Correlation, window: Sequence[Entry]) -> float:
    """The number that is compared with the threshold. ``window`` is in order of time."""
    kind = correlation.kind
    if kind == "event_count":
        return float(sum(entry.weight for entry in window))
    if kind == "value_count":
        return float(len({entry.values for entry in window}))
    if kind == "temporal":
        return float(len({entry.rule for entry in window}))
    if kind == "temporal_ordered":
        return float(_in_order(correlation.rules, window))
    numbers = sorted(value for entry in window for value in entry.values if isinstance(value, int))
    if kind == "value_sum" or not numbers:
        return float(sum(numbers))
    if kind == "value_avg":
        return sum(numbers) / len(numbers)
    percent = 50 if kind == "value_median" else correlation.percentile
    return _percentile(numbers, percent)


def _percentile(numbers: Sequence[int], percent: int) -> float:
    """By linear interpolation between the closest ranks; ``numbers`` sorted, not empty."""
    place = (len(numbers) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (numbers[high] - numbers[low]) * (place - low)


def _in_order(rules: Sequence[str], window: Sequence[Entry]) -> int:
    """How many of the rules, from the first on, fired one after the other."""
    done = 0
    for entry in window:
        if done < len(rules) and entry.rule == rules[done]:
            done += 1
    return done


def holds(correlation: Correlation, window: Sequence[Entry]) -> bool:
    """Whether the correlation is true of a window."""
    if not window:
        return False
    if correlation.condition is None:
        return _ORDERS[correlation.op](figure(correlation, window), correlation.threshold)
    seen = {entry.rule for entry in window}
    if not _met(correlation.condition, seen):
        return False
    if correlation.kind != "temporal_ordered":
        return True
    present = [rule for rule in correlation.rules if rule in seen]
    return _in_order(present, window) == len(present)


def _met(node: Node, seen: set[str]) -> bool:
    if isinstance(node, Compare):
        return any(value in seen for value in node.values)
    if isinstance(node, Not):
        return not _met(node.part, seen)
    if isinstance(node, All):
        return all(_met(part, seen) for part in node.parts)
    assert isinstance(node, Any)  # noqa: S101 - for the type checker
    return any(_met(part, seen) for part in node.parts)
