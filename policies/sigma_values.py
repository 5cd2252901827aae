"""pySigma's values as comparisons, and the values of other products as ours."""

from __future__ import annotations

from typing import Any as Value

from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from policies.fields import Shape
from policies.mapping import FieldMap
from policies.model import ANYWHERE, Compare, Op, Scalar

_ORDERS: dict[CompareOperators, Op] = {
    CompareOperators.LT: "lt",
    CompareOperators.LTE: "lte",
    CompareOperators.GT: "gt",
    CompareOperators.GTE: "gte",
}
_FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}
_REFERENCES: dict[tuple[bool, bool], Op] = {
    (False, False): "fieldref",
    (True, False): "fieldref_startswith",
    (False, True): "fieldref_endswith",
    (True, True): "fieldref_contains",
}
_MANY = SpecialChars.WILDCARD_MULTI


class Refusal(Exception):
    """A part of a condition that is refused; ``field`` tells where it stands."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.hint = hint


class NeverError(Exception):
    """A comparison of a mapped rule that can never hold; its text says why."""


def compare(field: str, value: Value) -> Compare:
    """One field against one value. Raises Refusal."""
    if isinstance(value, SigmaString):
        return _string(field, value)
    if isinstance(value, SigmaRegularExpression):
        return Compare(field, "re", (_pattern(value),))
    if isinstance(value, SigmaTimestampPart):
        raise Refusal(field, "parts of a time are not supported", "office_hours tells working hours")
    if isinstance(value, SigmaCompareExpression):
        return Compare(field, _ORDERS[value.op], (_number(field, value.number),))
    if isinstance(value, SigmaNumber):
        return Compare(field, "eq", (_number(field, value),))
    if isinstance(value, SigmaBool):
        return Compare(field, "eq", (value.boolean,))
    if isinstance(value, SigmaNull):
        return Compare(field, "eq", (None,))
    if isinstance(value, SigmaExists):
        return Compare(field, "exists", (value.exists,))
    if isinstance(value, SigmaCIDRExpression):
        return Compare(field, "cidr", (value.cidr,))
    if isinstance(value, SigmaFieldReference):
        return Compare(field, _REFERENCES[value.starts_with, value.ends_with], (value.field,))
    raise Refusal(field, f"{type(value).__name__} is not supported")


def keyword(value: Value) -> Compare:
    """A value without a field: it stands somewhere in the event's text. Raises Refusal."""
    if isinstance(value, SigmaNumber):
        return Compare(ANYWHERE, "contains", (str(_number("", value)),))
    found = compare(ANYWHERE, value)
    if found.op == "eq" and isinstance(found.values[0], str) and found.values[0]:
        return Compare(ANYWHERE, "contains", found.values, cased=found.cased)
    if found.op in {"contains", "startswith", "endswith", "re"}:
        return found
    raise Refusal("", "a keyword is text", "name the field: 'label: …'")


def translate(ours: FieldMap, field: str, value: Value, shape: Shape) -> Compare:
    """A comparison of a mapped field as one of ours. Raises Refusal, and NeverError for a value that we never have."""
    if ours.values and isinstance(value, SigmaString | SigmaNumber | SigmaBool):
        known = ours.values.get(str(value).lower())
        if known is None:
            raise NeverError(f"{field} {value} is not collected")
        return Compare(ours.to, "eq", known)
    found = compare(ours.to, value)
    if ours.values and found.op not in {"exists", "eq"}:
        raise NeverError(f"{field} {found.op} … has no counterpart")
    if ours.prefix:
        return _without_prefix(found, ours.prefix, field)
    return _coerced(found, field, shape)


def _without_prefix(found: Compare, prefix: str, field: str) -> Compare:
    values = []
    for value in found.values:
        before, separator, rest = str(value).partition(prefix)
        if (
            found.op not in {"eq", "contains", "startswith", "endswith"}
            or before
            or not separator
            or not rest
        ):
            raise NeverError(f"{field} is collected as {prefix}… only")
        values.append(rest)
    return Compare(found.field, found.op, tuple(values), every=found.every, cased=found.cased)


def _coerced(found: Compare, field: str, shape: Shape) -> Compare:
    """Numbers that a rule puts in quotes, and text that it does not."""
    if shape == "number":
        if any(isinstance(value, str) and not value.isdigit() for value in found.values):
            raise NeverError(f"{field} is a number here")
        if found.op in {"contains", "startswith", "endswith", "re"}:
            raise NeverError(f"{field} is a number here, {found.op} has no meaning")
        values: tuple[Scalar, ...] = tuple(
            int(value) if isinstance(value, str) else value for value in found.values
        )
    elif shape in {"text", "texts"}:
        if found.op in {"lt", "lte", "gt", "gte"}:
            raise NeverError(f"{field} is text here, {found.op} has no meaning")
        values = tuple(
            str(value) if type(value) is int or (type(value) is bool and found.op == "eq") else value
            for value in found.values
        )
    else:
        return found
    return Compare(found.field, found.op, values, every=found.every, cased=found.cased)


def _pattern(value: SigmaRegularExpression) -> str:
    flags = "".join(sorted(_FLAGS[flag] for flag in value.flags))
    return f"(?{flags})" * bool(flags) + str(value.regexp.to_plain(regex=True))


def _number(field: str, value: SigmaNumber) -> int:
    if not isinstance(value.number, int):
        raise Refusal(field, f"{value.number} is not a whole number")
    return value.number


def _string(field: str, value: SigmaString) -> Compare:
    """Sigma's wildcards as the cheapest comparison that means the same; a regex only where none does."""
    cased = isinstance(value, SigmaCasedString)
    parts = tuple(value.s)
    if not all(isinstance(part, str) or part in (_MANY, SpecialChars.WILDCARD_SINGLE) for part in parts):
        raise Refusal(field, "a placeholder that is not expanded", "write |expand, and %name% alone")
    texts = [part for part in parts if isinstance(part, str)]
    if not parts:
        return Compare(field, "eq", ("",), cased=cased)
    if set(parts) == {_MANY}:
        return Compare(field, "exists", (True,))
    shape = "".join("t" if isinstance(part, str) else "*" if part == _MANY else "?" for part in parts)
    shapes: dict[str, Op] = {"t": "eq", "*t*": "contains", "t*": "startswith", "*t": "endswith"}
    if shape in shapes:
        return Compare(field, shapes[shape], (texts[0],), cased=cased)
    body = "".join(
        _escape(part) if isinstance(part, str) else ".*" if part == _MANY else "." for part in parts
    )
    return Compare(field, "re", (f"(?{'' if cased else 'i'}s)\\A{body}\\z",))


def _escape(text: str) -> str:
    return "".join(
        "\\" + char if char.isascii() and not char.isalnum() and char != "\n" else char for char in text
    )
