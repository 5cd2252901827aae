"""Random events, enrichments and predicates, and an evaluator so plain that it can be read as the definition."""

import ipaddress
import re
from typing import Any as Value

from hypothesis import strategies as st

from policies.model import All, Any, Compare, Enrichment, Node, Not
from protocol.events import KINDS, ConnectionOpened, DeviceAttached, Event, ProcessDenied

ENRICHED = set(Enrichment.__struct_fields__)
WORDS = [
    "",
    "none",
    "granted",
    "NONE",
    "Storage",
    "storage",
    "usb stick",
    "outside",
    "10.1.2.3",
    "ÄB",
    "機器",
]
TEXT_FIELDS = [
    "permit",
    "permit_id",
    "asset",
    "zone",
    "dest_zone",
    "section",
    "label",
    "serial",
    "dest_ip",
    "exe",
    "absent",
]
ALL_FIELDS = [*TEXT_FIELDS, "dest_port", "office_hours", "interfaces", "kind", "read_only"]
NETWORKS = ["10.0.0.0/8", "10.1.2.3", "::/0", "203.0.113.0/24"]

words = st.sampled_from(WORDS)

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        DeviceAttached,
        time_us=st.just(1),
        label=words,
        serial=words,
        zone=words,
        permit=st.sampled_from(["", "none", "granted"]),
        interfaces=st.lists(words, max_size=2).map(tuple),
    ),
    st.builds(
        ConnectionOpened,
        time_us=st.just(1),
        dest_ip=st.sampled_from(["", "10.1.2.3", "::1", "::ffff:10.9.9.9", "203.0.113.5", "junk"]),
        dest_port=st.sampled_from([0, 22, 443]),
        dest_zone=words,
        exe=words,
    ),
    st.builds(ProcessDenied, time_us=st.just(1), exe=words),
)
enrichments = st.builds(
    Enrichment,
    permit=st.sampled_from(["", "none", "granted", "expired"]),
    permit_id=words,
    asset=st.sampled_from(["", "city", "unknown"]),
    zone=words,
    dest_zone=words,
    section=words,
    office_hours=st.booleans(),
    read_only=st.booleans(),
)


def _some(values: st.SearchStrategy[Value]) -> st.SearchStrategy[tuple[Value, ...]]:
    return st.lists(values, min_size=1, max_size=3).map(tuple)


_kinds = st.sampled_from(list(KINDS))
leaves = st.one_of(
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.just("eq"),
        values=_some(st.one_of(words, _kinds, st.none(), st.booleans(), st.sampled_from([0, 22, 443]))),
        every=st.booleans(),
        cased=st.booleans(),
    ),
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.sampled_from(["contains", "startswith", "endswith"]),
        values=_some(words),
        every=st.booleans(),
        cased=st.booleans(),
    ),
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.just("re"),
        values=_some(st.sampled_from(["^st", "(?i)^ST", ".", "o.e$", "器"])),
        every=st.booleans(),
    ),
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.just("cidr"),
        values=_some(st.sampled_from(NETWORKS)),
    ),
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.sampled_from(["lt", "lte", "gt", "gte"]),
        values=_some(st.sampled_from([0, 22, 443])),
        every=st.booleans(),
    ),
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.just("exists"),
        values=st.booleans().map(lambda x: (x,)),
    ),
    st.builds(
        Compare,
        field=st.sampled_from(ALL_FIELDS),
        op=st.just("fieldref"),
        values=_some(st.sampled_from(ALL_FIELDS)),
        every=st.booleans(),
        cased=st.booleans(),
    ),
)
nodes: st.SearchStrategy[Node] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=1, max_size=4).map(tuple)),
        st.builds(Any, st.lists(inner, min_size=1, max_size=4).map(tuple)),
    ),
    max_leaves=8,
)


# -- the definition --------------------------------------------------------------------------------------------------


def value_of(name: str, event: Event, enrichment: Enrichment) -> Value:
    if name == "kind":
        return event.__struct_config__.tag
    known = getattr(enrichment, name) if name in ENRICHED else None
    return known or getattr(event, name, known)


def holds(node: Node, event: Event, enrichment: Enrichment) -> bool:
    if isinstance(node, All):
        return all(holds(part, event, enrichment) for part in node.parts)
    if isinstance(node, Any):
        return any(holds(part, event, enrichment) for part in node.parts)
    if isinstance(node, Not):
        return not holds(node.part, event, enrichment)
    value = value_of(node.field, event, enrichment)
    if node.op == "fieldref":
        others = [value_of(str(name), event, enrichment) for name in node.values]
        answers = [not empty(value) and same(value, other, node.cased) for other in others]
    else:
        answers = [one_holds(node, wanted, value) for wanted in node.values]
    return all(answers) if node.every else any(answers)


def empty(value: Value) -> bool:
    return value is None or (isinstance(value, str | tuple) and len(value) == 0)


def same(left: Value, right: Value, cased: bool) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left == right if cased else left.lower() == right.lower()
    return type(left) is type(right) and bool(left == right)


def one_holds(node: Compare, wanted: Value, value: Value) -> bool:
    if node.op == "exists":
        return empty(value) is not wanted
    if wanted is None:
        return empty(value)
    items = value if isinstance(value, tuple) else (value,)
    return any(item_holds(node, wanted, item) for item in items)


def item_holds(node: Compare, wanted: Value, item: Value) -> bool:
    if node.op == "eq":
        return same(item, wanted, node.cased)
    if node.op in {"lt", "lte", "gt", "gte"}:
        if type(item) is not int:
            return False
        orders: dict[str, bool] = {
            "lt": item < wanted,
            "lte": item <= wanted,
            "gt": item > wanted,
            "gte": item >= wanted,
        }
        return orders[node.op]
    if not isinstance(item, str) or not item:
        return False
    if node.op == "re":
        return re.search(wanted, item) is not None
    if node.op == "cidr":
        return in_network(item, wanted)
    low, part = (item, wanted) if node.cased else (item.lower(), wanted.lower())
    return {"contains": part in low, "startswith": low.startswith(part), "endswith": low.endswith(part)}[
        node.op
    ]


def in_network(item: str, wanted: str) -> bool:
    network = ipaddress.ip_network(wanted, strict=False)
    try:
        address = ipaddress.ip_address(item)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address in network
