from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.desk.bundles import read_bundle
from collector.desk.diff import diff
from collector.desk.draft import Sources, build, content_digest
from collector.desk.sample import SAMPLE
from collector.desk.site import parse_site
from policies.bundle import open_bundle, seal_bundle
from policies.model import Assignment, Bundle, Citation, Compare, Permit, Rule, Setting, Subject
from policies.shipped import load_shipped
from protocol.keys import new_sign_pair
from protocol.refusal import RefusedError

NOW = 1_800_000_000_000_000
SITE = parse_site(SAMPLE.encode(), "policy.yaml")
ORDINANCES, RULES = load_shipped()


def rule(rule_id: str, *ordinances: str) -> Rule:
    return Rule(
        id=rule_id,
        version="1",
        title_ja="規則",
        title_en="rule",
        family="device",
        control=None,
        effect="flag",
        level="high",
        citations=tuple(Citation(ordinance, "第1条") for ordinance in ordinances),
        predicate=Compare("permit", "eq", ("none",)),
    )


def permit(permit_id: str = "p-1") -> Permit:
    article = Citation("nagoya", "第35条第4号")
    subject = Subject(device_id="d")
    return Permit(id=permit_id, kind="device", subject=subject, from_us=0, until_us=NOW, article=article)


def sources(**changes: Any) -> Sources:
    values: dict[str, Any] = {
        "city": "中市",
        "site": SITE,
        "rules": RULES,
        "ordinances": ORDINANCES,
        "in_use": tuple(ORDINANCES),
        "permits": (),
        "devices": (),
        "assignments": {},
        **changes,
    }
    return Sources(**values)


def test_a_bundle_of_everything_shipped_is_one_that_pcs_accept() -> None:
    bundle = build(sources(permits=(permit(),), assignments={"pc": Assignment("lgwan", "税務課")}), 7, NOW)
    key = new_sign_pair()
    document = seal_bundle(bundle, [key])
    opened, _ = open_bundle(document, [key.public], city="中市", newer_than=6, now_us=NOW)
    assert opened == bundle == read_bundle(document.body)
    assert bundle.settings["media"]["*"] == Setting("observe", "open")
    assert bundle.expires_us == NOW + 400 * 86_400_000_000


def test_only_rules_of_ordinances_in_use_and_only_their_citations() -> None:
    rules = (rule("both", "nagoya", "meguro"), rule("other", "meguro"), rule("ours", "nagoya"), rule("none"))
    bundle = build(sources(rules=rules, in_use=("nagoya",)), 1, NOW)
    assert {one.id: [cited.ordinance for cited in one.citations] for one in bundle.rules} == {
        "both": ["nagoya"],
        "ours": ["nagoya"],
        "none": [],
    }


def test_a_rule_is_switched_off_by_its_id_and_only_if_it_exists() -> None:
    off = msgspec.structs.replace(SITE, rules_off=("ours",))
    rules = (rule("ours", "nagoya"), rule("rest", "nagoya"))
    assert [one.id for one in build(sources(site=off, rules=rules), 1, NOW).rules] == ["rest"]
    with pytest.raises(RefusedError, match="rules_off names unknown rules: ours"):
        build(sources(site=off, rules=rules[1:]), 1, NOW)


def test_what_contradicts_itself_is_not_built() -> None:
    with pytest.raises(RefusedError, match="two permits with one id"):
        build(sources(permits=(permit(), permit())), 1, NOW)


def test_the_content_does_not_depend_on_generation_and_dates() -> None:
    one, other = build(sources(), 1, NOW), build(sources(), 9, NOW + 5)
    assert content_digest(one) == content_digest(other)
    assert content_digest(one) != content_digest(build(sources(permits=(permit(),)), 1, NOW))


@given(st.binary(max_size=120))
def test_any_bytes_are_a_bundle_or_refused_by_name(data: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        read_bundle(data)
    assert caught.value.name == "malformed_body"


def test_a_bomb_is_not_unpacked() -> None:
    import zstandard

    with pytest.raises(RefusedError, match="more than"):
        read_bundle(zstandard.ZstdCompressor().compress(bytes(70 << 20)))


# -- diff ------------------------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "city": "他市",
    "ordinances": ("nagoya",),
    "rules": (),
    "permits": (permit(),),
    "zones": (),
    "settings": {"media": {"*": Setting("enforce", "closed")}},
    "software": (),
    "devices": (Subject(serial="S"),),
    "not_permittable": ("phone",),
    "media_read_only": (),
    "assignments": {"pc": Assignment("lgwan")},
    "unassigned": Assignment("internet"),
}


def test_nothing_changed_is_an_empty_difference() -> None:
    bundle = build(sources(), 1, NOW)
    assert diff(bundle, build(sources(), 2, NOW + 1)) == []
    assert all(change.sign == "+" for change in diff(None, bundle))


def test_every_field_of_a_bundle_that_decides_shows_in_the_difference() -> None:
    dates = {"generation", "issued_us", "expires_us"}
    assert set(CHANGES) | dates == set(Bundle.__struct_fields__), "a new field needs a line in desk.diff"
    bundle = build(sources(), 1, NOW)
    for field, value in CHANGES.items():
        assert diff(bundle, msgspec.structs.replace(bundle, **{field: value})), field


@pytest.mark.parametrize(
    "changes",
    [
        {"until_us": NOW + 1_000_000},
        {"subject": Subject(device_id="other")},
        {"read_only": True},
        {"article": Citation("nagoya", "第35条第3号")},
    ],
)
def test_every_field_of_a_permit_shows(changes: dict[str, Any]) -> None:
    before = build(sources(permits=(permit(),)), 1, NOW)
    after = build(sources(permits=(msgspec.structs.replace(permit(), **changes),)), 1, NOW)
    (change,) = diff(before, after)
    assert (change.part, change.name, change.sign) == ("permit", "p-1", "~")
    assert change.before != change.after


def test_a_rule_changed_under_its_old_version_shows() -> None:
    before, after = (
        rule("r", "nagoya"),
        msgspec.structs.replace(rule("r", "nagoya"), predicate=Compare("x", "eq", ("y",))),
    )
    bundles = [build(sources(rules=(one,)), 1, NOW) for one in (before, after)]
    (change,) = diff(*bundles)
    assert str(change).startswith("~ rule r: version 1 [")
