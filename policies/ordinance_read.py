"""Reading an ordinance file: typed, then checked against itself; every complaint has file, line and hint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from msgspec import Struct
from msgspec.structs import replace

from policies.ordinance import Article, Ordinance
from policies.ordinance_check import contradictions
from policies.ordinance_parts import (
    HoldGround,
    NetworkModel,
    Office,
    Requirement,
    Retention,
    RetentionClass,
    Role,
    ZoneTitle,
)
from policies.source import Place, Source, SourceError, did_you_mean

S = TypeVar("S", bound=Struct)
_LISTS: dict[str, type[Struct]] = {
    "articles": Article,
    "holds": HoldGround,
    "zones": ZoneTitle,
    "models": NetworkModel,
    "requirements": Requirement,
}


class OrdinanceError(SourceError):
    """What is wrong in an ordinance file, the first thing; ``others`` are the further ones, in order of line."""

    others: tuple[OrdinanceError, ...] = ()

    def all(self) -> list[OrdinanceError]:
        """Every mistake."""
        return [self, *self.others]


def read_ordinance(path: Path, *, named: bool = True) -> Ordinance:
    """Read one file; ``named``: the file must bear the ordinance's id. Raises OrdinanceError; OSError."""
    source = Source.read(path, OrdinanceError)
    if not isinstance(source.data, dict) or not isinstance(source.data.get("articles"), list):
        raise source.fail((), "an ordinance is a map with a list of articles", "see baseline.yaml")
    reading = _Reading(source)
    ordinance = reading.ordinance(source.data)
    if named and ordinance.id != path.stem:
        reading.wrong("id", message=f"id {ordinance.id} in {path.name}", hint="the file is named for the id")
    for place, message, hint in contradictions(ordinance):
        reading.wrong(*place, message=message, hint=hint)
    reading.judge()
    return ordinance


class _Reading:
    """Types a file part by part, so that everything wrong is said at once, each with its own line."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._wrong: list[SourceError] = []

    def wrong(self, *place: str | int, message: str, hint: str = "") -> None:
        """Note something wrong."""
        self._wrong.append(self._source.fail(place, message, hint))

    def judge(self) -> None:
        """Raise OrdinanceError if anything was wrong."""
        found = sorted(self._wrong, key=lambda error: error.line)
        if found and isinstance(first := found[0], OrdinanceError):
            first.others = tuple(one for one in found[1:] if isinstance(one, OrdinanceError))
            raise first

    def ordinance(self, data: dict[str, Any]) -> Ordinance:
        """The whole file. Raises OrdinanceError."""
        parts: dict[str, Any] = {
            name: tuple(self._items(data, type_, (name,))) for name, type_ in _LISTS.items()
        }
        parts["offices"] = dict(self._offices(data.get("offices", {})))
        parts["retention"] = self._retention(data.get("retention", {}))
        empty: dict[str, Any] = {name: () if name in _LISTS else {} for name in parts}
        whole = self._part(data | empty, Ordinance, ())
        self.judge()
        if whole is None:  # judge() has raised: a part that is None was noted
            raise self._source.fail((), "not an ordinance")
        return replace(whole, **parts)

    def _part(self, raw: Any, type_: type[S], place: Place) -> S | None:
        try:
            return self._source.convert(raw, type_, place)
        except SourceError as error:
            self._wrong.append(error)
            return None

    def _items(self, data: dict[str, Any], type_: type[S], place: Place) -> Iterator[S]:
        raw = data.get(str(place[-1]), [])
        if not isinstance(raw, list):
            self.wrong(*place, message=f"{place[-1]} is a list", hint="every entry begins with a dash")
            return
        for index, item in enumerate(raw):
            if (one := self._part(item, type_, (*place, index))) is not None:
                yield one

    def _offices(self, raw: Any) -> Iterator[tuple[str, Office]]:
        if not isinstance(raw, dict):
            self.wrong(
                "offices", message="offices is a map from office to title", hint="ciso: {ja: …, en: …}"
            )
            return
        for role, one in raw.items():
            if role not in get_args(Role):
                hint = did_you_mean(role, get_args(Role))
                self.wrong("offices", role, message=f"{role} is no office", hint=hint)
            elif (office := self._part(one, Office, ("offices", role))) is not None:
                yield role, office

    def _retention(self, raw: Any) -> Retention:
        if not isinstance(raw, dict):
            self.wrong("retention", message="retention is a map of counting and classes")
            return Retention()
        classes = tuple(self._items(raw, RetentionClass, ("retention", "classes")))
        whole = self._part(raw | {"classes": ()}, Retention, ("retention",))
        return replace(whole or Retention(), classes=classes)
