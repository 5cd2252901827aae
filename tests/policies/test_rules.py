"""The shipped rules pass their own tests, and the checker finds what it is there to find."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from policies.model import Rule
from policies.shipped import load_shipped, shipped_directory, shipped_library
from policies.testing import Report, check_rules
from protocol.events import KINDS

ORDINANCES, RULES = load_shipped()

RULE = """\
title: Storage without a permit
id: 6d9ff4a4-6f1c-4f6e-9d0c-000000000001
name: storage
level: high
logsource: {product: sekisho, category: device}
sekisho:
  version: "1"
  title_ja: 題
  effect: block
  citations: [{ordinance: baseline, article: 第1号}]
detection:
  a:
    kind: device.attached
    device_class: [storage, phone]
  b:
    permit: granted
  condition: a and not b
"""
TESTS = """\
- {name: stick, event: {kind: device.attached, device_class: storage}, enrichment: {permit: none}, fires: true}
- {name: phone, event: {kind: device.attached, device_class: phone}, enrichment: {permit: none}, fires: true}
- {name: permitted, event: {kind: device.attached, device_class: phone}, enrichment: {permit: granted}, fires: false}
- {name: camera, event: {kind: device.attached, device_class: video}, enrichment: {permit: none}, fires: false}
- {name: gone, event: {kind: device.detached}, fires: false}
"""


def check(directory: Path, rule: str = RULE, tests: str | None = TESTS) -> Report:
    (directory / "storage.yml").write_text(rule, encoding="utf-8")
    if tests is not None:
        (directory / "storage.tests.yml").write_text(tests, encoding="utf-8")
    return check_rules(directory, ORDINANCES)


def without(name: str) -> str:
    return "".join(line for line in TESTS.splitlines(keepends=True) if f"name: {name}," not in line)


def test_shipped_rules_pass() -> None:
    report = check_rules(shipped_directory("rules"))
    assert report.ok, str(report)
    correlations = shipped_library().correlations
    assert report.rules == len(RULES) + len(correlations) >= 15
    assert {one.id for one in correlations} >= {"repeated_failed_logons", "one_person_two_pcs"}
    assert str(report).endswith(": ok")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_shipped_rules_say_what_people_need(rule: Rule) -> None:
    assert rule.title_ja
    assert rule.title_en
    assert rule.version
    assert "baseline" in {citation.ordinance for citation in rule.citations}
    assert all(citation.edition and citation.summary_ja for citation in rule.citations)
    assert rule.effect == "flag" or rule.control


def test_every_family_has_a_rule() -> None:
    """Applications for permits and notices are records of what was done properly: nothing there to break."""
    families = {kind.partition(".")[0] for kind in KINDS} - {"permit", "notice"}
    assert {rule.family for rule in RULES} == families


def test_a_good_rule_passes(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert report.ok, str(report)
    assert (report.rules, report.tests, report.branches) == (1, 5, 7)


@pytest.mark.parametrize(
    ("tests", "name", "detail"),
    [
        (without("phone").replace("device_class: phone", "device_class: video"), "branch_not_exercised", "'phone' matches in no test"),
        (without("permitted"), "branch_not_exercised", "permit|eq: 'granted' matches in no test"),
        (without("camera").replace("kind: device.detached", "kind: device.detached, device_class: phone"), "branch_not_exercised",
         "device_class|eq ['storage', 'phone'] fails in no test"),
        (without("gone"), "branch_not_exercised", "kind|eq ['device.attached'] fails in no test"),
        (TESTS.replace("fires: true", "fires: false"), "fires", "stick"),
        (TESTS.replace("fires: false", "fires: true"), "does_not_fire", "camera"),
        (TESTS.replace("fires: true", "fires: false"), "no_firing_test", "no test fires"),
        (TESTS.replace("fires: false", "fires: true"), "no_near_miss", "no test that does not fire"),
        (TESTS.replace("device.detached}", "device.detached, device_class: audio}, enrichment: {permit: none}"),
         "no_missing_field_test", "every test fills"),
        (TESTS.replace("device_class: video", "device_clas: video"), "refused", "storage.tests.yml:4: unknown field device_clas (did you mean device_class"),
        (TESTS.replace("permit: granted", "permit: grante"), "refused", "storage.tests.yml:3"),
        (TESTS.replace("permit: granted", "permitt: granted"), "refused", "did you mean permit"),
        (TESTS.replace("device.detached", "device.detachd"), "refused", "unknown kind device.detachd"),
        (TESTS.replace("fires: false}\n- {name: gone", "fire: false}\n- {name: gone"), "refused", "storage.tests.yml:4"),
        ("{}", "refused", "tests are a list"),
        (None, "untested", "storage.tests.yml is missing"),
    ],
)  # fmt: skip
def test_gaps_fail_by_name(tmp_path: Path, tests: str | None, name: str, detail: str) -> None:
    report = check(tmp_path, tests=tests)
    assert not report.ok
    assert any(failure.name == name and detail in failure.detail for failure in report.failures), str(report)


def test_wrong_rules_are_failures_not_exceptions(tmp_path: Path) -> None:
    report = check(tmp_path, rule=RULE.replace("device_class:", "device_clas:"))
    assert [failure.name for failure in report.failures] == ["refused"]
    assert "storage.yml:14: unknown field device_clas" in report.failures[0].detail


def test_two_rules_with_one_id_fail(tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text(RULE, encoding="utf-8")
    (tmp_path / "other.tests.yml").write_text(TESTS, encoding="utf-8")
    names = [failure.name for failure in check(tmp_path).failures]
    assert names == ["refused"]


def test_tests_without_a_rule_fail(tmp_path: Path) -> None:
    (tmp_path / "orphan.tests.yml").write_text(TESTS, encoding="utf-8")
    assert [failure.name for failure in check(tmp_path).failures] == ["no_such_rule"]


def test_the_report_is_json_too(tmp_path: Path) -> None:
    report = json.loads(check(tmp_path, tests=None).json())
    assert report["ok"] is False
    assert report["failures"] == [
        {"rule": "storage.yml", "name": "untested", "detail": "storage.tests.yml is missing"}
    ]


def test_what_the_pc_loads_stays_small() -> None:
    """The resident agent imports the view and the bundle; parsers and regex engines stay out."""
    code = (
        "import sys, policies.view, policies.bundle, policies.permits, policies.ordinance\n"
        "print(*[name for name in ('yaml', 'sigma', 're2', 'pyparsing', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
