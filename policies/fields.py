"""What a rule may name: the fields of the event catalogue and of the enrichment, with type and possible values."""

from __future__ import annotations

from functools import cache
from typing import Literal

from msgspec import Struct, inspect

from policies.model import Enrichment
from protocol.events import KINDS

Shape = Literal["text", "number", "truth", "texts", "other"]

FAMILIES: frozenset[str] = frozenset(kind.partition(".")[0] for kind in KINDS)


class FieldInfo(Struct, frozen=True):
    """Shape of a field, and its possible values (empty = any)."""

    shape: Shape
    choices: tuple[str, ...] = ()


def _info(type_: inspect.Type) -> FieldInfo:
    if isinstance(type_, inspect.Metadata):
        return _info(type_.type)
    if isinstance(type_, inspect.LiteralType):
        return FieldInfo("text", tuple(str(value) for value in type_.values))
    if isinstance(type_, inspect.StrType):
        return FieldInfo("text")
    if isinstance(type_, inspect.BoolType):
        return FieldInfo("truth")
    if isinstance(type_, inspect.IntType):
        return FieldInfo("number")
    if isinstance(type_, inspect.VarTupleType) and _info(type_.item_type).shape == "text":
        return FieldInfo("texts")
    return FieldInfo("other")


def _fields_of(type_: type[Struct]) -> dict[str, FieldInfo]:
    described = inspect.type_info(type_)
    assert isinstance(described, inspect.StructType)  # noqa: S101 - for the type checker
    return {field.name: _info(field.type) for field in described.fields}


@cache
def family_fields(family: str) -> dict[str, FieldInfo]:
    """Every field that a rule of ``family`` may name, ``kind`` included."""
    kinds = {kind: type_ for kind, type_ in KINDS.items() if kind.partition(".")[0] == family}
    found = {"kind": FieldInfo("text", tuple(kinds))}
    for type_ in kinds.values():
        found |= _fields_of(type_)
    return found | _fields_of(Enrichment)


def event_fields(kind: str) -> dict[str, FieldInfo]:
    """The fields of one kind of event."""
    return _fields_of(KINDS[kind])
