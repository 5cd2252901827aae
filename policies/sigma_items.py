"""The items of a detection, before pySigma reads them: fields, modifiers, patterns; and lists put in for ``%name%``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from policies.predicate import PredicateError, compile_pattern
from policies.source import Place, Source, did_you_mean

MODIFIERS = frozenset(
    (
        "all", "base64", "base64offset", "cased", "cidr", "contains", "dotall", "endswith", "exists", "expand", "fieldref",
        "gt", "gte", "i", "ignorecase", "lt", "lte", "m", "multiline", "neq", "re", "s", "startswith", "utf16", "utf16be",
        "utf16le", "wide", "windash",
    )
)  # fmt: skip
_SPELT = {"utf16le": "wide"}
"""Modifier → what pySigma calls it."""
_LISTED = re.compile(r"(?<!\\)%(\w+)%")


def check_items(source: Source, family: str, known: Iterable[str] | None) -> None:
    """Check every ``field|modifier`` of a detection. ``known`` None: fields are the mapping's affair.

    Raises the source's error.
    """
    for place in [place for place in source.lines if place[0:1] == ("detection",)]:
        if not isinstance(place[-1], str) or len(place) == 1 or place[1] == "condition":
            continue
        if len(place) == 2:  # noqa: PLR2004 - detection, name of a selection
            if place[1] == "timeframe":
                hint = "one rule looks at one event; write a correlation rule (event_count …)"
                raise source.fail(place, "timeframe is not supported", hint)
            continue
        name, *modifiers = place[-1].split("|")
        if known is not None and name and name not in known:
            raise source.fail(place, f"unknown field {name} for {family}", did_you_mean(name, known))
        for modifier in modifiers:
            if modifier not in MODIFIERS:
                raise source.fail(place, f"unknown modifier {modifier}", did_you_mean(modifier, MODIFIERS))
        if "re" in modifiers:
            _check_patterns(source, place)


def _check_patterns(source: Source, place: Place) -> None:
    """Try every regex with the engine that will run it, so that the complaint is that engine's."""
    found: Any = source.data
    for step in place:
        found = found[step]
    for pattern in found if isinstance(found, list) else [found]:
        try:
            compile_pattern(str(pattern))
        except PredicateError as error:
            raise source.fail(place, str(error), "RE2 knows no back-references and no look-around") from error


def prepared(source: Source, lists: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The rule as pySigma reads it: lists put in, modifiers by its names. Raises the source's error."""
    detection = source.data["detection"]
    return {**source.data, "detection": _walk(source, detection, ("detection",), lists)}


def _walk(source: Source, data: Any, place: Place, lists: Mapping[str, tuple[str, ...]]) -> Any:
    if isinstance(data, list):
        return [_walk(source, one, (*place, index), lists) for index, one in enumerate(data)]
    if not isinstance(data, dict):
        return data
    made: dict[str, Any] = {}
    for key, value in data.items():
        name, *modifiers = key.split("|")
        inner = _walk(source, value, (*place, key), lists)
        if "expand" in modifiers:
            modifiers.remove("expand")
            inner = _expanded(source, inner, (*place, key), lists)
        spelt = "|".join([name, *(_SPELT.get(one, one) for one in modifiers)])
        if spelt in made:
            raise source.fail((*place, key), f"{spelt} stands here twice")
        made[spelt] = inner
    return made


def _expanded(source: Source, value: Any, place: Place, lists: Mapping[str, tuple[str, ...]]) -> Any:
    """``%name%`` in each value, once for each entry of that list."""
    texts = value if isinstance(value, list) else [value]
    for _ in range(_deepest(texts)):
        texts = [one for text in texts for one in _put_in(source, text, place, lists)]
    return texts


def _deepest(texts: Iterable[Any]) -> int:
    return max((len(_LISTED.findall(text)) for text in texts if isinstance(text, str)), default=0)


def _put_in(source: Source, text: Any, place: Place, lists: Mapping[str, tuple[str, ...]]) -> list[Any]:
    found = _LISTED.search(text) if isinstance(text, str) else None
    if found is None:
        return [text]
    name = found.group(1)
    if name not in lists:
        hint = f"lists: {{{name}: […]}} in policy.yaml, or below sekisho: in the rule"
        raise source.fail(place, f"no list {name}", f"{did_you_mean(name, lists)}; {hint}" if lists else hint)
    if not lists[name]:
        raise source.fail(place, f"list {name} is empty", "a rule that compares with nothing never fires")
    return [text[: found.start()] + entry + text[found.end() :] for entry in lists[name]]
