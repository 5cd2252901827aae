import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.console.roles import API, TABLE
from tests.collector.console.world import PC1, Caller, World

text = st.text(max_size=12) | st.sampled_from(
    [PC1, "zeimu-01", "\x00", "\ud800", "1" * 40, "tanaka", "device"]
)
scalar = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | text
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "name",
    "password",
    "reason",
    "zone",
    "section",
    "id",
    "roles",
    "kind",
    "subject",
    "note",
    "document",
    "body",
    "signatures",
    "scope",
    "applicant",
    "approver",
    "ordinance",
    "article",
    "from_us",
    "until_us",
    "read_only",
    "device_class",
    "agents",
    "users",
    "serial",
    "device_id",
    "key_id",
    "value",
]
shaped = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=8)
QUERIES = [
    "after_id",
    "limit",
    "level",
    "wait_s",
    "host",
    "kind",
    "since_us",
    "until_us",
    "user",
    "text",
    "oldest_first",
    "reason",
    "status",
    "zone",
    "section",
    "only",
    "target",
    "unless",
    "number",
    "digest",
    "operator",
    "role",
]
POSTS = sorted(
    template.removeprefix(API)
    for method, template in TABLE
    if method == "POST" and "sessions" not in template
)
GETS = sorted(template.removeprefix(API) for method, template in TABLE if method == "GET")
ROLES_THAT_MAY = ("network_admin", "ciso", "auditor")


def fill(template: str, value: str) -> str:
    safe = "".join(char for char in value if char.isascii() and char.isalnum()) or "x"
    return re.sub(r"\{\w+\}", safe, template)


def sound(caller: Caller, method: str, path: str, content: bytes | None, query: dict[str, str]) -> None:
    headers = {**caller._headers, "content-type": "application/json"}
    answer = caller._client.request(method, f"{API}{path}", content=content, params=query, headers=headers)
    assert answer.status_code < 500, (path, content, query, answer.text)
    if answer.is_error:
        assert set(answer.json()) == {"name", "detail", "hint"}


@pytest.mark.parametrize("template", POSTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=shaped | anything, raw=st.none() | st.binary(max_size=40), part=text)
def test_no_body_breaks_a_call(
    lasting_world: World, template: str, body: Any, raw: bytes | None, part: str
) -> None:
    content = raw if raw is not None else json.dumps(body).encode()
    for role in ("network_admin", "ciso"):
        sound(Caller(lasting_world, role), "POST", fill(template, part), content, {})


@pytest.mark.parametrize("template", GETS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.dictionaries(st.sampled_from(QUERIES), scalar.map(str), max_size=5), part=text)
def test_no_query_breaks_a_call(
    lasting_world: World, template: str, query: dict[str, str], part: str
) -> None:
    query = {
        name: value.encode("utf-8", "replace").decode() for name, value in query.items() if name != "wait_s"
    }
    for role in ROLES_THAT_MAY:
        sound(Caller(lasting_world, role), "GET", fill(template, part), None, query)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
def test_nobody_breaks_the_front_door(lasting_world: World, content: bytes) -> None:
    sound(Caller(lasting_world, None), "POST", "/sessions", content, {})


@pytest.mark.parametrize("purpose", ["orders", "policy/releases"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300), signed=st.booleans())
def test_no_signed_bytes_break_a_desk(lasting_world: World, purpose: str, noise: bytes, signed: bool) -> None:
    from protocol.signed import Signed, seal

    key = lasting_world.ciso_key if purpose == "orders" else lasting_world.policy_key
    kind = "order" if purpose == "orders" else "policy"
    document = seal(kind, noise, [key]) if signed else Signed(noise)  # type: ignore[arg-type]
    body = {"document": document} if purpose == "orders" else {"document": document, "reason": "x"}
    sound(Caller(lasting_world, "ciso"), "POST", f"/{purpose}", msgspec.json.encode(body), {})
