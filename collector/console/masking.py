"""What a role that may not see people gets to read instead."""

from __future__ import annotations

import re
from typing import Any

from msgspec import inspect as structure

from protocol.events import KINDS

MASK = "***"


def _personal_fields() -> frozenset[str]:
    names: set[str] = set()
    for kind in KINDS.values():
        shape = structure.type_info(kind)
        if not isinstance(shape, structure.StructType):  # an event kind always is; mypy cannot know
            continue
        names.update(
            field.encode_name
            for field in shape.fields
            if isinstance(field.type, structure.Metadata) and (field.type.extra or {}).get("personal")
        )
    return frozenset(names)


PERSONAL = _personal_fields()
"""Event fields that the catalogue marks personal."""

_HOME = re.compile(r"(/home/|/Users/|\\Users\\|/media/|/run/media/)[^/\\]+")


def mask_event(event: dict[str, Any]) -> dict[str, Any]:
    """The event with personal fields and the user's name in paths (home directories, automounts) replaced."""
    return {name: MASK if name in PERSONAL and value else mask_path(value) for name, value in event.items()}


def mask_path(value: Any) -> Any:
    """Replace the user's part of a path; anything but text is returned as it is."""
    return _HOME.sub(rf"\g<1>{MASK}", value) if isinstance(value, str) else value
