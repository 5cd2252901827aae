from collections.abc import Mapping

import pytest
from msgspec.structs import replace
from sqlalchemy.orm import Session

from collector.registers import applications, people, permits
from collector.registers.applications import MOST_OPEN, Deciders, Decision, Wanted
from collector.registers.models_permits import Application
from collector.registers.permits import Terms
from collector.registers.procedure import LAPSE_US
from collector.registers.trail import Actor, trail_of
from policies.granting import Contract, PermitError
from policies.model import Scope, Subject
from policies.ordinance import Ordinance
from policies.shipped import load_shipped
from protocol.refusal import RefusedError

ORDINANCES: Mapping[str, Ordinance] = load_shipped()[0]
NOW, DAY_US = 1_800_000_000_000_000, 86_400_000_000
FORM = Wanted(
    applicant="sato", kind="device", subject=Subject(device_id="usb-1"), purpose="現地調査", days=30,
    scope=Scope(agents=("pc1",)),
)  # fmt: skip
FROM_PC = replace(FORM, agent_id="pc1", request="r1")
HEAD = Actor(operator="it", person="suzuki", office="section_head")
YES = Decision(ordinance="nagoya", article="第35条第4号", approver="suzuki", reason="要る", from_us=NOW)


@pytest.fixture
def registered(session: Session) -> Session:
    people.add_person(session, "sato", "佐藤", section="税務課")
    people.add_person(session, "suzuki", "鈴木", section="税務課", roles=["section_head"])
    people.add_person(session, "mori", "森", section="福祉課", roles=["section_head"])
    people.add_person(session, "kato", "加藤", section="情報課", roles=["network_manager"])
    return session


@pytest.fixture
def form(registered: Session) -> Application:
    return applications.apply(registered, FORM, entered_by="it", now_us=NOW)


def decide(session: Session, row: Application, decision: Decision = YES, now_us: int = NOW + 1) -> str:
    granted = applications.decide(session, row, decision, ORDINANCES, entered_by="it", now_us=now_us)
    return granted.id


def test_from_the_form_to_the_permit(registered: Session, form: Application) -> None:
    applications.examine(registered, form, HEAD, note="資産台帳と一致", now_us=NOW + 1)
    assert form.state == "examined"
    terms = Terms(read_only=True, conditions=("施錠保管", " "))
    decision = replace(YES, terms=terms, scope=Scope(agents=("pc1",), sections=("税務課",)))
    permit_id = decide(registered, form, decision, NOW + 2)
    granted = permits.get_permit(registered, permit_id)
    assert (form.state, form.permit_id) == ("granted", permit_id)
    assert (granted.applicant, granted.approver, granted.approver_role) == ("sato", "suzuki", "section_head")
    assert (granted.read_only, granted.conditions) == (True, ["施錠保管"])
    assert granted.scope == {"agents": ["pc1"], "sections": ["税務課"]}
    assert granted.until_us == NOW + 30 * DAY_US
    trail = [
        (one.step, one.person, one.office, one.reason) for one in trail_of(registered, application_id=form.id)
    ]
    assert trail == [
        ("apply", "sato", "", "現地調査"),
        ("examine", "suzuki", "section_head", "資産台帳と一致"),
        ("grant", "suzuki", "section_head", "要る"),
    ]


def test_a_decided_application_stays_so(registered: Session, form: Application) -> None:
    applications.refuse(registered, form, HEAD, reason="市の媒体を使うこと", now_us=NOW)
    assert form.state == "refused"
    for deed in (
        lambda: applications.examine(registered, form, HEAD, note="x", now_us=NOW),
        lambda: applications.withdraw(registered, form, HEAD, reason="x", now_us=NOW),
        lambda: decide(registered, form),
    ):
        with pytest.raises(RefusedError, match="wrong_state"):
            deed()
    assert permits.list_permits(registered) == []


def test_nobody_decides_about_oneself(registered: Session, form: Application) -> None:
    for deed in (applications.examine, applications.refuse):
        reason = {"note" if deed is applications.examine else "reason": "x"}
        with pytest.raises(RefusedError, match="self_approval"):
            deed(registered, form, Actor(person="sato"), now_us=NOW, **reason)
    with pytest.raises(PermitError, match="self_approval"):
        decide(registered, form, replace(YES, approver="sato"))


def test_an_application_that_waits_too_long_lapses(registered: Session, form: Application) -> None:
    end = NOW + LAPSE_US
    states = [applications.state_of(form, when) for when in (NOW, end - 1, end)]
    assert states == ["applied", "applied", "lapsed"]
    with pytest.raises(RefusedError, match="wrong_state"):
        decide(registered, form, now_us=end)
    assert applications.list_applications(registered, state="lapsed", now_us=end) == [form]
    assert applications.list_applications(registered, state="applied", now_us=end) == []


def test_who_may_decide(registered: Session, form: Application) -> None:
    deciders = Deciders(registered, ORDINANCES, ["nagoya"])
    assert deciders.of(form) == {"kato": ("network_manager",), "suzuki": ("section_head",)}
    assert deciders.office_of(form, "kato") == "network_manager"
    for stranger in ("mori", "sato", "nobody"):
        with pytest.raises(PermitError, match="role_not_named"):
            deciders.office_of(form, stranger)
    form.kind = "wireless"
    assert "suzuki" in Deciders(registered, ORDINANCES, ["nagoya"]).of(form)
    assert "suzuki" not in Deciders(registered, ORDINANCES, ["kameoka"]).of(form)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"purpose": " "}, "bad_value"),
        ({"days": 0}, "bad_value"),
        ({"days": 4000}, "bad_value"),
        ({"applicant": "nobody"}, "not_found"),
        ({"subject": Subject(ssid="x")}, "foreign_field"),
        ({"subject": Subject()}, "subject_unspecific"),
    ],
)
def test_forms_that_are_not_taken(registered: Session, changes: dict[str, object], name: str) -> None:
    with pytest.raises((RefusedError, PermitError), match=name):
        applications.apply(registered, replace(FORM, **changes), entered_by="it", now_us=NOW)
    assert applications.list_applications(registered) == []


def test_a_request_of_a_pc_is_one_application_however_often_it_comes(registered: Session) -> None:
    for _ in range(3):
        assert applications.take_in(registered, [FROM_PC, FROM_PC], NOW) == []
    applications.take_in(registered, [replace(FROM_PC, agent_id="pc2")], NOW)
    rows = applications.list_applications(registered)
    assert [(row.agent_id, row.request) for row in rows] in (
        [("pc1", "r1"), ("pc2", "r1")],
        [("pc2", "r1"), ("pc1", "r1")],
    )
    assert sum(len(trail_of(registered, application_id=row.id)) for row in rows) == 2


def test_a_pc_that_floods_is_stopped(registered: Session) -> None:
    many = [replace(FROM_PC, request=f"r{number}") for number in range(MOST_OPEN + 3)]
    assert applications.take_in(registered, many, NOW) == many[MOST_OPEN:]
    assert applications.take_in(registered, many[MOST_OPEN:], NOW + 1) == many[MOST_OPEN:]
    assert applications.take_in(registered, [replace(FROM_PC, agent_id="pc2")], NOW) == []
    assert applications.take_in(registered, [replace(FROM_PC, request="later")], NOW + LAPSE_US) == []


def test_somebody_in_no_register_may_apply_but_gets_nothing_until_registered(registered: Session) -> None:
    applications.take_in(registered, [replace(FROM_PC, applicant="newcomer")], NOW)
    (row,) = applications.list_applications(registered)
    with pytest.raises(RefusedError, match="not_found"):
        decide(registered, row)
    people.add_person(registered, "newcomer", "新人", section="税務課")
    assert decide(registered, row).startswith("p-")


def test_what_a_pc_cannot_know_is_added_with_the_decision(registered: Session) -> None:
    hired = replace(FROM_PC, kind="contractor", subject=Subject(account="ext1"))
    applications.take_in(registered, [hired], NOW)
    (row,) = applications.list_applications(registered)
    decision = replace(YES, article="第32条の2")
    with pytest.raises(PermitError, match="no_contract"):
        decide(registered, row, decision)
    contract = Contract(number="R8-12", supervisor="suzuki")
    granted = permits.get_permit(registered, decide(registered, row, replace(decision, contract=contract)))
    assert granted.contract == {"number": "R8-12", "supervisor": "suzuki"}
