import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.desk.sample import SAMPLE
from collector.desk.site import Site, SiteError, load_site, parse_site
from collector.desk.site_law import against_ordinances
from policies.model import Account, ConfidentialPlace, Grade, Label
from policies.shipped import shipped_ordinances

_BLOCKS = re.compile(r"^# ((?:places|accounts|lists|articles):)\n((?:#   .*\n)+)", re.MULTILINE)
_SINGLE = re.compile(r"^( *)# (model: |gateways: |resolvers: |- \{control)", re.MULTILINE)
FULL = _SINGLE.sub(
    r"\1\2", _BLOCKS.sub(lambda block: f"{block[1]}\n{block[2].replace('#   ', '  ')}", SAMPLE)
)
"""The sample with every example in it switched on."""


def complaints(text: str) -> list[str]:
    with pytest.raises(SiteError) as caught:
        parse_site(text.encode(), "policy.yaml")
    return [str(complaint) for complaint in caught.value.complaints]


def site_of(text: str) -> Site:
    return parse_site(text.encode(), "policy.yaml")


def test_the_sample_is_valid_and_only_observes(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(SAMPLE, encoding="utf-8")
    site = load_site(path)
    assert [zone.name for zone in site.zones] == ["mynumber", "lgwan", "internet"]
    assert {setting.mode for setting in site.settings} == {"observe"}
    assert len({setting.control for setting in site.settings}) == 10


def test_every_example_of_the_sample_is_valid() -> None:
    site = site_of(FULL)
    assert site.model == "alpha"
    (zone, *_others) = site.policy_zones()
    assert (zone.gateways, zone.resolvers) == (("10.1.0.1",), ("10.1.0.53",))
    assert (zone.wireless, zone.joint) == ("permit", "permit")
    assert site.confidential_places() == (
        ConfidentialPlace(
            name="juki",
            title_ja="住民記録の抽出",
            title_en="extracts of the resident register",
            path="/srv/juki",
            handlers=("yamada", "suzuki"),
            sections=("戸籍住民課",),
            grade=Grade(3, 3, 2),
        ),
    )
    assert site.policy_labels() == (Label("機密", ("機密性3", "取扱注意", "部外秘", "極秘")),)
    assert site.lists == {"internal_nets": ("10.0.0.0/8",)}
    assert [(one.article, one.changes, bool(one.ground)) for one in site.overrides()] == [
        ("第35条第3号", {"severity": "high", "retention_years": 5}, False),
        ("第35条第4号", {"permit_by": ("section_head", "csirt")}, True),
    ]


def test_the_last_day_of_a_contract_counts_in_full() -> None:
    shared, contractor = site_of(FULL).policy_accounts()
    assert shared == Account(user="madoguchi", kind="shared", section="戸籍住民課")
    # 2027-04-01 00:00 in Tokyo.
    assert contractor.until_us == 1_806_505_200_000_000
    assert (contractor.kind, contractor.contract) == ("contractor", "保守委託 第12号")


def test_off_is_a_word() -> None:
    site = site_of(SAMPLE.replace("mode: observe", "mode: off"))
    assert {setting.mode for setting in site.settings} == {"off"}


SLIPS = [
    ("port: 443, protocol: tcp}   #", "port: https}   #", "https", "Expected `int`"),
    ("port: 53}                  # DNS", "port: 70000}   # DNS", "70000", "<= 65535"),
    ("control: media,", "control: usb,", "control: usb", "one of: devices, media"),
    ("networks: [10.2.0.0/16]", "networks: [10.2.0.1/16]", "10.2.0.1/16", "host bits set"),
    ("networks: [10.2.0.0/16]", "network: [10.2.0.0/16]", "network: [", "did you mean `networks`?"),
    ("name: lgwan", "name: mynumber", "name: mynumber", "stands here twice"),
    ("media_read_only: [mynumber]", "media_read_only: [mynumbr]", "mynumbr", "did you mean `mynumber`?"),
    ('{source: rpm, package: "*"}', "{source: rpm}", "{source: rpm}", "source and package"),
    ('control: media,       zone: "*"', "control: media, zone: mynumer", "mynumer", "did you mean `mynumber`?"),
    ("valid_days: 400", "valid_days: 400\nvalid_days: 3", "valid_days: 3", "twice"),
    ("valid_days: 400", "valid_days: [400", "", "not YAML"),
]  # fmt: skip
MORE_SLIPS = [
    ("gateways: [10.1.0.1]", "gateways: [10.1.0.300]", "not an address"),
    ("gateways: [10.1.0.1]", "gateways: [10.9.0.1]", "lies in no network of zone `mynumber`"),
    ("gateways: [10.1.0.1]", "gateways: ['fe80::1%eth0']", "not an address"),
    ("resolvers: [10.1.0.53]", "resolvers: [10.1.0.54]", "{network: 10.1.0.54/32, port: 53}"),
    ("wireless: permit", "wireless: maybe", "one of: allowed, permit, forbidden"),
    ("wireless: permit", "wireless: allowed", "alpha asks: "),
    ("joint: permit", "joint: allowed", "looser than `permit`"),
    ("media_read_only: [mynumber]", "media_read_only: []", "permitted media must be read-only"),
    ('control: links,       zone: "*", mode: observe', 'control: links, zone: "*", mode: off', "must not be off"),
    ("model: alpha", "model: alhpa", "did you mean `alpha`?"),
    ("path: /srv/juki", "path: srv/juki", "is not absolute"),
    ("path: /srv/juki", "path: /srv/../juki", "has . or .. or // in it"),
    ("path: /srv/juki", "path: /", "the whole system"),
    ("handlers: [yamada, suzuki]", "handlers: [madoguchi]", "a handler is one person"),
    ("integrity: 3", "integrity: 4", "<= 3"),
    ("integrity: 3", "integriti: 3", "did you mean `integrity`?"),
    ("marks: [機密性3", 'marks: ["  ", 機密性3', "a mark of blanks"),
    ("marks: [機密性3, 取扱注意, 部外秘, 極秘]", "marks: []", "length >= 1"),
    ("kind: shared, section", "kind: common, section", "one of: shared, contractor, service"),
    ("kind: shared, section: 戸籍住民課", "kind: shared, until: 2027-03-31", "has no contract"),
    (", until: 2027-03-31", "", "contractor `vendor1` has no end"),
    ("until: 2027-03-31", "until: 2027-02-30", "no such date"),
    ("until: 2027-03-31", "until: soon", "until"),
    ("user: vendor1", "user: madoguchi", "stands here twice"),
    ("internal_nets: [10.0.0.0/8]", "internal_nets: []", "length >= 1"),
    ("internal_nets:", "internal-nets:", "lists"),
    ("ordinance: nagoya, article: 第35条第3号", "ordinance: nagoia, article: 第35条第3号", "did you mean `nagoya`?"),
    ("article: 第35条第3号", "article: 第35条第30号", "did you mean `第35条第3号`?"),
    ("article: 第35条第4号", "article: 第35条第3号", "is set twice"),
    ("severity: high, retention_years: 5", "severity: low", "severity asks less than the ordinance"),
    ("severity: high, retention_years: 5", "retention_years: 1", "ground: why, and who decided it"),
    (", severity: high, retention_years: 5", "", "nothing is set"),
    ("severity: high, retention_years: 5", "severity: hi", "one of: informational, low"),
    ("article: 第35条第4号, permit_by", "article: 第35条第5号, permit_by", "is not permittable"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "says"), SLIPS)
def test_a_slip_is_refused_with_line_and_hint(old: str, new: str, at: str, says: str) -> None:
    assert old in SAMPLE
    text = SAMPLE.replace(old, new)
    (complaint,) = complaints(text)[-1:]
    assert says in complaint
    if at:
        rows = [number for number, row in enumerate(text.splitlines(), 1) if at in row and "# -" not in row]
        assert complaint.startswith(f"policy.yaml:{rows[-1]}: ")


@pytest.mark.parametrize(("old", "new", "says"), MORE_SLIPS)
def test_a_slip_in_places_accounts_and_articles_is_refused_with_its_line(
    old: str, new: str, says: str
) -> None:
    assert FULL.count(old) == 1
    text = FULL.replace(old, new)
    found = complaints(text)
    assert any(says in complaint for complaint in found), found
    line = FULL[: FULL.index(old)].count("\n") + 1
    assert any(complaint.startswith(f"policy.yaml:{line}: ") for complaint in found), (line, found)


def test_all_errors_of_meaning_come_at_once() -> None:
    text = SAMPLE.replace("10.2.0.0/16", "10.2.0.1/16").replace("[mynumber]", "[nowhere]")
    assert len(complaints(text)) == 3


def test_a_gateway_may_be_known_by_its_link_local_address() -> None:
    site = site_of(FULL.replace("gateways: [10.1.0.1]", "gateways: ['FE80::1']"))
    assert site.policy_zones()[0].gateways == ("fe80::1",)


def test_two_labels_with_one_mark() -> None:
    text = SAMPLE.replace("  - {name: 機密, marks:", "  - {name: 秘, marks: [極秘]}\n  - {name: 機密, marks:")
    assert "already shows label `秘`" in complaints(text)[0]


def test_what_a_model_asks_is_asked_from_its_day_on() -> None:
    site = site_of(SAMPLE.replace("wireless: permit", "wireless: allowed"))
    beta = Site(zones=site.zones, model="beta", media_read_only=("mynumber",))
    wrong = [what for _path, what, _hint in against_ordinances(beta, shipped_ordinances, "2026-01-01")]
    assert wrong == ["zone `mynumber`: wireless `allowed` is looser than `permit`"]
    assert list(against_ordinances(beta, shipped_ordinances, "2015-01-01")) == []


def test_wireless_in_the_individual_number_zone_depends_on_the_edition() -> None:
    """Forbidden until the guideline's revision of March 2025; since then by permit."""
    site = Site(zones=site_of(SAMPLE).zones, model="alpha", media_read_only=("mynumber",))
    before = [what for _path, what, _hint in against_ordinances(site, shipped_ordinances, "2025-03-27")]
    assert before == ["zone `mynumber`: wireless `permit` is looser than `forbidden`"]
    assert list(against_ordinances(site, shipped_ordinances, "2025-03-28")) == []


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "42", "- a\n- b", "zones: []", "zones: &a [*a]", "a: !!python/x 1"]
)
def test_what_is_no_site_file_is_refused(text: str) -> None:
    assert complaints(text)


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    text = "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nzones: *c\n"
    assert "aliases" in complaints(text)[0]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(SiteError):
        parse_site(data, "policy.yaml")


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["10.0.0.0/8", "enforce", "*", "nagoya", "第35条第4号", "/srv", "2027-03-31"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["name", "user", "article"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(key=st.sampled_from(Site.__struct_fields__), value=_values)
def test_any_value_is_taken_or_refused_by_line(key: str, value: object) -> None:
    data = {**yaml.safe_load(SAMPLE), key: value}
    text = yaml.safe_dump(data, allow_unicode=True)
    try:
        parse_site(text.encode(), "policy.yaml")
    except SiteError as error:
        lines = {complaint.line for complaint in error.complaints}
    else:
        lines = {1}
    assert lines <= set(range(1, text.count("\n") + 2))
