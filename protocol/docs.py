"""Writes ``docs/generated/protocol.md`` and ``events.md`` from the types; ``--check`` fails when they drifted.

``python -m protocol.docs [--check]``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
from msgspec import inspect as structure

from protocol.events import KINDS, Event
from protocol.messages import LIMITS, VERSION, Batch, Lane, batch_digest
from protocol.orders import Order, hash_code
from protocol.pages import keep, notice
from protocol.refusal import RefusalName
from protocol.signed import Signature, Signed, signing_input
from protocol.trust import OrderKey, TrustRoot

NOTICE = notice("protocol.docs", "the types in `protocol/`")


def _type_name(shape: structure.Type) -> str:
    """Name a field type in words a reader without Python understands."""
    if isinstance(shape, structure.Metadata):
        return _type_name(shape.type)
    if isinstance(shape, structure.StructType):
        return f"`{shape.cls.__name__}`"
    if isinstance(shape, structure.LiteralType):
        return " \\| ".join(f"`{value}`" if value else '`""`' for value in shape.values)
    if isinstance(shape, structure.UnionType):
        return " or ".join(_type_name(part) for part in shape.types)
    if isinstance(shape, structure.VarTupleType | structure.ListType):
        return f"array of {_type_name(shape.item_type)}"
    if isinstance(shape, structure.TupleType):
        return "(" + ", ".join(_type_name(part) for part in shape.item_types) + ")"
    if isinstance(shape, structure.DictType):
        return f"map {_type_name(shape.key_type)} → {_type_name(shape.value_type)}"
    return type(shape).__name__.removesuffix("Type").lower() + _bounds(shape)


def _bounds(shape: structure.Type) -> str:
    low, high = getattr(shape, "min_length", None), getattr(shape, "max_length", None)
    if low is not None and low == high:
        return f" of {low}"
    if high is not None:
        return f" ≤ {high:,}"
    smallest = getattr(shape, "ge", None)
    return f" ≥ {smallest}" if smallest is not None else ""


def _extra(shape: structure.Type, key: str) -> Any:
    """Read our own note from a field's metadata, however deeply annotated."""
    while isinstance(shape, structure.Metadata):
        if shape.extra and key in shape.extra:
            return shape.extra[key]
        shape = shape.type
    return None


def _description(shape: structure.Type) -> str:
    while isinstance(shape, structure.Metadata):
        found = (shape.extra_json_schema or {}).get("description")
        if found:
            return str(found).replace("|", "\\|")
        shape = shape.type
    return ""


def _fields(type_: type[msgspec.Struct]) -> tuple[structure.Field, ...]:
    shape = structure.type_info(type_)
    if not isinstance(shape, structure.StructType):
        raise TypeError(f"{type_} is not a Struct")
    return shape.fields


def _struct_table(type_: type[msgspec.Struct]) -> Iterator[str]:
    yield from ("| field | type | needed |", "| --- | --- | --- |")
    for entry in _fields(type_):
        yield f"| `{entry.encode_name}` | {_type_name(entry.type)} | {'yes' if entry.required else ''} |"


def _first_lines(type_: Any) -> str:
    return " ".join((type_.__doc__ or "").split())


def _lane(lane: Lane) -> Iterator[str]:
    yield from ("", f"## Lane {lane}", "")
    yield from ("| message | `type` | sent by | largest frame |", "| --- | --- | --- | --- |")
    for type_, (role, size) in LIMITS[lane].items():
        yield f"| {type_.__name__} | `{type_.__struct_config__.tag}` | {role} | {size:,} bytes |"


def protocol_page() -> str:
    """Text of ``docs/generated/protocol.md``."""
    lines = [
        NOTICE,
        f"# Protocol, version {VERSION}",
        "",
        "ZeroMQ 4 with CURVE (RFC 26); three ROUTER sockets on the collector: **enrol** 7460, **control** 7461, **data** 7462.",
        "One frame is one MessagePack map whose `type` names the message. A field that has its default may be missing.",
        "The sender is the `User-Id` that ZAP (RFC 27) set from the CURVE key: the key's fingerprint, the first 20 bytes of",
        "SHA-256 in lower-case base32. No message has a sender field.",
    ]
    for lane in LIMITS:
        lines += _lane(lane)
    lines += ["", "## Messages"]
    for type_ in dict.fromkeys(kind for table in LIMITS.values() for kind in table):
        lines += ["", f"### {type_.__name__}", "", _first_lines(type_), "", *_struct_table(type_)]
    lines += ["", "## Signed documents", "", _first_lines(Signed), "", _first_lines(signing_input)]
    for document in (Signed, Signature, TrustRoot, OrderKey, Order):
        lines += ["", f"### {document.__name__}", "", _first_lines(document), "", *_struct_table(document)]
    lines += [
        "",
        "## Digests",
        "",
        f"- Batch digest: {_first_lines(batch_digest)}",
        f"- {_first_lines(Batch).split('. ', 1)[1]}",
        f"- Release code: {_first_lines(hash_code)}",
        "",
        "## Refusals",
        "",
        "Every refusal has one of these names; it is counted by name and told to the peer.",
        "",
        ", ".join(f"`{name}`" for name in get_args(RefusalName)),
        "",
    ]
    return "\n".join(lines)


def _event_rows(type_: type[Event], skip: set[str]) -> Iterator[str]:
    for entry in _fields(type_):
        if entry.encode_name in skip:
            continue
        unit = _extra(entry.type, "unit") or ""
        personal = "personal" if _extra(entry.type, "personal") else ""
        yield f"| `{entry.encode_name}` | {_type_name(entry.type)} | {_description(entry.type)} | {unit} | {personal} |"


def events_page() -> str:
    """Text of ``docs/generated/events.md``."""
    head = ["| field | type | meaning | unit | data class |", "| --- | --- | --- | --- | --- |"]
    common = {entry.encode_name for entry in _fields(Event)}
    lines = [
        NOTICE,
        "# Events",
        "",
        "One event is one MessagePack map whose `kind` names it. A field that has its default may be missing.",
        "Priority: what a full spool gives up, ROUTINE first, CRITICAL last.",
        "",
        "## Every event",
        "",
        *head,
        *_event_rows(Event, set()),
    ]
    for tag, type_ in KINDS.items():
        lines += ["", f"## {tag}", "", _first_lines(type_), ""]
        lines += [f"Priority {type_.priority.name}; OCSF class {type_.ocsf}.", "", *head]
        lines += _event_rows(type_, common)
    return "\n".join([*lines, ""])


def pages() -> dict[str, str]:
    """Name → text of each page."""
    return {"protocol.md": protocol_page(), "events.md": events_page()}


if __name__ == "__main__":
    sys.exit(keep(pages(), "protocol.docs"))
