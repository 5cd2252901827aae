from collections.abc import Mapping

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from collector.registers import people, permit_release, permits
from collector.registers.models import PermitRow
from collector.registers.permit_release import ACCOUNT_REMEMBERED_US, REMEMBERED_US
from collector.registers.trail import trail_of
from policies.granting import Contract, PermitError, PermitRequest
from policies.model import Scope, Subject
from policies.ordinance import Ordinance
from policies.shipped import load_shipped
from protocol.refusal import RefusedError

ORDINANCES: Mapping[str, Ordinance] = load_shipped()[0]
NOW, DAY_US = 1_800_000_000_000_000, 24 * 3600 * 1_000_000
REQUEST = PermitRequest(
    kind="device",
    subject=Subject(device_id="usb-1"),
    scope=Scope(agents=("pc1",), sections=("税務課",)),
    from_us=NOW,
    until_us=NOW + DAY_US,
    applicant="sato",
    approver="suzuki",
    approver_roles=(),
    ordinance="nagoya",
    article="第35条第4号",
    reason="現地調査で使うため",
    device_class="storage",
)


@pytest.fixture
def registered(session: Session) -> Session:
    people.add_person(session, "sato", "佐藤", section="税務課")
    people.add_person(session, "suzuki", "鈴木", section="税務課", roles=["section_head", "agency"])
    people.add_person(session, "tanaka", "田中", roles=["it"])
    return session


def grant(session: Session, request: PermitRequest = REQUEST, **fields: object) -> PermitRow:
    return permits.grant(session, request, ORDINANCES, granted_by="it", now_us=NOW, **fields)  # type: ignore[arg-type]


def test_a_granted_permit_reaches_the_policy_with_its_article(registered: Session) -> None:
    row = grant(registered, terms=permits.Terms(read_only=True))
    assert (row.approver_role, row.granted_by) == ("agency", "it")
    (permit,) = permit_release.bundle_permits(registered, ORDINANCES, NOW)
    assert (permit.id, permit.kind, permit.subject, permit.scope) == (
        row.id,
        "device",
        REQUEST.subject,
        REQUEST.scope,
    )
    assert (permit.article.ordinance, permit.article.article) == ("nagoya", "第35条第4号")
    assert permit.article.edition
    assert (permit.from_us, permit.until_us, permit.read_only) == (NOW, NOW + DAY_US, True)


def test_nobody_approves_the_own_application(registered: Session) -> None:
    with pytest.raises(PermitError, match="self_approval"):
        grant(registered, replace(REQUEST, applicant="suzuki"))


def test_offices_come_from_the_register_whatever_the_request_says(registered: Session) -> None:
    with pytest.raises(PermitError, match="role_not_named"):
        grant(registered, replace(REQUEST, approver="tanaka", approver_roles=("agency", "section_head")))


def test_people_must_be_registered_and_in_office(registered: Session) -> None:
    with pytest.raises(RefusedError, match="not_found"):
        grant(registered, replace(REQUEST, applicant="nobody"))
    people.update_person(registered, "suzuki", active=False)
    with pytest.raises(RefusedError, match="not_found"):
        grant(registered)


def test_an_article_without_permits_gives_none(registered: Session) -> None:
    with pytest.raises(PermitError, match="not_permittable"):
        grant(registered, replace(REQUEST, article="第35条第5号"))
    with pytest.raises(PermitError, match="unknown_article"):
        grant(registered, replace(REQUEST, article="第999条"))
    with pytest.raises(PermitError, match="not_permittable"):
        grant(registered, not_permittable=("storage",))


def test_a_permit_must_lie_ahead(registered: Session) -> None:
    with pytest.raises(PermitError, match="empty_period"):
        grant(registered, replace(REQUEST, from_us=NOW - 2, until_us=NOW))
    with pytest.raises(PermitError, match="empty_period"):
        grant(registered, replace(REQUEST, until_us=NOW))


def test_a_refused_permit_leaves_no_row(registered: Session) -> None:
    with pytest.raises(PermitError):
        grant(registered, replace(REQUEST, reason=" "))
    assert permits.list_permits(registered) == []


def test_the_state_follows_from_time(registered: Session) -> None:
    row = grant(registered, replace(REQUEST, from_us=NOW + 10))
    end = NOW + DAY_US
    states = [permits.state_of(row, when) for when in (NOW, NOW + 10, end - 1, end)]
    assert states == ["pending", "granted", "granted", "expired"]
    assert permits.list_permits(registered, state="expired", now_us=end) == [row]
    assert permits.list_permits(registered, state="granted", now_us=end) == []
    assert permits.list_permits(registered, kind="software") == []


def test_an_expired_permit_is_remembered_for_a_while(registered: Session) -> None:
    grant(registered)
    over = NOW + DAY_US + REMEMBERED_US
    assert len(permit_release.bundle_permits(registered, ORDINANCES, over - 1)) == 1
    assert permit_release.bundle_permits(registered, ORDINANCES, over) == ()


def test_a_revoked_permit_is_gone_from_releases_and_stays_on_record(registered: Session) -> None:
    row = grant(registered)
    with pytest.raises(RefusedError, match="bad_value"):
        permits.revoke(registered, row.id, reason=" ", revoked_by="it", now_us=NOW + 1)
    permits.revoke(registered, row.id, reason="紛失", revoked_by="it", now_us=NOW + 1)
    assert permit_release.bundle_permits(registered, ORDINANCES, NOW + 2) == ()
    (kept,) = permits.list_permits(registered, state="revoked", now_us=NOW)
    assert (kept.revoke_reason, kept.revoked_by, kept.revoked_us) == ("紛失", "it", NOW + 1)
    with pytest.raises(RefusedError, match="already_there"):
        permits.revoke(registered, row.id, reason="再度", revoked_by="it", now_us=NOW + 2)
    with pytest.raises(RefusedError, match="not_found"):
        permits.revoke(registered, "p-none", reason="x", revoked_by="it", now_us=NOW)


def test_a_permit_is_renewed_under_the_same_conditions(registered: Session) -> None:
    old = grant(registered, terms=permits.Terms(read_only=True, conditions=("施錠保管",)))
    until = NOW + 3 * DAY_US
    renewal = {"until_us": until, "approver": "suzuki", "reason": "継続", "granted_by": "it"}
    new = permits.renew(registered, old.id, ORDINANCES, now_us=NOW + 1, **renewal)  # type: ignore[arg-type]
    assert (new.renews, new.from_us, new.until_us) == (old.id, old.until_us, until)
    assert (new.read_only, new.conditions, new.subject, new.scope) == (
        True,
        ["施錠保管"],
        old.subject,
        old.scope,
    )
    assert permits.successors(registered, [old.id]) == {old.id: new.id}
    assert permits.state_of(old, old.until_us, renewed=True) == "renewed"
    with pytest.raises(RefusedError, match="already_there"):
        permits.renew(registered, old.id, ORDINANCES, now_us=NOW + 2, **renewal)  # type: ignore[arg-type]
    permits.revoke(registered, new.id, reason="誤り", revoked_by="it", now_us=NOW + 2)
    assert permits.successors(registered, [old.id]) == {}
    late = old.until_us + 5
    again = permits.renew(registered, old.id, ORDINANCES, now_us=late, **renewal)  # type: ignore[arg-type]
    assert again.from_us == late


def test_a_revoked_permit_is_not_renewed(registered: Session) -> None:
    row = grant(registered)
    permits.revoke(registered, row.id, reason="紛失", revoked_by="it", now_us=NOW)
    with pytest.raises(RefusedError, match="wrong_state"):
        permits.renew(
            registered, row.id, ORDINANCES, until_us=NOW + 9 * DAY_US, approver="suzuki", reason="x",
            granted_by="it", now_us=NOW,
        )  # fmt: skip


def test_permits_that_end_soon_and_that_nothing_follows(registered: Session) -> None:
    soon = grant(registered)
    grant(registered, replace(REQUEST, until_us=NOW + 40 * DAY_US))
    followed = grant(registered)
    permits.renew(
        registered, followed.id, ORDINANCES, until_us=NOW + 90 * DAY_US, approver="suzuki", reason="継続",
        granted_by="it", now_us=NOW,
    )  # fmt: skip
    assert permits.expiring(registered, NOW, 30 * DAY_US) == [soon]
    assert permits.expiring(registered, soon.until_us, 30 * DAY_US) == []


def test_a_section_head_permits_for_the_own_section(registered: Session) -> None:
    people.add_person(registered, "mori", "森", section="福祉課", roles=["section_head"])
    with pytest.raises(PermitError, match="role_not_named"):
        grant(registered, replace(REQUEST, approver="mori"))
    people.update_person(registered, "mori", roles=["section_head", "network_manager"])
    assert grant(registered, replace(REQUEST, approver="mori")).approver_role == "network_manager"


def test_every_step_is_on_the_trail_for_good(registered: Session) -> None:
    row = grant(registered)
    permits.revoke(
        registered, row.id, reason="紛失", revoked_by="it", now_us=NOW + 1, person="suzuki", office="ciso"
    )
    steps = trail_of(registered, permit_id=row.id)
    assert [(one.step, one.state, one.person, one.office, one.operator) for one in steps] == [
        ("grant", "granted", "suzuki", "agency", "it"),
        ("revoke", "revoked", "suzuki", "ciso", "it"),
    ]
    for deed in ("UPDATE permit_steps SET reason = ''", "DELETE FROM permit_steps"):
        with pytest.raises(IntegrityError, match="append-only"):
            registered.execute(text(deed))


CONTRACTOR = replace(
    REQUEST,
    kind="contractor",
    subject=Subject(account="ext1"),
    scope=Scope(),
    article="第32条の2",
    contract=Contract(number="R8-12", company="保守社", supervisor="sato"),
    device_class="",
)


def test_a_contractors_account_ends_with_the_contract_or_before(registered: Session) -> None:
    row = grant(registered, CONTRACTOR)
    (account,) = permit_release.contractor_accounts(registered, NOW)
    assert (account.user, account.kind, account.contract) == ("ext1", "contractor", "R8-12")
    assert (account.section, account.until_us) == ("税務課", NOW + DAY_US)
    late = row.until_us + ACCOUNT_REMEMBERED_US
    assert len(permit_release.contractor_accounts(registered, late - 1)) == 1
    assert permit_release.contractor_accounts(registered, late) == ()
    longer = grant(registered, replace(CONTRACTOR, until_us=NOW + 5 * DAY_US))
    assert permit_release.contractor_accounts(registered, NOW)[0].until_us == longer.until_us
    permits.revoke(registered, longer.id, reason="解約", revoked_by="it", now_us=NOW + 7)
    assert permit_release.contractor_accounts(registered, NOW)[0].until_us == row.until_us
    permits.revoke(registered, row.id, reason="解約", revoked_by="it", now_us=NOW + 8)
    assert permit_release.contractor_accounts(registered, NOW)[0].until_us == NOW + 8
