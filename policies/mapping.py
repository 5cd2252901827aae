"""Rules written for other products: what their log sources and fields are called here.

``mappings/*.yml`` say for each Sigma log source (product, category, service) which family of events it is, what else
must hold, which article such a rule serves, and which of our fields each of its fields is. A field that stands in no
mapping is not collected; a rule that cannot do without one is not loaded, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

from msgspec import Struct

from policies.fields import FAMILIES, family_fields
from policies.model import Compare, Control, Op
from policies.source import Source, SourceError, did_you_mean

KEYS = ("product", "category", "service")


class FieldMap(Struct, frozen=True, forbid_unknown_fields=True):
    """Our field for one of theirs.

    ``values``: their value (lower case) → ours, any of them; a value that is not there never occurs here. ``prefix``:
    what stands before the part that we have (``SHA256=``); a value without it never occurs here.
    """

    to: str
    values: dict[str, tuple[str, ...]] = {}
    prefix: str = ""


class LogSource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rules a mapping is for; an empty key means: such a rule does not say."""

    product: str = ""
    category: str = ""
    service: str = ""


class Cited(Struct, frozen=True, forbid_unknown_fields=True):
    """A citation as a rule or a mapping writes it."""

    ordinance: str
    article: str


class FieldMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What rules of one log source mean here."""

    logsource: tuple[LogSource, ...]
    family: str
    where: dict[str, tuple[str, ...]] = {}
    """What must hold as well: field, or field|operator → any of these."""
    products: dict[str, dict[str, tuple[str, ...]]] = {}
    """The same for rules of one product: paths tell Windows from Linux, and a rule for one says nothing of the other."""
    control: Control | None = None
    citations: tuple[Cited, ...]
    fields: dict[str, FieldMap | str]
    note_ja: str = ""
    note_en: str = ""
    """What such a rule cannot see here."""

    def conditions(self, product: str) -> tuple[Compare, ...]:
        """What must hold for a rule of ``product`` whatever else it says."""
        every = {**self.where, **self.products.get(product, {})}
        parts = [(*key.partition("|"), values) for key, values in every.items()]
        return tuple(Compare(field, cast("Op", op or "eq"), values) for field, _, op, values in parts)

    def field(self, name: str) -> FieldMap | None:
        """Our field for ``name``; None: not collected."""
        found = self.fields.get(name)
        return FieldMap(found) if isinstance(found, str) else found


def mapping_directory() -> Path:
    """Where the shipped mappings are."""
    return Path(__file__).with_name("mappings")


@cache
def load_mappings(directory: Path | None = None) -> dict[LogSource, FieldMapping]:
    """Read every mapping. Raises SourceError for one that names what the catalogue does not know."""
    found: dict[LogSource, FieldMapping] = {}
    for path in sorted((directory or mapping_directory()).glob("*.yml")):
        source = Source.read(path)
        for index, mapping in enumerate(source.convert(source.data, tuple[FieldMapping, ...])):
            _check(source, index, mapping)
            for one in mapping.logsource:
                if one in found:
                    raise source.fail((index, "logsource"), f"{describe(one)} is mapped twice")
                found[one] = mapping
    return found


def _check(source: Source, index: int, mapping: FieldMapping) -> None:
    if mapping.family not in FAMILIES:
        raise source.fail((index, "family"), f"unknown family {mapping.family}")
    known = family_fields(mapping.family)
    for name in mapping.fields:
        ours = mapping.field(name)
        if ours is not None and ours.to not in known:
            place = (index, "fields", name)
            raise source.fail(place, f"unknown field {ours.to}", did_you_mean(ours.to, known))
    for product in ("", *mapping.products):
        for node in mapping.conditions(product):
            if node.field not in known or node.op not in get_args(Op):
                raise source.fail(
                    (index, "products" if product else "where"),
                    f"{node.field}|{node.op}: no such field or operator",
                )


def log_source(raw: Mapping[str, Any]) -> LogSource:
    """The log source of a rule as it is written; keys we do not know of are left out."""
    return LogSource(**{key: str(raw[key]) for key in KEYS if raw.get(key)})


def describe(source: LogSource) -> str:
    """A log source in words."""
    return " ".join(filter(None, (source.product, source.category, source.service))) or "any"


__all__ = [
    "Cited",
    "FieldMap",
    "FieldMapping",
    "LogSource",
    "SourceError",
    "describe",
    "load_mappings",
    "log_source",
]
