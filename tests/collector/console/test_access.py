import re
import secrets
import threading
from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError

from collector.console import accounts
from collector.console.app import served
from collector.console.masking import MASK
from collector.console.roles import API, PUBLIC, ROLES, TABLE
from collector.registers import people
from tests.collector.console.world import PASSWORD, PC1, SECOND, Caller, World

SignIn = Callable[[str | None], Caller]
ROUTES = sorted(TABLE)


def path_of(template: str) -> str:
    return re.sub(r"\{\w+\}", "999999", template.removeprefix(API))


@pytest.mark.parametrize(("method", "template"), ROUTES)
def test_each_route_lets_in_exactly_the_roles_of_the_table(
    lasting_world: World, method: str, template: str
) -> None:
    allowed = TABLE[method, template]
    for role in (None, *ROLES):
        caller = Caller(lasting_world, role)
        answer = caller.call(method, path_of(template), {} if method == "POST" else None)
        shut = (401, "not_signed_in") if role is None else (403, "forbidden")
        is_in = allowed == PUBLIC or role in allowed
        assert (answer.status_code == shut[0] and answer.json()["name"] == shut[1]) != is_in, (
            role,
            answer.text,
        )
        if method == "DELETE":
            lasting_world.tokens.pop(str(role), None)


@pytest.mark.parametrize(("method", "template"), ROUTES)
def test_every_refusal_has_the_one_shape(lasting_world: World, method: str, template: str) -> None:
    for role in (None, *ROLES):
        answer = Caller(lasting_world, role).call(
            method, path_of(template), [] if method == "POST" else None, limit="many"
        )
        if answer.is_error:
            assert set(answer.json()) == {"name", "detail", "hint"}
            assert answer.status_code < 500
        elif method == "DELETE":
            lasting_world.tokens.pop(str(role), None)


def test_the_table_is_the_routes(world: World) -> None:
    assert served(world.app) == set(TABLE)


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/hosts", 405, "method_not_allowed"),
        ("POST", "/alerts/x/acknowledge", 404, "not_found"),
        ("GET", f"/hosts/{PC1}/approve", 405, "method_not_allowed"),
    ],
)
def test_what_is_no_route_has_the_shape_too(
    sign_in: SignIn, method: str, path: str, status: int, name: str
) -> None:
    assert sign_in("ciso").refused(method, path) == (status, name)
    assert sign_in(None).refused(method, path) == (401, "not_signed_in")


def test_the_schema_needs_no_sign_in_and_describes_every_route(sign_in: SignIn) -> None:
    client = sign_in(None)._client
    schema = client.get("/schema").json()
    described = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    assert described == set(TABLE)


def test_a_large_body_is_refused(sign_in: SignIn) -> None:
    body = {"id": "x", "name": "y" * 70_000}
    assert sign_in("it_staff").refused("POST", "/people", body) == (413, "oversized")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer " + "x" * 5000, "bearer \xff"]
)
def test_a_wrong_token_is_nobody(sign_in: SignIn, header: str) -> None:
    client = sign_in(None)._client
    answer = client.get("/api/v1/me", headers={b"authorization": header.encode("latin-1")})
    assert (answer.status_code, answer.json()["name"]) == (401, "not_signed_in")


def test_every_call_stands_in_the_audit_log_refused_ones_too(sign_in: SignIn, world: World) -> None:
    auditor, it, nobody = sign_in("auditor"), sign_in("it_staff"), sign_in(None)
    before = auditor.get("/audit", limit=1)[-1]["id"]
    it.get("/hosts", section="x")
    it.refused("GET", "/audit")
    nobody.refused("GET", "/alerts")
    nobody.refused("POST", "/sessions", {"name": "ciso", "password": "wrong"})
    it.refused("GET", "/nowhere")
    it.refused("POST", f"/hosts/{PC1}/revoke", {"reason": " "})
    lines = [
        (entry["operator"], entry["method"], entry["path"].removeprefix(API), entry["status"])
        for entry in auditor.get("/audit", after_id=before)
    ]
    assert lines == [
        ("auditor", "GET", "/audit", 200),
        ("it_staff", "GET", "/hosts", 200),
        ("it_staff", "GET", "/audit", 403),
        ("", "GET", "/alerts", 401),
        ("", "POST", "/sessions", 401),
        ("it_staff", "GET", "/nowhere", 404),
        ("it_staff", "POST", f"/hosts/{PC1}/revoke", 422),
    ]
    assert auditor.get("/audit/verify")["ok"]


def test_a_broken_chain_is_found(sign_in: SignIn, world: World) -> None:
    auditor = sign_in("auditor")
    head = auditor.get("/audit/verify")
    with world.console.store.write() as session:
        session.connection().exec_driver_sql("UPDATE audit SET operator = 'somebody' WHERE id = 1")
    answer = auditor.get("/audit/verify")
    assert (answer["ok"], answer["broken_at"], answer["what"]) == (False, 1, "digest")
    assert auditor.refused("GET", "/audit/verify", number=1, digest="zz") == (400, "bad_request")
    assert head["ok"]


def test_no_answer_without_a_line_in_the_audit_log(sign_in: SignIn, world: World) -> None:
    it = sign_in("it_staff")
    with world.console.store.write() as session:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER shut BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    assert it.refused("GET", "/hosts") == (503, "audit_failed")
    assert sign_in(None).refused("GET", "/hosts") == (503, "audit_failed")


def test_passwords_and_tokens_are_nowhere_in_the_clear(sign_in: SignIn, world: World) -> None:
    sign_in("ciso").get("/me")
    files = [path.read_bytes() for path in world.data.glob("control.db*")]
    for secret in (PASSWORD, world.tokens["ciso"]):
        assert not any(secret.encode() in file for file in files)


def test_a_session_ends_after_eight_hours_and_by_signing_out(sign_in: SignIn, world: World) -> None:
    caller = sign_in("ciso")
    world.now_us += 8 * 3600 * SECOND - 1
    caller.get("/me")
    world.now_us += 1
    assert caller.refused("GET", "/me") == (401, "not_signed_in")
    world.tokens.clear()
    again = sign_in("ciso")
    assert again.call("DELETE", "/sessions").status_code == 204
    assert again.refused("GET", "/me") == (401, "not_signed_in")


def test_failures_shut_an_account_longer_and_longer(sign_in: SignIn, world: World) -> None:
    nobody = sign_in(None)
    wrong, right = {"name": "ciso", "password": "x"}, {"name": "ciso", "password": PASSWORD}
    for _ in range(3):
        assert nobody.refused("POST", "/sessions", wrong) == (401, "wrong_password")
    answer = nobody.call("POST", "/sessions", right)
    assert (answer.status_code, answer.json()["name"], answer.headers["retry-after"]) == (429, "locked", "2")
    world.now_us += 2 * SECOND
    assert nobody.refused("POST", "/sessions", wrong) == (401, "wrong_password")
    world.now_us += 2 * SECOND
    assert nobody.refused("POST", "/sessions", right) == (429, "locked")
    world.now_us += 2 * SECOND
    assert nobody.post("/sessions", right)["role"] == "ciso"
    assert nobody.refused("POST", "/sessions", wrong) == (401, "wrong_password")
    assert nobody.post("/sessions", right)["role"] == "ciso"


def test_an_unknown_name_reads_like_a_wrong_password(sign_in: SignIn) -> None:
    nobody = sign_in(None)
    answers = [
        nobody.call("POST", "/sessions", {"name": name, "password": "x"}) for name in ("ciso", "nobody")
    ]
    assert answers[0].json() == answers[1].json()


def test_a_failed_sign_in_names_the_account_but_no_other_text(sign_in: SignIn) -> None:
    nobody = sign_in(None)
    nobody.refused("POST", "/sessions", {"name": "ciso", "password": "x"})
    nobody.refused("POST", "/sessions", {"name": "my-password-1", "password": "x"})
    entries = [entry for entry in sign_in("auditor").get("/audit") if entry["status"] == 401]
    assert [entry["detail"] for entry in entries] == [{"account": "ciso"}, {}]


def test_more_sign_ins_than_can_be_checked_are_told_to_wait(
    sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_at_once", threading.BoundedSemaphore(1))
    monkeypatch.setattr(accounts, "QUEUE_S", 0)
    with accounts._at_once:
        assert sign_in(None).refused("POST", "/sessions", {"name": "x", "password": "x"}) == (
            503,
            "overloaded",
        )


def test_nothing_of_an_unforeseen_error_is_told_and_no_data_is_logged(
    sign_in: SignIn, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = secrets.token_hex(8)  # not in the source, which a trace shows

    def fail(*_: object, **__: object) -> None:
        raise IntegrityError("INSERT", {"name": secret}, Exception("x"))

    monkeypatch.setattr(people, "list_people", fail)
    answer = sign_in("it_staff").call("GET", "/people")
    assert (answer.status_code, answer.json()["name"]) == (500, "internal")
    assert secret not in answer.text + caplog.text
    assert "api_error" in caplog.text


def test_a_section_head_sees_the_own_section_only(sign_in: SignIn, world: World) -> None:
    head, mine, other = sign_in("section_head"), world.alert(PC1), world.alert("aabb" + "3" * 28, seq=1)
    assert [host["hostname"] for host in head.get("/hosts")] == ["zeimu-01"]
    assert [host["hostname"] for host in head.get("/hosts", section="福祉課")] == ["zeimu-01"]
    assert head.refused("GET", "/hosts/fukushi-01") == (404, "not_found")
    assert [alert["id"] for alert in head.get("/alerts")] == [mine]
    assert head.refused("POST", f"/alerts/{other}/acknowledge", {}) == (404, "not_found")
    assert {person["id"] for person in head.get("/people", section="福祉課")} == {"tanaka", "kato"}


@pytest.mark.parametrize("role", ROLES)
def test_personal_fields_are_masked_by_role(sign_in: SignIn, world: World, role: str) -> None:
    world.alert(PC1)
    (alert,) = sign_in(role).get("/alerts")
    sees = role in {"network_admin", "ciso", "auditor"}
    assert alert["person"] == alert["event"]["user"] == ("tanaka" if sees else MASK)
    assert alert["event"]["exe"] == ("/home/tanaka/x" if sees else f"/home/{MASK}/x")
