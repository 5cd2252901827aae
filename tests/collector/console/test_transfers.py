"""The transfer log: files on media with the permit that covered them, by section and masked by role."""

from __future__ import annotations

from collector.registers.models import PermitRow
from protocol.events import MediaFileWritten, MediaMounted
from tests.collector.console.world import PC1, PC2, START, Caller, World


def _written(path: str, permit_id: str = "") -> MediaFileWritten:
    return MediaFileWritten(
        time_us=START,
        path=path,
        user="tanaka",
        serial="CITY-0001",
        my_numbers=2,
        labels=("機密性3",),
        place="juki",
        action="allowed" if permit_id else "blocked",
        permit="granted" if permit_id else "none",
        permit_id=permit_id,
    )


def _permit(world: World) -> None:
    with world.console.store.write() as session:
        session.add(
            PermitRow(
                id="p-1", kind="confidential_medium", subject={"serial": "CITY-0001"}, scope={}, applicant="tanaka",
                approver="kato", approver_role="section_head", ordinance="nagoya", article="第35条第6号",
                reason="引き継ぎ", from_us=0, until_us=START * 2, granted_us=0, granted_by="net",
            )
        )  # fmt: skip


def test_every_file_stands_with_its_permit(world: World) -> None:
    _permit(world)
    world.journal(PC1, _written("meibo.csv", "p-1"), MediaMounted(time_us=START))
    world.journal(PC2, _written("himitsu.csv"))
    found = {one["path"]: one for one in Caller(world, "auditor").get("/transfers")}
    assert set(found) == {"meibo.csv", "himitsu.csv"}
    allowed, refused = found["meibo.csv"], found["himitsu.csv"]
    assert (allowed["host"], allowed["person"], allowed["medium"]) == ("zeimu-01", "tanaka", "CITY-0001")
    assert (allowed["approver"], allowed["ground"], allowed["reason"]) == (
        "kato",
        "nagoya 第35条第6号",
        "引き継ぎ",
    )
    assert (allowed["place"], allowed["labels"], allowed["my_numbers"]) == ("juki", ["機密性3"], 2)
    assert (refused["action"], refused["permit"], refused["permit_id"]) == ("blocked", "none", "")


def test_a_section_head_sees_the_own_section_and_no_names(world: World) -> None:
    world.journal(PC1, _written("meibo.csv"))
    world.journal(PC2, _written("himitsu.csv"))
    (own,) = Caller(world, "section_head").get("/transfers")
    assert own["host"] == "zeimu-01"
    assert (own["person"], own["path"]) == ("***", "***")
    assert Caller(world, "auditor").get("/transfers", since_us=START + 1) == []
