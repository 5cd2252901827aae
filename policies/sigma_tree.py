"""pySigma's condition tree to our predicate tree, with every value checked against its field."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any as Value

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
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
    SpecialChars,
)

from policies.fields import FieldInfo
from policies.model import All, Any, Compare, Node, Not, Op, Scalar
from policies.predicate import PredicateError, value_test
from policies.source import did_you_mean

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
_MANY = SpecialChars.WILDCARD_MULTI


class Refusal(Exception):
    """A part of a condition that is refused; ``field`` tells where it stands."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.hint = hint


class SigmaTree:
    """Turns conditions into predicates over ``fields``. Raises Refusal."""

    def __init__(self, fields: Mapping[str, FieldInfo]) -> None:
        self._fields = fields

    def node(self, condition: Value) -> Node:
        """One condition with everything below it."""
        if isinstance(condition, ConditionNOT):
            return Not(self.node(condition.args[0]))
        if isinstance(condition, ConditionAND | ConditionOR):
            is_or = isinstance(condition, ConditionOR)
            kind: type[All | Any] = Any if is_or else All
            flat: list[Node] = []
            for part in map(self.node, condition.args):
                flat.extend(part.parts if isinstance(part, All | Any) and type(part) is kind else [part])
            merged = _merge(flat, every=not is_or)
            return merged[0] if len(merged) == 1 else kind(tuple(merged))
        if isinstance(condition, ConditionFieldEqualsValueExpression):
            found = self._compare(condition.field, condition.value)
            self._check(found)
            return found
        raise Refusal("", "a value without a field", "name the field: 'label|contains: word'")

    def _compare(self, field: str, value: Value) -> Compare:
        if isinstance(value, SigmaString):
            return _string(field, value)
        if isinstance(value, SigmaRegularExpression):
            flags = "".join(sorted(_FLAGS[flag] for flag in value.flags))
            return Compare(
                field, "re", (f"(?{flags})" * bool(flags) + str(value.regexp.to_plain(regex=True)),)
            )
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
        if isinstance(value, SigmaFieldReference) and not (value.starts_with or value.ends_with):
            return Compare(field, "fieldref", (value.field,))
        raise Refusal(field, f"{type(value).__name__} is not supported")

    def _check(self, node: Compare) -> None:
        info = self._fields[node.field]
        for value in node.values:
            if node.op == "fieldref":
                if value not in self._fields:
                    raise Refusal(
                        node.field, f"unknown field {value}", did_you_mean(str(value), self._fields)
                    )
                continue
            self._check_value(node, info, value)
            try:
                value_test(node, value)
            except PredicateError as error:
                raise Refusal(node.field, str(error)) from error

    @staticmethod
    def _check_value(node: Compare, info: FieldInfo, value: Scalar) -> None:
        if node.op == "exists" or value is None:
            return
        wanted = {"text": str, "texts": str, "number": int, "truth": bool}.get(info.shape)
        if wanted is None:
            raise Refusal(
                node.field, f"{node.field} cannot be compared", "ask with |exists, or use another field"
            )
        if node.op in {"lt", "lte", "gt", "gte"} and info.shape != "number":
            raise Refusal(node.field, f"{node.op} on {node.field}, which is no number")
        if type(value) is not wanted:
            names = {str: "text", int: "a number, without quotes", bool: "true or false"}
            raise Refusal(node.field, f"{node.field} is {names[wanted]}; {value!r} can never match")
        if node.op == "eq" and info.choices and value not in info.choices:
            hint = did_you_mean(str(value), info.choices)
            raise Refusal(node.field, f"{node.field} can never be {value!r}", hint)


def _number(field: str, value: SigmaNumber) -> int:
    if not isinstance(value.number, int):
        raise Refusal(field, f"{value.number} is not a whole number")
    return value.number


def _string(field: str, value: SigmaString) -> Compare:
    """Sigma's wildcards as the cheapest comparison that means the same; a regex only where none does."""
    cased = isinstance(value, SigmaCasedString)
    parts = tuple(value.s)
    if not all(isinstance(part, str) or part in (_MANY, SpecialChars.WILDCARD_SINGLE) for part in parts):
        raise Refusal(field, "placeholders are not supported")
    texts = [part for part in parts if isinstance(part, str)]
    if not parts:
        return Compare(field, "eq", ("",), cased=cased)
    if parts == (_MANY,):
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


def _merge(parts: list[Node], *, every: bool) -> list[Node]:
    """Join neighbouring comparisons of one field and operator into one with several values."""
    merged: list[Node] = []

    def key(part: Node) -> tuple[Value, ...]:
        if (
            not isinstance(part, Compare)
            or (part.every != every and len(part.values) > 1)
            or part.op == "exists"
        ):
            return (id(part),)
        return part.field, part.op, part.cased

    for _, group in groupby(parts, key):
        run = list(group)
        first = run[0]
        if len(run) == 1 or not isinstance(first, Compare):
            merged.extend(run)
            continue
        values = tuple(value for part in run if isinstance(part, Compare) for value in part.values)
        merged.append(Compare(first.field, first.op, values, every=every, cased=first.cased))
    return merged
