"""Going back: the old rules and settings, the registers of today."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from collector.desk.draft import build, content_digest
from collector.desk.rollback import rebuild
from collector.desk.sample import SAMPLE
from collector.desk.site import parse_site
from policies.model import Account, Assignment, Destination, Setting, SoftwareAllow, Subject
from protocol.refusal import RefusedError
from tests.collector.desk.test_draft import NOW, permit, sources

LATER = NOW + 86_400_000_000
STRICT = parse_site(SAMPLE.replace("mode: observe", "mode: enforce").encode(), "policy.yaml")
VIM, NANO, GONE = (SoftwareAllow("dpkg", name) for name in ("vim", "nano", "gone"))
HERE, THERE = Destination("10.9.0.1/32", 443, "tcp"), Destination("10.9.0.2/32", 443, "tcp")


def back(old: Any, **today: Any) -> Any:
    return rebuild(old, sources(site=STRICT, **today), 9, LATER)


def test_rules_and_settings_are_the_old_ones_under_a_new_generation() -> None:
    old = build(sources(), 3, NOW)
    new = back(old)
    assert (new.generation, new.issued_us, new.expires_us) == (9, LATER, LATER + 400 * 86_400_000_000)
    assert new.settings["media"]["*"] == Setting("observe", "open")
    assert content_digest(new) == content_digest(old)


def test_registers_are_those_of_today() -> None:
    old = build(
        sources(
            permits=(permit("p-revoked"),),
            devices=(Subject(serial="old"),),
            assignments={"pc": Assignment("lgwan")},
            software=(VIM, GONE),
            destinations={"lgwan": (HERE, THERE)},
            contractors=(Account(user="left", kind="contractor"),),
        ),
        3,
        NOW,
    )
    new = back(
        old,
        permits=(permit("p-today"),),
        devices=(Subject(serial="new"),),
        assignments={"pc": Assignment("internet")},
        software=(VIM, NANO),
        lapsed_software=(GONE,),
        destinations={"lgwan": (HERE,)},
        lapsed_destinations={"lgwan": (THERE,)},
        contractors=(Account(user="came", kind="contractor"),),
    )
    assert [one.id for one in new.permits] == ["p-today"]
    assert [one.serial for one in new.devices] == ["new"]
    assert new.assignments["pc"].zone == "internet"
    assert {VIM, NANO} <= set(new.software)
    assert GONE not in new.software
    (lgwan,) = [zone for zone in new.zones if zone.name == "lgwan"]
    assert HERE in lgwan.allow
    assert THERE not in lgwan.allow
    assert [one.user for one in new.accounts] == ["came"]


def test_what_the_site_file_allows_does_not_lapse_with_the_register() -> None:
    dpkg = SoftwareAllow("dpkg", "*")
    assert dpkg in back(build(sources(), 3, NOW), lapsed_software=(dpkg,)).software


def test_a_pc_in_a_zone_the_old_release_did_not_know_is_refused() -> None:
    old = build(sources(), 3, NOW)
    old = replace(old, zones=old.zones[1:])
    with pytest.raises(RefusedError, match="zones it does not know: mynumber"):
        back(old, assignments={"pc": Assignment("mynumber")})
    assert back(old, assignments={"pc": Assignment("unassigned")}).generation == 9
