"""What a Struct declares at a place within it, to say in a complaint what could have stood there."""

from __future__ import annotations

import re
import typing
from typing import Any

import msgspec

Place = tuple[str | int, ...]
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def place_of(path: str) -> Place:
    """The place of a msgspec path: ``$.zones[1].name`` → ``("zones", 1, "name")``."""
    return tuple(int(index) if index else key for key, index in _STEP.findall(path))


def declared_at(type_: Any, place: Place) -> Any:
    """The declared type at a place; None when it leads nowhere."""
    for step in place:
        inner = typing.get_args(type_)
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            fields = {field.encode_name: field.type for field in msgspec.structs.fields(type_)}
            type_ = _bare(fields.get(str(step)))
        elif typing.get_origin(type_) in {tuple, list, dict}:
            type_ = _bare(inner[1 if typing.get_origin(type_) is dict else 0])
        else:
            return None
    return type_


def words_at(type_: Any, place: Place) -> tuple[str, ...]:
    """The words that may stand at a place; empty when it takes others too."""
    return tuple(word for word in _words(declared_at(type_, place)) if isinstance(word, str))


def _bare(type_: Any) -> Any:
    """Without Annotated, and without None."""
    if typing.get_origin(type_) is typing.Annotated:
        return _bare(typing.get_args(type_)[0])
    parts = [part for part in typing.get_args(type_) if part is not type(None)]
    optional = len(parts) == 1 and len(typing.get_args(type_)) > 1
    return _bare(parts[0]) if optional and typing.get_origin(type_) not in {tuple, dict, list} else type_


def _words(type_: Any) -> tuple[Any, ...]:
    return typing.get_args(type_) if typing.get_origin(type_) is typing.Literal else ()
