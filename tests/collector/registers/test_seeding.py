"""Proposals: one id for one thing, approved and undone as a batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from collector.registers import allowances, batches, seeding
from collector.registers.assets import list_assets, update_asset
from collector.registers.models_releases import Proposal
from collector.registers.seeding import Selection, Sighting
from policies.model import Destination, SoftwareAllow
from protocol.refusal import RefusedError

NOW = 1_800_000_000_000_000


def sighting(kind: str = "devices", pcs: int = 1, zone: str = "", **subject: Any) -> Sighting:
    return Sighting(
        kind=kind,
        subject=subject or {"device_id": "d-1"},
        label="a thing",
        zone=zone,
        pcs={f"pc{number}" for number in range(pcs)},
        sections=Counter({"税務課": 2, "福祉課": 1}),
        times=3,
        first_us=NOW - 10,
        last_us=NOW,
    )


def approve(session: Session, **which: Any) -> Any:
    return seeding.approve(session, Selection(**which), by="it", now_us=NOW)


@given(st.dictionaries(st.sampled_from(["serial", "device_id", "port"]), st.text(max_size=5)))
def test_the_id_follows_from_the_subject_alone(subject: dict[str, str]) -> None:
    turned = dict(reversed(subject.items()))
    assert seeding.proposal_id("devices", subject) == seeding.proposal_id("devices", turned)
    assert seeding.proposal_id("devices", subject) != seeding.proposal_id("media", subject)
    assert seeding.proposal_id("devices", subject) != seeding.proposal_id("devices", subject, "lgwan")


def test_looking_again_adds_no_second_proposal(session: Session) -> None:
    assert seeding.propose(session, [sighting(), sighting(device_id="d-2")]).new == 2
    outcome = seeding.propose(session, [sighting(pcs=5)])
    assert (outcome.new, outcome.known) == (0, 1)
    assert [(row.subject["device_id"], row.pcs) for row in seeding.list_proposals(session)] == [
        ("d-1", 5),
        ("d-2", 1),
    ]
    assert seeding.list_proposals(session)[0].section == "税務課"


def test_what_was_rejected_stays_rejected(session: Session) -> None:
    seeding.propose(session, [sighting()])
    (row,) = seeding.list_proposals(session)
    assert seeding.reject(session, Selection(ids=(row.id,)), by="it", now_us=NOW) == 1
    assert seeding.propose(session, [sighting()]).rejected == 1
    assert seeding.list_proposals(session) == []
    with pytest.raises(RefusedError, match="not_found"):
        approve(session, ids=(row.id,))


def test_every_kind_goes_where_it_belongs(session: Session) -> None:
    seeding.propose(
        session,
        [
            sighting(),
            sighting("media", media_id="m-1"),
            sighting("machines", mac="00:11:22:33:44:55"),
            sighting("software", source="dpkg", package="vim"),
            sighting("destinations", zone="lgwan", network="10.9.0.1/32", port=443, protocol="tcp"),
        ],
    )
    batch = approve(session)
    assert batch.rows == 5
    assert {asset.kind for asset in list_assets(session)} == {"device", "medium", "other"}
    rows = allowances.list_allowances(session)
    assert allowances.software(rows) == (SoftwareAllow("dpkg", "vim"),)
    assert allowances.destinations(rows) == {"lgwan": (Destination("10.9.0.1/32", 443, "tcp"),)}
    batches.undo(session, batch.id, by="it", now_us=NOW)
    assert list_assets(session) == []
    assert allowances.list_allowances(session) == []
    assert len(allowances.list_allowances(session, active=None)) == 2, "what lapsed stays on record"
    assert len(seeding.list_proposals(session)) == 5
    assert approve(session).rows == 5, "and may be approved again"


def test_a_selection_by_kind_section_and_number_of_pcs(session: Session) -> None:
    seeding.propose(session, [sighting(pcs=3), sighting(device_id="d-2"), sighting("media", 9, media_id="m")])
    assert approve(session, kind="devices", min_pcs=2).rows == 1
    with pytest.raises(RefusedError, match="not_found"):
        approve(session, kind="devices", section="福祉課")
    assert [row.kind for row in seeding.list_proposals(session)] == ["media", "devices"]


def test_what_was_taken_off_the_register_is_proposed_again_when_it_is_seen(session: Session) -> None:
    seeding.propose(session, [sighting()])
    approve(session)
    (asset,) = list_assets(session)
    seeding.propose(session, [sighting()])
    assert seeding.list_proposals(session) == []
    session.delete(asset)
    session.flush()
    seeding.propose(session, [sighting()])
    assert [row.state for row in session.query(Proposal)] == ["proposed"]


def test_an_entry_that_somebody_changed_is_not_undone(session: Session) -> None:
    seeding.propose(session, [sighting()])
    batch = approve(session)
    (asset,) = list_assets(session)
    update_asset(session, asset.id, section="福祉課")
    with pytest.raises(RefusedError, match="stale"):
        batches.undo(session, batch.id, by="it", now_us=NOW)
