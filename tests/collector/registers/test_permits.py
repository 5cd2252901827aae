from collections.abc import Mapping

import pytest
from msgspec.structs import replace
from sqlalchemy.orm import Session

from collector.registers import people, permits
from collector.registers.models import PermitRow
from collector.registers.permits import REMEMBERED_US
from policies.model import Scope, Subject
from policies.ordinance import Ordinance
from policies.permits import PermitError, PermitRequest
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
    row = grant(registered, read_only=True)
    assert (row.approver_role, row.granted_by) == ("agency", "it")
    (permit,) = permits.bundle_permits(registered, ORDINANCES, NOW)
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
    assert len(permits.bundle_permits(registered, ORDINANCES, over - 1)) == 1
    assert permits.bundle_permits(registered, ORDINANCES, over) == ()


def test_a_revoked_permit_is_gone_from_releases_and_stays_on_record(registered: Session) -> None:
    row = grant(registered)
    with pytest.raises(RefusedError, match="bad_value"):
        permits.revoke(registered, row.id, reason=" ", revoked_by="it", now_us=NOW + 1)
    permits.revoke(registered, row.id, reason="紛失", revoked_by="it", now_us=NOW + 1)
    assert permits.bundle_permits(registered, ORDINANCES, NOW + 2) == ()
    (kept,) = permits.list_permits(registered, state="revoked", now_us=NOW)
    assert (kept.revoke_reason, kept.revoked_by, kept.revoked_us) == ("紛失", "it", NOW + 1)
    with pytest.raises(RefusedError, match="already_there"):
        permits.revoke(registered, row.id, reason="再度", revoked_by="it", now_us=NOW + 2)
    with pytest.raises(RefusedError, match="not_found"):
        permits.revoke(registered, "p-none", reason="x", revoked_by="it", now_us=NOW)
