"""What differs between two editions of an ordinance, field by field, and whether the new one asks more or less. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policies.ordinance import Ordinance
from policies.ordinance_override import JUDGED, loosened

Part = Literal["ordinance", "article", "office", "retention", "hold", "zone", "model", "requirement"]
Effect = Literal["", "tighter", "looser", "other"]
_KEYS: dict[Part, tuple[str, str]] = {
    "article": ("articles", "number"),
    "hold": ("holds", "ground"),
    "zone": ("zones", "name"),
    "model": ("models", "id"),
    "requirement": ("requirements", "id"),
}
"""Part → list of it in an ordinance, and what its entries are known by."""
_PLAIN = ("id", "title_ja", "title_en", "edition", "acting")


class Difference(Struct, frozen=True, kw_only=True):
    """One thing that was added (``field`` empty, ``before`` None), removed (``after`` None), or a field that changed."""

    part: Part
    name: str
    field: str = ""
    before: Any = None
    after: Any = None
    effect: Effect = ""
    """Whether an article asks more or less than before; ``other``: neither contains the other."""

    @property
    def sign(self) -> str:
        """``+`` added, ``-`` removed, ``~`` changed."""
        return "~" if self.field else "+" if self.before is None else "-"

    def __str__(self) -> str:
        """One line."""
        if self.sign == "~":
            effect = f" [{self.effect}]" if self.effect else ""
            return f"~ {self.part} {self.name} {self.field}: {_shown(self.before)} → {_shown(self.after)}{effect}"
        value = self.after if self.sign == "+" else self.before
        return f"{self.sign} {self.part} {self.name}: {_summary(value)}"


def differences(old: Ordinance, new: Ordinance) -> list[Difference]:
    """Everything that differs, part by part, in the order of the new edition, what is gone last."""
    found = list(_fields("ordinance", new.id, _plain(old), _plain(new)))
    for part, (attribute, key) in _KEYS.items():
        before = {getattr(one, key): one for one in getattr(old, attribute)}
        after = {getattr(one, key): one for one in getattr(new, attribute)}
        found += _entries(part, before, after)
    found = [_judged(one, old, new) if one.part == "article" and one.field else one for one in found]
    found += _entries("office", old.offices, new.offices)
    counting = ({"counting": old.retention.counting}, {"counting": new.retention.counting})
    found += _fields("retention", new.id, *counting)
    found += _entries("retention", _classes(old), _classes(new))
    return found


def removed_articles(found: Iterable[Difference]) -> list[str]:
    """Numbers of articles that the new edition no longer has."""
    return [one.name for one in found if one.part == "article" and one.sign == "-"]


def _plain(ordinance: Ordinance) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(ordinance, name)) for name in _PLAIN}


def _classes(ordinance: Ordinance) -> dict[str, Any]:
    return {f"{one.years}": one for one in ordinance.retention.classes}


def _entries(part: Part, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Iterator[Difference]:
    for name, one in after.items():
        was = before.get(name)
        if was is None:
            yield Difference(part=part, name=name, after=msgspec.to_builtins(one))
        elif was != one:
            yield from _fields(part, name, msgspec.to_builtins(was), msgspec.to_builtins(one))
    for name in before:
        if name not in after:
            yield Difference(part=part, name=name, before=msgspec.to_builtins(before[name]))


def _fields(
    part: Part, name: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for field, value in after.items():
        if before.get(field) != value:
            yield Difference(part=part, name=name, field=field, before=before.get(field), after=value)


def _judged(found: Difference, old: Ordinance, new: Ordinance) -> Difference:
    """With the effect of a changed field of an article."""
    was, one = old.article(found.name), new.article(found.name)
    if was is None or one is None or found.field not in JUDGED:
        return found
    looser = bool(loosened(was, {found.field: getattr(one, found.field)}, new.acting))
    tighter = bool(loosened(one, {found.field: getattr(was, found.field)}, new.acting))
    return replace(found, effect="other" if looser == tighter else "looser" if looser else "tighter")


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value) or "—"


def _summary(value: Mapping[str, Any]) -> str:
    text = f"{value.get('ja') or value.get('title_ja')} / {value.get('en') or value.get('title_en')}"
    return f"{text} {_shown(value['levels'])}" if "levels" in value else text
