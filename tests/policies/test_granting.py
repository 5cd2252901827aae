"""Which permits may be granted."""

from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.granting import (
    SERVED,
    Contract,
    PermitError,
    PermitRequest,
    check_subject,
    offices,
    serving,
    validate,
)
from policies.model import PermitKind, Scope, Subject
from policies.permits import FIELDS, is_specific
from policies.shipped import load_shipped

ORDINANCES, _ = load_shipped()
STICK = Subject(vendor_id="0781", product_id="5581", serial="4C53")
GOOD = PermitRequest(
    kind="device",
    subject=STICK,
    from_us=1,
    until_us=2,
    applicant="sato",
    approver="ito",
    approver_roles=("section_head",),
    ordinance="nagoya",
    article="第35条第4号",
    reason="持込みの計測器",
    device_class="storage",
)


@dataclass
class Refused:
    name: str
    changes: dict[str, Any]


OUTSIDE: dict[str, Any] = {
    "kind": "destination",
    "article": "第54条第1項",
    "approver_roles": ("network_manager",),
}
REFUSED = [
    Refused("no_applicant", {"applicant": " "}),
    Refused("no_applicant", {"approver": ""}),
    Refused("self_approval", {"approver": "sato"}),
    Refused("self_approval", {"approver": " sato "}),
    Refused("unknown_article", {"article": "第99条"}),
    Refused("unknown_article", {"ordinance": "nowhere"}),
    Refused("not_permittable", {"article": "第35条第5号"}),
    Refused("not_permittable", {"article": "第56条"}),
    Refused("not_permittable", {"device_class": "phone"}),
    Refused("wrong_article", {"article": "第35条第3号"}),
    Refused("wrong_article", {"article": "第54条第1項", "approver_roles": ("network_manager",)}),
    Refused(
        "wrong_article", {"kind": "software", "subject": Subject(digest="a" * 64), "article": "第35条第6号"}
    ),
    Refused("role_not_named", {"approver_roles": ()}),
    Refused("role_not_named", {"approver_roles": ("csirt", "auditor")}),
    Refused("empty_period", {"until_us": 1}),
    Refused("empty_period", {"until_us": 0}),
    Refused("no_reason", {"reason": " \n"}),
    Refused("subject_unspecific", {"subject": Subject()}),
    Refused("subject_unspecific", {"subject": Subject(vendor_id="0781", product_id="5581")}),
    Refused("foreign_field", {"subject": replace(STICK, network="192.0.2.1")}),
    Refused("foreign_field", {"kind": "medium"}),
    Refused("subject_unspecific", {"kind": "software", "subject": Subject(source="dpkg", package="*")}),
    Refused("subject_unspecific", {"kind": "software", "subject": Subject(package="vim")}),
    Refused("bad_subject", {"kind": "software", "subject": Subject(digest="abc")}),
    Refused("bad_subject", {"kind": "software", "subject": Subject(digest="z" * 64)}),
    Refused("subject_unspecific", OUTSIDE | {"subject": Subject(port=443)}),
    Refused("subject_unspecific", OUTSIDE | {"subject": Subject(network="0.0.0.0/0")}),
    Refused("subject_unspecific", OUTSIDE | {"subject": Subject(network="128.0.0.0/1")}),
    Refused("subject_unspecific", OUTSIDE | {"subject": Subject(network="::/0")}),
    Refused("bad_subject", OUTSIDE | {"subject": Subject(network="example.jp")}),
    Refused("bad_subject", OUTSIDE | {"subject": Subject(network="192.0.2.1", port=70000)}),
    Refused("bad_subject", OUTSIDE | {"subject": Subject(network="192.0.2.1", protocol="sctp")}),
]


OUT: dict[str, Any] = {
    "kind": "take_out",
    "subject": Subject(serial="4C53"),
    "article": "第32条",
    "device_class": "",
}
HIRED: dict[str, Any] = {
    "kind": "contractor",
    "subject": Subject(account="ext1"),
    "article": "第32条の2",
    "device_class": "",
}
REFUSED += [
    Refused("foreign_field", {"scope": Scope(users=("sato",))}),
    Refused("no_basis", {"basis": "law"}),
    Refused("foreign_field", {"contract": Contract(number="7")}),
    Refused("no_basis", OUT),
    Refused("no_contract", HIRED),
    Refused("no_contract", HIRED | {"contract": Contract(number="7")}),
    Refused("wrong_article", HIRED | {"article": "第35条第4号"}),
]


@pytest.mark.parametrize("basis", ["law", "blanket", "section_head"])
def test_a_take_out_stands_on_one_of_three_grounds(basis: str) -> None:
    validate(replace(GOOD, **OUT, basis=basis), ORDINANCES)


def test_a_contractor_has_a_contract_and_somebody_who_answers_for_it() -> None:
    contract = Contract(number="R8-12", company="保守社", place="庁舎4階", device="PC-7", supervisor="sato")
    validate(replace(GOOD, **HIRED, contract=contract), ORDINANCES)


def test_a_software_permit_may_be_for_certain_people() -> None:
    software = {"kind": "software", "article": "第35条第3号", "subject": Subject(digest="a" * 64)}
    validate(replace(GOOD, **software, scope=Scope(users=("sato",))), ORDINANCES)


BAD_SUBJECTS: list[tuple[PermitKind, Subject, str]] = [
    ("wireless", Subject(ssid="x" * 33), "bad_subject"),
    ("wireless", Subject(ssid="庁" * 11), "bad_subject"),
    ("wireless", Subject(mac="aa-bb-cc-00-11-22"), "bad_subject"),
    ("wireless", Subject(ssid="hall\x1b[2J"), "bad_subject"),
    ("joint", Subject(mac="aabbcc001122"), "bad_subject"),
    ("joint", Subject(network="0.0.0.0/0"), "subject_unspecific"),
    ("joint", Subject(network="nowhere"), "bad_subject"),
    ("joint", Subject(ssid="hall"), "foreign_field"),
    ("contractor", Subject(account="a b"), "bad_subject"),
    ("contractor", Subject(), "subject_unspecific"),
    ("take_out", Subject(place="書庫"), "subject_unspecific"),
    ("confidential_medium", Subject(place="税"), "subject_unspecific"),
    ("destination", Subject(name="jp"), "bad_subject"),
    ("destination", Subject(name="*"), "bad_subject"),
    ("destination", Subject(name="a.*.jp"), "bad_subject"),
    ("destination", Subject(name="a.jp", port=-1), "bad_subject"),
]


@pytest.mark.parametrize(("kind", "subject", "name"), BAD_SUBJECTS)
def test_subjects_that_cannot_be(kind: PermitKind, subject: Subject, name: str) -> None:
    with pytest.raises(PermitError) as caught:
        check_subject(kind, subject)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("wireless", Subject(ssid="庁内", mac="aa:bb:cc:00:11:22")),
        ("joint", Subject(network="10.9.0.0/24")),
        ("contractor", Subject(account="ext-1@company")),
        ("take_out", Subject(serial="4C53", place="税")),
        ("confidential_medium", Subject(media_id="m", place="税")),
        ("destination", Subject(name="*.example.jp", port=443, protocol="tcp")),
    ],
)
def test_subjects_of_every_kind(kind: PermitKind, subject: Subject) -> None:
    check_subject(kind, subject)


values = st.one_of(
    st.just(""), st.text(max_size=40), st.sampled_from(["aa:bb:cc:00:11:22", "a.example.jp", "10.1.0.0/16"])
)


@given(st.sampled_from(get_args(PermitKind)), st.data())
def test_whatever_is_written_is_taken_or_refused_by_name(kind: PermitKind, data: st.DataObject) -> None:
    names = [name for name in Subject.__struct_fields__ if name != "port"]
    filled = data.draw(st.dictionaries(st.sampled_from([*FIELDS[kind], *names]), values, max_size=4))
    filled.pop("port", None)
    subject = Subject(**filled, port=data.draw(st.integers(-1, 70000)) if "port" in FIELDS[kind] else 0)
    try:
        check_subject(kind, subject)
    except PermitError:
        return
    assert is_specific(kind, subject)
    assert all(not getattr(subject, name) or name in FIELDS[kind] for name in Subject.__struct_fields__)


@pytest.mark.parametrize("kind", get_args(PermitKind))
def test_every_kind_can_be_granted_under_some_article(kind: PermitKind) -> None:
    found = [(one, article) for one in ORDINANCES.values() for article in serving(kind, one)]
    assert found
    assert all(SERVED[kind] & set(article.controls) and article.permittable for _, article in found)
    assert offices(kind, ORDINANCES.values()) == {
        office for one, article in found for office in one.approvers(article)
    }


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.name} {sorted(case.changes)}")
def test_permits_that_may_not_be_granted(case: Refused) -> None:
    with pytest.raises(PermitError) as caught:
        validate(replace(GOOD, **case.changes), ORDINANCES, ["phone"])
    assert caught.value.name == case.name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"approver_roles": ("csirt", "agency")},
        {"kind": "medium", "subject": Subject(fs_uuid="u")},
        {"kind": "software", "article": "第35条第3号", "subject": Subject(digest="A" * 64)},
        OUTSIDE | {"subject": Subject(network="198.51.100.0/24", port=443, protocol="tcp")},
    ],
)  # fmt: skip
def test_permits_that_may_be_granted(changes: dict[str, Any]) -> None:
    validate(replace(GOOD, **changes), ORDINANCES, ["phone"])
