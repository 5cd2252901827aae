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
from policies.model import (
    Account,
    Assignment,
    Bundle,
    Citation,
    Compare,
    ConfidentialPlace,
    Correlation,
    Destination,
    Label,
    Permit,
    Rule,
    Setting,
    Subject,
)
from policies.ordinance_override import applied
from policies.shipped import load_shipped, shipped_library
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


def correlation() -> Correlation:
    return Correlation(
        id="often",
        version="1",
        title_ja="繰り返し",
        title_en="often",
        level="high",
        citations=(Citation("nagoya", "第35条第2号"),),
        kind="event_count",
        rules=("ours",),
        timespan_us=60_000_000,
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


def test_correlations_go_like_rules() -> None:
    often = msgspec.structs.replace(
        correlation(), citations=(Citation("nagoya", "第35条第2号"), Citation("meguro", "第1条"))
    )
    twice = msgspec.structs.replace(often, id="twice", rules=("often",))
    kwargs: dict[str, Any] = {"rules": (rule("ours", "nagoya"),), "correlations": (twice, often)}
    found = build(sources(**kwargs, in_use=("nagoya",)), 1, NOW).correlations
    assert [cited.ordinance for one in found for cited in one.citations] == ["nagoya", "nagoya"]
    assert build(sources(**kwargs, in_use=("kameoka",)), 1, NOW).correlations == ()
    for name in ("often", "ours"):
        off = msgspec.structs.replace(SITE, rules_off=(name,))
        assert build(sources(**kwargs, site=off), 1, NOW).correlations == ()


def test_citations_are_of_the_edition_in_use() -> None:
    nagoya = ORDINANCES["nagoya"]
    newer = msgspec.structs.replace(nagoya, edition="2027-04-01", articles=nagoya.articles[1:])
    rules = (
        rule("gone", "nagoya"),
        msgspec.structs.replace(rule("kept"), citations=(Citation("nagoya", "第2条"),)),
    )
    bundle = build(sources(rules=rules, ordinances={**ORDINANCES, "nagoya": newer}), 1, NOW)
    (kept,) = bundle.rules
    assert (kept.id, kept.citations[0].edition) == ("kept", "2027-04-01")


EVERYTHING = """
places: [{name: juki, title: {ja: 住基, en: residents}, path: /srv/juki, handlers: [yamada]}]
accounts: [{user: counter, kind: shared}, {user: vendor, kind: contractor, until: 2027-03-31}]
lists: {internal_nets: [10.0.0.0/8]}
articles:
  - {ordinance: nagoya, article: 第1条, severity: critical}
  - {ordinance: nagoya, article: 第35条第4号, permit_by: [ciso], ground: 委員会の決定}
"""


def test_what_the_site_file_says_stands_in_the_bundle() -> None:
    site = parse_site((SAMPLE + EVERYTHING).encode(), "policy.yaml")
    law = applied(ORDINANCES, site.overrides())
    rules = (
        rule("ours", "nagoya"),
        msgspec.structs.replace(rule("noted"), citations=(Citation("nagoya", "第35条第4号"),)),
    )
    register = Account(user="vendor", kind="contractor", contract="p-7", until_us=NOW)
    made = sources(site=site, ordinances=law, rules=rules, contractors=(register,))
    bundle = build(made, 1, NOW)
    assert [place.handlers for place in bundle.places] == [("yamada",)]
    assert [label.name for label in bundle.labels] == ["機密"]
    assert bundle.accounts == (Account(user="counter", kind="shared"), register)
    assert bundle.lists == {"internal_nets": ("10.0.0.0/8",)}
    assert {one.id: one.level for one in bundle.rules} == {"ours": "critical", "noted": "high"}
    assert "委員会の決定" in bundle.rules[1].citations[0].summary_ja
    assert all(zone.wireless == "permit" for zone in bundle.zones)
    signs = {(change.part, change.sign) for change in diff(build(sources(rules=rules), 1, NOW), bundle)}
    assert signs == {("rule", "~"), ("place", "+"), ("account", "+"), ("list", "+")}


def test_a_trial_of_an_article_stops_the_block_although_others_watch() -> None:
    """第34条 only observes: it does not keep ``unknown_device`` a block, nor as grave."""
    trial = "articles:\n" + "".join(
        f"  - {{ordinance: {ordinance}, article: {number}, levels: [observe], severity: low, ground: 試行}}\n"
        for ordinance, number in (("nagoya", "第35条第4号"), ("baseline", "第1号"))
    )
    shipped = tuple(one for one in shipped_library().rules if one.id == "unknown_device")
    found = []
    for text in (SAMPLE, SAMPLE + trial):
        site = parse_site(text.encode(), "policy.yaml")
        law = applied(ORDINANCES, site.overrides())
        made = sources(site=site, ordinances=law, rules=shipped, in_use=("nagoya", "baseline"))
        found += [(one.effect, one.level) for one in build(made, 1, NOW).rules]
    assert found == [("block", "high"), ("flag", "low")]


def test_destinations_of_the_register_come_after_those_of_the_site_file() -> None:
    more = Destination("192.0.2.0/24", 443, "tcp")
    (zone, *_) = build(sources(destinations={"mynumber": (more,)}), 1, NOW).zones
    assert zone.allow[-1] == more
    assert len(zone.allow) == 3


def test_an_ordinance_in_use_whose_file_is_gone_is_missed() -> None:
    with pytest.raises(RefusedError, match="in use, but not there: ordinance town"):
        build(sources(in_use=("nagoya", "town")), 1, NOW)


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
    "places": (ConfidentialPlace(name="juki", title_ja="住基", title_en="residents", path="/srv/juki"),),
    "labels": (Label("secret", ("極秘",)),),
    "accounts": (Account(user="counter", kind="shared"),),
    "correlations": (correlation(),),
    "lists": {"internal_nets": ("10.0.0.0/8",)},
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
