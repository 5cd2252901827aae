from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.desk.sample import SAMPLE
from collector.desk.site import SiteError, load_site, parse_site


def complaints(text: str) -> list[str]:
    with pytest.raises(SiteError) as caught:
        parse_site(text.encode(), "policy.yaml")
    return [str(complaint) for complaint in caught.value.complaints]


def test_the_sample_is_valid_and_only_observes(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(SAMPLE, encoding="utf-8")
    site = load_site(path)
    assert [zone.name for zone in site.zones] == ["mynumber", "lgwan", "internet"]
    assert {setting.mode for setting in site.settings} == {"observe"}
    assert len({setting.control for setting in site.settings}) == 5


def test_off_is_a_word() -> None:
    site = parse_site(SAMPLE.replace("mode: observe", "mode: off").encode(), "policy.yaml")
    assert {setting.mode for setting in site.settings} == {"off"}


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ("port: 443, protocol: tcp}   #", "port: https}   #", "https", "Expected `int`"),
        ("port: 53}                  # DNS", "port: 70000}   # DNS", "70000", "<= 65535"),
        ("control: media,", "control: usb,", "control: usb", "one of: devices, media"),
        ("networks: [10.2.0.0/16]", "networks: [10.2.0.1/16]", "10.2.0.1/16", "host bits set"),
        ("networks: [10.2.0.0/16]", "network: [10.2.0.0/16]", "network: [", "did you mean `networks`?"),
        ("name: lgwan", "name: mynumber", "name: mynumber", "stands here twice"),
        ("media_read_only: [mynumber]", "media_read_only: [mynumbr]", "mynumbr", "did you mean `mynumber`?"),
        ('{source: rpm, package: "*"}', "{source: rpm}", "{source: rpm}", "source and package"),
        (
            'control: media,       zone: "*"',
            "control: media, zone: mynumer",
            "mynumer",
            "did you mean `mynumber`?",
        ),
        ("valid_days: 400", "valid_days: 400\nvalid_days: 3", "valid_days: 3", "twice"),
        ("valid_days: 400", "valid_days: [400", "", "not YAML"),
    ],
)
def test_a_slip_is_refused_with_line_and_hint(old: str, new: str, at: str, says: str) -> None:
    assert old in SAMPLE
    text = SAMPLE.replace(old, new)
    (complaint,) = complaints(text)[-1:]
    assert says in complaint
    if at:
        rows = [number for number, row in enumerate(text.splitlines(), 1) if at in row and "# -" not in row]
        assert complaint.startswith(f"policy.yaml:{rows[-1]}: ")


def test_all_errors_of_meaning_come_at_once() -> None:
    text = SAMPLE.replace("10.2.0.0/16", "10.2.0.1/16").replace("[mynumber]", "[nowhere]")
    assert len(complaints(text)) == 3


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
    | st.sampled_from(["10.0.0.0/8", "enforce", "*"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(
    key=st.sampled_from(["zones", "settings", "software", "media_read_only", "valid_days", "rules_off"]),
    value=_values,
)
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
