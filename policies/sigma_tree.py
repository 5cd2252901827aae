"""pySigma's condition tree to our predicate tree, with every value checked against its field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any as Value

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import SigmaExpansion

from policies.fields import FieldInfo
from policies.mapping import FieldMapping
from policies.model import ANYWHERE, All, Any, Compare, Node, Not, Scalar
from policies.predicate import FIELDREFS, PredicateError, value_test
from policies.sigma_values import NeverError, Refusal, compare, keyword, translate
from policies.source import did_you_mean

__all__ = ["NotCollected", "Refusal", "SigmaTree"]


class NotCollected(Refusal):
    """A rule cannot do without something that is not collected."""


class SigmaTree:
    """Turns conditions into predicates over ``fields``, or over those a ``mapping`` translates to.

    A mapped rule may compare a field we do not collect: such a comparison can never hold. Where the rule has another
    way to fire it is left out (``left_out`` says what); where nothing is left, or where it stood in an exception that
    would then silently not be made, the rule is refused.
    """

    def __init__(self, fields: Mapping[str, FieldInfo], mapping: FieldMapping | None = None) -> None:
        self._fields = fields
        self._mapping = mapping
        self.left_out: dict[str, str] = {}
        """Field → why it never holds."""

    def node(self, condition: Value) -> Node:
        """One condition with everything below it. Raises Refusal, and NotCollected."""
        found = self._node(condition, wanted=True)
        if found is None:
            field, why = next(iter(self.left_out.items()))
            raise NotCollected(field, why)
        return found

    def _node(self, condition: Value, *, wanted: bool) -> Node | None:
        """The predicate; None: it can never hold. ``wanted``: a rule fires because of it, not in spite of it."""
        if isinstance(condition, ConditionNOT):
            inner = self._node(condition.args[0], wanted=not wanted)
            if inner is None:
                field, why = next(iter(self.left_out.items()))
                raise NotCollected(field, why)
            return Not(inner)
        if isinstance(condition, ConditionAND | ConditionOR):
            return self._joined(condition.args, is_or=isinstance(condition, ConditionOR), wanted=wanted)
        if isinstance(
            condition.value, SigmaExpansion
        ):  # one value that stands for several (windash, base64offset)
            parts = [replace(condition, value=value) for value in condition.value.values]
            return self._joined(parts, is_or=True, wanted=wanted)
        field = getattr(condition, "field", "")
        try:
            found = self._leaf(condition)
        except NeverError as never:
            if not wanted:
                raise NotCollected(field, f"an exception needs it: {never}") from never
            self.left_out.setdefault(field, str(never))
            return None
        except Refusal as refusal:
            raise type(refusal)(field or refusal.field, refusal.message, refusal.hint) from refusal
        return found

    def _joined(self, args: Iterable[Value], *, is_or: bool, wanted: bool) -> Node | None:
        kind: type[All | Any] = Any if is_or else All
        flat: list[Node] = []
        missing: NotCollected | None = None
        never = False
        for arg in args:
            try:
                part = self._node(arg, wanted=wanted)
            except NotCollected as error:
                missing = missing or error
                continue
            if part is None:
                never = True
            else:
                flat.extend(part.parts if isinstance(part, All | Any) and type(part) is kind else [part])
        if never and not is_or:
            return None  # whatever its exceptions ask for
        if missing:
            raise missing
        if not flat:
            return None
        merged = _merge(flat, every=not is_or)
        return merged[0] if len(merged) == 1 else kind(tuple(merged))

    def _leaf(self, condition: Value) -> Node:
        if isinstance(condition, ConditionValueExpression):
            if self._mapping is not None:
                raise NeverError("it searches the raw log line, which is not collected")
            return keyword(condition.value)
        if not isinstance(condition, ConditionFieldEqualsValueExpression):
            raise Refusal("", f"{type(condition).__name__} is not supported")
        if self._mapping is not None:
            return self._mapped(self._mapping, condition.field, condition.value)
        found = compare(condition.field, condition.value)
        self._check(found)
        return found

    def _mapped(self, mapping: FieldMapping, field: str, value: Value) -> Node:
        ours = mapping.field(field)
        if ours is None:
            raise NeverError(f"field {field} is not collected")
        found = translate(ours, field, value, self._fields[ours.to].shape)
        if found.op in FIELDREFS:
            others = [mapping.field(str(name)) for name in found.values]
            if None in others:
                raise NeverError(f"field {found.values[0]} is not collected")
            found = Compare(found.field, found.op, tuple(one.to for one in others if one), cased=found.cased)
        self._check(found)
        return found

    def _check(self, node: Compare) -> None:
        info = FieldInfo("texts") if node.field == ANYWHERE else self._fields[node.field]
        for value in node.values:
            if node.op in FIELDREFS:
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
