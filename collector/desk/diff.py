"""What changes between two bundles, for people. Pure, so that the operator's side computes it from the bytes it signs
and need not believe the collector's account of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from policies.model import Bundle, Correlation, Rule, Scope

Part = Literal[
    "ordinance", "rule", "permit", "zone", "setting", "software", "device", "assignment", "place", "label", "account",
    "list", "correlation", "other",
]  # fmt: skip


class Change(Struct, frozen=True):
    """One thing that is added (``before`` empty), removed (``after`` empty) or changed."""

    part: Part
    name: str
    before: str = ""
    after: str = ""

    @property
    def sign(self) -> str:
        """``+`` added, ``-`` removed, ``~`` changed."""
        return "+" if not self.before else "-" if not self.after else "~"

    def __str__(self) -> str:
        """One line."""
        if self.sign == "~":
            return f"~ {self.part} {self.name}: {self.before} → {self.after}"
        return f"{self.sign} {self.part} {self.name}: {self.after or self.before}"


_NOWHERE = Scope()


def diff(before: Bundle | None, after: Bundle) -> list[Change]:
    """All changes, part by part, in order of name."""
    old, new = _parts(before) if before else {}, _parts(after)
    changes: list[Change] = []
    for part, entries in new.items():
        was = old.get(part, {})
        for name in sorted(was.keys() | entries.keys()):
            pair = was.get(name, ""), entries.get(name, "")
            if pair[0] != pair[1]:
                changes.append(Change(part, name, *pair))
    return changes


def _parts(bundle: Bundle) -> dict[Part, Mapping[str, str]]:
    settings = {
        f"{control}/{zone}": f"{setting.mode}, fail {setting.fail}"
        for control, zones in bundle.settings.items()
        for zone, setting in zones.items()
    }
    assignments = {
        agent: f"{place.zone} {place.section}".strip() for agent, place in bundle.assignments.items()
    }
    return {
        "ordinance": dict.fromkeys(bundle.ordinances, "in use"),
        "rule": {rule.id: f"{_marked(rule)} {rule.effect} {rule.level}" for rule in bundle.rules},
        "correlation": {one.id: f"{_marked(one)} {one.kind} {one.level}" for one in bundle.correlations},
        "permit": {permit.id: _filled(permit) for permit in bundle.permits},
        "zone": {zone.name: _filled(zone) for zone in bundle.zones},
        "setting": settings,
        "software": {_filled(entry): "allowed" for entry in bundle.software},
        "device": {_filled(subject): "of the city" for subject in bundle.devices},
        "assignment": assignments,
        "place": {place.name: _filled(place) for place in bundle.places},
        "label": {label.name: _filled(label) for label in bundle.labels},
        "account": {account.user: _filled(account) for account in bundle.accounts},
        "list": {name: _filled(values) for name, values in bundle.lists.items()},
        "other": {
            "city": bundle.city,
            "not_permittable": " ".join(bundle.not_permittable) or "nothing",
            "media_read_only": " ".join(bundle.media_read_only) or "nowhere",
            "unassigned": bundle.unassigned.zone,
        },
    }


def _marked(rule: Rule | Correlation) -> str:
    """A rule by version and a mark of its content, so that a changed predicate under an old version shows."""
    mark = hashlib.sha256(msgspec.msgpack.encode(rule, order="deterministic")).hexdigest()[:8]
    return f"version {rule.version} [{mark}]"


def _filled(value: Any) -> str:
    """Every filled field of a struct, nested ones too: nothing that decides may be missing from what is signed."""
    if isinstance(value, Struct):
        fields = (
            (name, getattr(value, name)) for name in value.__struct_fields__ if name not in {"id", "name"}
        )
        return " ".join(
            _named(name, inner) for name, inner in fields if inner not in ("", 0, (), False, _NOWHERE)
        )
    if isinstance(value, tuple):
        return "[" + ", ".join(_filled(inner) for inner in value) + "]"
    return str(value)


def _named(name: str, value: Any) -> str:
    if name.endswith("_us"):
        return f"{name[:-3]}={datetime.fromtimestamp(value / 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{name}={_filled(value)}"
