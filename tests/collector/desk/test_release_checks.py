"""What a check finds in a draft that contradicts itself or does something nobody can have meant."""

from __future__ import annotations

from typing import Any

import pytest

from collector.desk import release_checks
from collector.desk.draft import build
from collector.desk.release_checks import CheckReport, check, site_refused
from collector.desk.sample import SAMPLE
from collector.desk.site import parse_site
from collector.desk.site_read import SiteError
from policies.model import Assignment, Scope
from policies.testing import Failure, Report
from tests.collector.desk.test_draft import NOW, RULES, permit, sources


def checked(text: str = SAMPLE, **changes: Any) -> CheckReport:
    site = parse_site(text.encode(), "policy.yaml")
    made = build(sources(site=site, **changes), 1, NOW)
    return check(made, site, text, RULES)


def line_of(text: str, part: str) -> str:
    return f"policy.yaml:{text[: text.index(part)].count(chr(10)) + 1}"


def found(report: CheckReport) -> dict[str, str]:
    return {remark.name: remark.where for remark in report.remarks}


def test_what_is_shipped_has_no_error() -> None:
    report = checked()
    assert report.ok, report.remarks
    assert report.rules >= 19
    assert report.tests > report.rules


def test_settings_that_cut_everything_off_are_named_with_their_line() -> None:
    setting = '{control: connections, zone: "*", mode: observe}'
    text = SAMPLE.replace(setting, "{control: connections, zone: lgwan, mode: enforce}")
    text = text.replace("      - {network: 10.2.0.0/16}\n", "").replace(
        "networks: [10.2.0.0/16]\n    allow:", "networks: [10.2.0.0/16]\n    allow: []"
    )
    assert found(checked(text))["no_destination"] == line_of(text, "{control: connections, zone: lgwan")


def test_execution_without_any_software() -> None:
    text = SAMPLE.replace(
        '{control: execution,   zone: "*", mode: observe}', '{control: execution, zone: "*", mode: enforce}'
    )
    text = text.replace('  - {source: dpkg, package: "*"}\n', "").replace(
        '  - {source: rpm, package: "*"}\n', ""
    )
    text = text.replace("software:\n", "software: []\n")
    assert "no_software" in found(checked(text))
    assert "no_software" not in found(checked())


def test_a_control_that_is_off_and_a_short_term() -> None:
    text = SAMPLE.replace(
        '{control: media,       zone: "*", mode: observe}', '{control: media, zone: "*", mode: off}'
    )
    text = text.replace("valid_days: 400", "valid_days: 7")
    names = found(checked(text))
    assert names["control_off"] == line_of(text, "{control: media, zone")
    assert names["short_term"] == line_of(text, "valid_days: 7")
    assert checked(text).ok, "a warning is for a person to weigh"


def test_registers_that_do_not_fit_the_policy() -> None:
    from msgspec.structs import replace

    lost = replace(permit(), scope=Scope(zones=("moon",), sections=("月課",)))
    report = checked(permits=(lost,), assignments={"pc": Assignment("nowhere", "税務課")})
    assert found(report).items() >= {
        "unknown_zone": "hosts", "permit_without_zone": "p-1", "permit_without_section": "p-1"
    }.items()  # fmt: skip


def test_a_rule_whose_test_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Report(1, 1, 1, (
        Failure("unknown_device", "does_not_fire", "a stick"),
        Failure("x.yml", "refused", "/somewhere/rules/x.yml:3: unknown field"),
    ))  # fmt: skip
    monkeypatch.setattr(release_checks, "_rules_tested", lambda _files: failed)
    report = checked()
    assert not report.ok
    assert [(one.where, one.name, one.en) for one in report.remarks[:2]] == [
        ("unknown_device.tests.yml:1", "does_not_fire", "a stick"),
        ("x.yml:3", "refused", "unknown field"),
    ]


def test_rules_that_changed_since_the_start_are_an_error() -> None:
    site = parse_site(SAMPLE.encode(), "policy.yaml")
    report = check(build(sources(), 1, NOW), site, SAMPLE, RULES[1:])
    assert [one.name for one in report.remarks if one.severity == "error"] == ["rules_changed"]


def test_a_site_file_that_cannot_be_read_is_all_errors() -> None:
    with pytest.raises(SiteError) as caught:
        parse_site(b"zones: 7\n", "policy.yaml")
    report = site_refused(caught.value)
    assert not report.ok
    assert report.remarks[0].where == "policy.yaml:1"
