"""Applications and permits over the API: who sees, who decides, what reaches the PCs and when."""

from collections.abc import Callable
from typing import Any

import pytest

from collector.registers import applications
from collector.registers.applications import Wanted
from collector.registers.models import Operator
from collector.registers.people import add_person
from policies.model import Scope, Subject
from tests.collector.console.test_policy import application as permit_of
from tests.collector.console.world import PC1, PC2, START, TAX, WELFARE, Caller, World

SignIn = Callable[[str | None], Caller]
DAY, MINUTE = 86_400_000_000, 60_000_000
GRANT = {"ordinance": "nagoya", "article": "第35条第4号", "approver": "kato", "reason": "要る"}


def form(**changes: Any) -> dict[str, Any]:
    return {
        "applicant": "tanaka",
        "kind": "device",
        "subject": {"device_id": "d-1"},
        "purpose": "現地調査",
        "days": 30,
        "scope": {"agents": ["zeimu-01"]},
        **changes,
    }


def test_a_form_is_examined_and_granted_with_conditions(sign_in: SignIn, world: World) -> None:
    it, network = sign_in("it_staff"), sign_in("network_admin")
    made = it.post("/applications", form())
    assert (made["state"], made["section"], made["known"]) == ("applied", TAX, True)
    assert made["may_decide"] == [{"person": "kato", "offices": ["network_manager", "section_head"]}]
    world.now_us += MINUTE
    examined = it.post(f"/applications/{made['id']}/examine", {"reason": "資産台帳と一致", "person": "kato"})
    assert (examined["state"], examined["waits_us"]) == ("examined", MINUTE)
    conditions = {"read_only": True, "conditions": ["施錠保管"], "scope": {"agents": ["zeimu-01"]}}
    granted = network.post(f"/applications/{made['id']}/grant", GRANT | conditions)["permit"]
    assert (granted["state"], granted["read_only"], granted["conditions"]) == ("granted", True, ["施錠保管"])
    assert (granted["scope"], granted["until_us"]) == ({"agents": [PC1]}, world.now_us + 30 * DAY)
    shown = network.get(f"/applications/{made['id']}")
    assert [one["step"] for one in shown["trail"]] == ["apply", "examine", "grant"]
    assert (shown["application"]["permit_id"], shown["application"]["may_decide"]) == (granted["id"], [])
    assert "nagoya:第35条第4号" in shown["grounds"]
    assert [one["step"] for one in network.get(f"/permits/{granted['id']}")["trail"]] == ["grant"]
    assert network.refused("POST", f"/applications/{made['id']}/grant", GRANT) == (409, "wrong_state")


def from_pc(world: World, agent_id: str, request: str, user: str = "tanaka") -> None:
    wanted = Wanted(
        applicant=user, kind="device", subject=Subject(device_id="d-9"), purpose="回収", days=7,
        scope=Scope(agents=(agent_id,)), agent_id=agent_id, request=request,
    )  # fmt: skip
    with world.console.store.write() as session:
        applications.take_in(session, [wanted], world.now_us)


def test_a_section_head_sees_what_waits_in_the_own_section(sign_in: SignIn, world: World) -> None:
    from_pc(world, PC1, "r1")
    world.now_us += MINUTE
    from_pc(world, PC1, "r2", user="stranger")
    from_pc(world, PC2, "r3")
    head, network = sign_in("section_head"), sign_in("network_admin")
    mine = head.get("/applications", only="open")
    assert [(one["section"], one["hostname"], one["known"]) for one in mine] == [
        (TAX, "zeimu-01", True),
        (TAX, "zeimu-01", False),
    ]
    assert [one["waits_us"] for one in mine] == [MINUTE, 0]
    assert len(head.get("/applications", mine="true")) == 2
    assert len(network.get("/applications")) == 3
    assert network.get("/applications", mine="true") == []
    (other,) = network.get("/applications", section=WELFARE)
    for path in ("examine", "refuse", "withdraw"):
        body = {"reason": "x"}
        assert head.refused("POST", f"/applications/{other['id']}/{path}", body) == (404, "not_found")
    assert head.refused("GET", f"/applications/{other['id']}") == (404, "not_found")
    assert head.refused("POST", f"/applications/{other['id']}/grant", GRANT) == (404, "not_found")
    assert head.refused("POST", "/applications", form(applicant="mori"))[0] in {403, 404}


def test_who_decides_must_hold_an_office_that_an_article_names(sign_in: SignIn, world: World) -> None:
    made = sign_in("it_staff").post("/applications", form())
    network, head = sign_in("network_admin"), sign_in("section_head")
    path = f"/applications/{made['id']}"
    assert network.refused("POST", f"{path}/refuse", {"reason": "x", "person": "mori"}) == (
        403,
        "role_not_named",
    )
    assert network.refused("POST", f"{path}/refuse", {"reason": "x"}) == (403, "role_not_named")
    assert network.refused("POST", f"{path}/refuse", {"reason": " ", "person": "kato"}) == (
        422,
        "reason_missing",
    )
    assert network.refused("POST", f"{path}/grant", GRANT | {"approver": "mori"}) == (403, "role_not_named")
    assert network.refused("POST", f"{path}/grant", GRANT | {"approver": "tanaka"}) == (403, "self_approval")
    assert network.refused("POST", f"{path}/grant", GRANT | {"article": "第35条第5号"}) == (
        403,
        "not_permittable",
    )
    assert network.refused("POST", f"{path}/grant", GRANT | {"article": "第54条第1項"}) == (
        422,
        "wrong_article",
    )
    assert head.refused("POST", f"{path}/refuse", {"reason": "x", "person": "mori"}) == (403, "forbidden")
    assert head.post(f"{path}/refuse", {"reason": "市の媒体を使うこと"})["state"] == "refused"
    trail = head.get(path)["trail"]
    assert (trail[-1]["person"], trail[-1]["office"], trail[-1]["operator"]) == (
        "kato",
        "network_manager",
        "section_head",
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subject": {"ssid": "x"}}, (422, "foreign_field")),
        ({"subject": {}}, (422, "subject_unspecific")),
        ({"applicant": "nobody"}, (404, "not_found")),
        ({"days": 0}, (400, "bad_request")),
        ({"kind": "wings"}, (400, "bad_request")),
        ({"extra": 1}, (400, "bad_request")),
    ],
)
def test_forms_that_are_refused_by_name(
    sign_in: SignIn, changes: dict[str, Any], problem: tuple[int, str]
) -> None:
    assert sign_in("it_staff").refused("POST", "/applications", form(**changes)) == problem


def test_an_application_may_be_withdrawn(sign_in: SignIn) -> None:
    made = sign_in("it_staff").post("/applications", form())
    gone = sign_in("it_staff").post(f"/applications/{made['id']}/withdraw", {"reason": "不要になった"})
    assert gone["state"] == "withdrawn"
    assert sign_in("auditor").get("/applications", only="open") == []


def test_permits_that_end_soon_are_listed_and_renewed(sign_in: SignIn, world: World) -> None:
    network = sign_in("network_admin")
    old = network.post("/permits", permit_of(until_us=START + 5 * DAY))["permit"]
    network.post("/permits", permit_of(until_us=START + 90 * DAY))
    assert [one["id"] for one in network.get("/permits", expiring_us=30 * DAY)] == [old["id"]]
    renewal = {"approver": "kato", "reason": "継続", "until_us": START + 60 * DAY}
    new = network.post(f"/permits/{old['id']}/renew", renewal)["permit"]
    assert (new["renews"], new["from_us"], new["state"]) == (old["id"], old["until_us"], "pending")
    assert network.get("/permits", expiring_us=30 * DAY) == []
    assert network.get(f"/permits/{old['id']}")["permit"]["renewed_by"] == new["id"]
    assert network.refused("POST", f"/permits/{old['id']}/renew", renewal) == (409, "already_there")
    world.now_us = START + 6 * DAY
    world.tokens.clear()  # sessions are over by then
    assert [one["id"] for one in sign_in("network_admin").get("/permits", only="renewed")] == [old["id"]]
    head = sign_in("section_head")
    assert head.refused("POST", f"/permits/{new['id']}/renew", renewal | {"approver": "mori"}) == (
        403,
        "forbidden",
    )


def test_an_operator_without_a_person_decides_nothing(sign_in: SignIn, world: World) -> None:
    with world.console.store.write() as session:
        add_person(session, "ueda", "上田", roles=["network_manager"])
        operator = session.get_one(Operator, "network_admin")
        assert operator.person_id is None
    made = sign_in("it_staff").post("/applications", form())
    network = sign_in("network_admin")
    assert network.refused("POST", f"/applications/{made['id']}/refuse", {"reason": "x"}) == (
        403,
        "role_not_named",
    )
    refused = network.post(f"/applications/{made['id']}/refuse", {"reason": "x", "person": "ueda"})
    assert refused["state"] == "refused"
