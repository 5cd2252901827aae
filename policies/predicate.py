"""A predicate tree as a Python closure over one kind of event.

Compiling folds first: what the kind decides (comparisons of ``kind``, fields the kind does not have) becomes constant,
so a rule about ``device.attached`` costs a ``device.detached`` nothing at all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any as Value

from policies.addresses import parse_address, parse_network
from policies.model import ANYWHERE, All, Any, Compare, Enrichment, Node, Not, Scalar
from policies.readers import ENRICHED, EVENT_FIELDS, all_text, is_missing, items_of, reader
from protocol.events import Event

Check = Callable[[Event, Enrichment], bool]
Test = Callable[[Value], bool]

RE_MAX_LENGTH = 1000
RE_MAX_MEMORY = 1 << 20
"""Bytes RE2 may take for one pattern (program and state cache)."""
FIELDREFS = frozenset({"fieldref", "fieldref_contains", "fieldref_startswith", "fieldref_endswith"})


class PredicateError(ValueError):
    """A predicate that cannot be compiled: a regex RE2 refuses, a network that is none."""


def compile_pattern(pattern: str) -> Callable[[str], Value]:
    """Compile a regular expression with RE2, whose matching time is linear in the text.

    Raises PredicateError when it is too long, too large, or uses what RE2 refuses (back-references, look-around).
    """
    import re2  # only where a rule needs it: the resident agent stays small

    if len(pattern) > RE_MAX_LENGTH:
        raise PredicateError(f"regex of {len(pattern)} characters, at most {RE_MAX_LENGTH}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = RE_MAX_MEMORY
    try:
        search: Callable[[str], Value] = re2.compile(pattern, options).search
    except re2.error as error:
        said = error.args[0] if error.args else error
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise PredicateError(f"regex refused by RE2: {text}") from error
    return search


# -- tests of one value ----------------------------------------------------------------------------------------------


def _same(left: Value, right: Value, *, cased: bool) -> bool:
    if left.__class__ is str and right.__class__ is str:
        return bool(left == right if cased else left.lower() == right.lower())
    return left.__class__ is right.__class__ and bool(left == right)


def _holds_part(op: str, left: Value, right: Value, *, cased: bool) -> bool:
    """Whether ``right`` stands in ``left`` as ``op`` (``fieldref_contains`` …) asks."""
    if left.__class__ is not str or right.__class__ is not str or not right:
        return False
    method = _PARTS[op.removeprefix("fieldref_")]
    return method(left, right) if cased else method(left.lower(), right.lower())


def _eq(wanted: Scalar, *, cased: bool) -> Test:
    if wanted is None:
        return is_missing
    if isinstance(wanted, str) and not cased:
        low = wanted.lower()

        def equals_text(value: Value) -> bool:
            if value.__class__ is str:
                return bool(value.lower() == low)
            return value.__class__ is tuple and any(
                one.__class__ is str and one.lower() == low for one in value
            )

        return equals_text
    return lambda value: any(one.__class__ is wanted.__class__ and one == wanted for one in items_of(value))


def _one_of(values: tuple[str, ...], *, cased: bool) -> Test:
    wanted = frozenset(values if cased else (value.lower() for value in values))

    def one_of(value: Value) -> bool:
        if value.__class__ is str:
            return (value if cased else value.lower()) in wanted
        return value.__class__ is tuple and any(map(one_of, value))

    return one_of


_PARTS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_ORDERS: dict[str, Callable[[Value, Value], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def _part(op: str, wanted: Scalar, *, cased: bool) -> Test:
    method = _PARTS[op]
    text = _text(op, wanted) if cased else _text(op, wanted).lower()

    def part(value: Value) -> bool:
        if value.__class__ is str:
            return bool(value) and method(value if cased else value.lower(), text)
        return value.__class__ is tuple and any(map(part, value))

    return part


def _any_part(op: str, values: tuple[str, ...], *, cased: bool) -> Test:
    """Any of several texts; the value is put into lower case once."""
    texts = values if cased else tuple(value.lower() for value in values)

    def contains(value: Value) -> bool:
        if value.__class__ is str:
            low = value if cased else value.lower()
            for text in texts:
                if text in low:
                    return bool(value)
            return False
        return value.__class__ is tuple and any(map(contains, value))

    method = _PARTS[op]

    def at_end(value: Value) -> bool:
        if value.__class__ is str:
            return bool(value) and method(value if cased else value.lower(), texts)  # type: ignore[arg-type]
        return value.__class__ is tuple and any(map(at_end, value))

    return contains if op == "contains" else at_end


def _order(op: str, wanted: Scalar) -> Test:
    if wanted.__class__ is not int:
        raise PredicateError(f"{op} needs a number, not {wanted!r}")
    method = _ORDERS[op]
    return lambda value: value.__class__ is int and method(value, wanted)


def _text(op: str, wanted: Scalar) -> str:
    if not isinstance(wanted, str):
        raise PredicateError(f"{op} needs text, not {wanted!r}")
    return wanted


def _cidr(wanted: Scalar) -> Test:
    try:
        network = parse_network(_text("cidr", wanted))
    except ValueError as error:
        raise PredicateError(f"not a network: {wanted!r}") from error

    def inside(value: Value) -> bool:
        address = parse_address(value) if value.__class__ is str else None
        return address is not None and network.holds(address)

    return inside


def _regex(wanted: Scalar) -> Test:
    search = compile_pattern(_text("re", wanted))

    def found(value: Value) -> bool:
        return any(one.__class__ is str and one != "" and search(one) is not None for one in items_of(value))

    return found


def value_test(node: Compare, wanted: Scalar) -> Test:
    """The test of one of the comparison's values (not ``fieldref…``). Raises PredicateError."""
    if node.op == "eq":
        return _eq(wanted, cased=node.cased)
    if node.op in _PARTS:
        return _part(node.op, wanted, cased=node.cased)
    if node.op in _ORDERS:
        return _order(node.op, wanted)
    if node.op == "cidr":
        return _cidr(wanted)
    if node.op == "re":
        return _regex(wanted)
    return lambda value: is_missing(value) != bool(wanted)


def _compare_test(node: Compare) -> Test:
    if not node.every and len(node.values) > 1:
        texts = tuple(value for value in node.values if isinstance(value, str))
        if node.op == "eq" and len(texts) == len(node.values):
            return _one_of(texts, cased=node.cased)
        if node.op in _PARTS and len(texts) == len(node.values):
            return _any_part(node.op, texts, cased=node.cased)
    tests = tuple(value_test(node, wanted) for wanted in node.values)
    if len(tests) == 1:
        return tests[0]
    if node.every:
        return lambda value: all(test(value) for test in tests)
    return lambda value: any(test(value) for test in tests)


# -- nodes ----------------------------------------------------------------------------------------------------------


def _fieldref(node: Compare, kind: str) -> Check:
    read = reader(node.field, kind)
    others = tuple(reader(_text("fieldref", name), kind) for name in node.values)
    combine = all if node.every else any
    same = _same if node.op == "fieldref" else partial(_holds_part, node.op)

    def check(event: Event, enrichment: Enrichment) -> bool:
        value = read(event, enrichment)
        if is_missing(value):
            return False
        return combine(same(value, other(event, enrichment), cased=node.cased) for other in others)

    return check


def _compare(node: Compare, kind: str) -> Check:
    if node.op in FIELDREFS:
        return _fieldref(node, kind)
    test = _compare_test(node)
    if node.field == ANYWHERE:
        read = all_text(kind)
        return lambda event, enrichment: test(read(event, enrichment))
    get = operator.attrgetter(node.field)
    if node.field not in ENRICHED:
        return lambda event, _enrichment: test(get(event))
    if node.field not in EVENT_FIELDS[kind]:
        return lambda _event, enrichment: test(get(enrichment))
    return lambda event, enrichment: test(get(enrichment) or get(event))


def fold(node: Node, kind: str, enrichment: Enrichment | None = None) -> Node | bool:
    """Decide what the kind, and the enrichment if given, alone decide. Raises PredicateError."""
    if isinstance(node, Compare):
        return _fold_compare(node, kind, enrichment)
    if isinstance(node, Not):
        part = fold(node.part, kind, enrichment)
        return not part if isinstance(part, bool) else Not(part)
    decisive = isinstance(node, Any)
    parts = [fold(part, kind, enrichment) for part in node.parts]
    if decisive in parts:
        return decisive
    rest = tuple(part for part in parts if not isinstance(part, bool))
    if not rest:
        return not decisive
    return rest[0] if len(rest) == 1 else type(node)(rest)


def _fold_compare(node: Compare, kind: str, enrichment: Enrichment | None) -> Node | bool:
    if node.op in FIELDREFS or node.field == ANYWHERE:
        return node
    if node.field == "kind":
        return _compare_test(node)(kind)
    on_event = node.field in EVENT_FIELDS[kind]
    if node.field in ENRICHED and enrichment is not None:
        value = getattr(enrichment, node.field)
        return node if on_event and not value else _compare_test(node)(value)
    return node if on_event or node.field in ENRICHED else _compare_test(node)(None)


def closure(node: Node, kind: str) -> Check:
    """Compile a folded predicate for one kind. Raises PredicateError."""
    if isinstance(node, Compare):
        return _compare(node, kind)
    if isinstance(node, Not):
        inner = closure(node.part, kind)
        return lambda event, enrichment: not inner(event, enrichment)
    # Pairs of pairs: no loop, no generator, and the order of the parts is kept.
    if len(node.parts) == 1:
        return closure(node.parts[0], kind)
    middle = len(node.parts) // 2
    first = closure(type(node)(node.parts[:middle]), kind)
    second = closure(type(node)(node.parts[middle:]), kind)
    if isinstance(node, All):
        return lambda event, enrichment: first(event, enrichment) and second(event, enrichment)
    return lambda event, enrichment: first(event, enrichment) or second(event, enrichment)
