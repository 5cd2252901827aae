import base64

import pytest
from sqlalchemy.orm import Session

from collector.registers import agents, assets, people, tokens
from collector.registers.models import Agent
from policies.model import Assignment, Subject
from protocol.keys import fingerprint, new_curve_pair, new_sign_pair
from protocol.refusal import RefusedError

DAY_US = 24 * 3600 * 1_000_000
USB = Subject(device_id="usb-1", serial="S1")


def refused(name: str) -> "pytest.RaisesExc[RefusedError]":
    return pytest.raises(RefusedError, match=f"^{name}:")


# -- assets ----------------------------------------------------------------------------------------------------------


def test_assets_are_added_changed_and_taken_off(session: Session) -> None:
    assets.add_asset(session, "USB-001", "device", USB, created_by="it", now_us=5, section="税務課")
    assets.add_asset(session, "PC-001", "pc", Subject(serial="X"), created_by="it", now_us=6)
    assert [one.id for one in assets.list_assets(session)] == ["PC-001", "USB-001"]
    assert [one.id for one in assets.list_assets(session, section="税務課")] == ["USB-001"]
    assert assets.owned_subjects(session) == (USB,)
    assets.update_asset(session, "USB-001", note="修理中", active=False)
    assert assets.owned_subjects(session) == ()
    assert [one.id for one in assets.list_assets(session, kind="device", active=None)] == ["USB-001"]


def test_an_asset_must_be_new_and_name_something(session: Session) -> None:
    assets.add_asset(session, "USB-001", "device", USB, created_by="it", now_us=5)
    with refused("already_there"):
        assets.add_asset(session, "USB-001", "device", USB, created_by="it", now_us=5)
    with refused("bad_value"):
        assets.add_asset(session, "USB-002", "device", Subject(), created_by="it", now_us=5)
    with refused("bad_value"):
        assets.add_asset(session, "X", "chair", USB, created_by="it", now_us=5)  # type: ignore[arg-type]
    with refused("bad_value"):
        assets.update_asset(session, "USB-001", subject=Subject())
    with refused("not_found"):
        assets.update_asset(session, "USB-009")


# -- people ----------------------------------------------------------------------------------------------------------


def test_people_have_sections_and_offices(session: Session) -> None:
    people.add_person(session, "sato", "佐藤", section="税務課", roles=["section_head", "section_head"])
    people.add_person(session, "suzuki", "鈴木", section="税務課")
    people.add_person(session, "tanaka", "田中", section="総務課", roles=["ciso"])
    assert [one.id for one in people.list_people(session, section="税務課")] == ["sato", "suzuki"]
    assert [one.id for one in people.list_people(session, role="section_head")] == ["sato"]
    people.update_person(session, "sato", roles=["network_manager"], section="総務課", name="佐藤 花")
    assert people.get_person(session, "sato").roles == ["network_manager"]
    people.update_person(session, "sato", active=False)
    assert [one.id for one in people.list_people(session, section="総務課")] == ["tanaka"]


def test_a_person_is_registered_once(session: Session) -> None:
    people.add_person(session, "sato", "佐藤")
    with refused("already_there"):
        people.add_person(session, "sato", "別の佐藤")
    with refused("bad_value"):
        people.add_person(session, "", "誰か")
    with refused("not_found"):
        people.update_person(session, "nobody", name="x")


def test_seeding_adds_and_changes_nobody(session: Session) -> None:
    people.add_person(session, "sato", "佐藤", roles=["ciso"])
    given = [("sato", "別", "", ()), ("suzuki", "鈴木", "税務課", ("section_head",))]
    assert people.seed_people(session, given) == 1
    assert people.seed_people(session, given) == 0
    assert people.get_person(session, "sato").name == "佐藤"


# -- agents ----------------------------------------------------------------------------------------------------------


def join(session: Session, agent_id: str, status: str = "pending", **fields: str) -> None:
    session.add(Agent(id=agent_id, curve_key=b"c", sign_key=b"s", status=status, enrolled_us=0, **fields))
    session.flush()


def test_a_pc_is_approved_placed_and_revoked_for_good(session: Session) -> None:
    join(session, "a1", hostname="pc1")
    assert agents.assignments(session) == {}
    agents.set_status(session, "a1", "active")
    agents.place(session, "a1", zone="lgwan", section="税務課")
    assert agents.assignments(session) == {"a1": Assignment("lgwan", "税務課")}
    agents.set_status(session, "a1", "quarantined", "clone")
    assert agents.get_agent(session, "a1").status_reason == "clone"
    assert agents.assignments(session) == {"a1": Assignment("lgwan", "税務課")}
    agents.set_status(session, "a1", "revoked")
    assert agents.assignments(session) == {}
    with refused("bad_value"):
        agents.set_status(session, "a1", "active")
    with refused("not_found"):
        agents.place(session, "a9", zone="x")


def test_pcs_are_listed_by_place_and_status(session: Session) -> None:
    join(session, "a1", "active", hostname="b", section="s1", zone="z1")
    join(session, "a2", "active", hostname="a", section="s1", zone="z2")
    join(session, "a3", hostname="c", section="s2", zone="z2")
    assert [one.id for one in agents.list_agents(session)] == ["a2", "a1", "a3"]
    assert [one.id for one in agents.list_agents(session, section="s1", zone="z2")] == ["a2"]
    assert [one.id for one in agents.list_agents(session, status="pending")] == ["a3"]


# -- tokens ----------------------------------------------------------------------------------------------------------


def issue(session: Session, uses: int = 2, lifetime_us: int = DAY_US) -> tuple[str, bytes]:
    row, secret = tokens.issue_token(
        session, zone="lgwan", uses=uses, lifetime_us=lifetime_us, created_by="it", now_us=0, section="税務課"
    )
    return row.id, secret


def test_a_token_is_used_as_often_as_it_says(session: Session) -> None:
    token_id, secret = issue(session)
    assert len(secret) == 16
    assert tokens.redeem(session, secret, 1).section == "税務課"
    assert tokens.token_state(tokens.redeem(session, secret, 1), 1) == "used_up"
    with refused("token_used_up"):
        tokens.redeem(session, secret, 1)
    assert [one.id for one in tokens.list_tokens(session)] == [token_id]


def test_a_token_expires_and_can_be_revoked(session: Session) -> None:
    token_id, secret = issue(session)
    with refused("token_expired"):
        tokens.redeem(session, secret, DAY_US)
    row = tokens.redeem(session, secret, DAY_US - 1)
    assert (tokens.token_state(row, 0), tokens.token_state(row, DAY_US)) == ("usable", "expired")
    assert tokens.token_state(tokens.revoke_token(session, token_id), 0) == "revoked"
    with refused("token_unknown"):
        tokens.redeem(session, secret, 1)
    with refused("token_unknown"):
        tokens.redeem(session, bytes(16), 1)
    with refused("not_found"):
        tokens.revoke_token(session, "nothing")


def test_the_database_never_holds_the_secret(session: Session) -> None:
    _, secret = issue(session)
    (row,) = tokens.list_tokens(session)
    assert secret not in {value for value in vars(row).values() if isinstance(value, bytes)}
    with refused("bad_value"):
        issue(session, uses=0)


def test_a_token_pins_collector_and_root(session: Session) -> None:
    _, secret = issue(session)
    collector, root = new_curve_pair().public, new_sign_pair().public
    text = tokens.token_text(collector, root, secret)
    assert text.startswith("SKT1-")
    packed = text.removeprefix("SKT1-").upper()
    raw = base64.b32decode(packed + "=" * (-len(packed) % 8))
    assert (raw[:32], raw[52:]) == (collector, secret)
    assert base64.b32encode(raw[32:52]).decode().lower() == fingerprint(root)
