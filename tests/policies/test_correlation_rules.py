"""Correlation rules as files: compiled, refused with the place, tested by sequences."""

from pathlib import Path

import pytest

from policies.compile import Library, RuleError, compile_library
from policies.model import All, Compare, Not
from policies.shipped import load_shipped
from policies.testing import check_rules

ORDINANCES, _ = load_shipped()
BASE = """\
title: {name}
id: 6d9ff4a4-6f1c-4f6e-9d0c-{number:012}
name: {name}
level: low
logsource: {{product: sekisho, category: logon}}
sekisho:
  version: "1"
  title_ja: 題
  control: logons
  effect: {effect}
  citations: [{{ordinance: baseline, article: 第13号}}]
detection:
  a:
    kind: {kind}
  condition: a
"""
HEAD = """\
title: Many
id: 6d9ff4a4-6f1c-4f6e-9d0c-0000000000ff
name: many
level: high
sekisho:
  version: "2"
  title_ja: 多い
  citations: [{ordinance: nagoya, article: 第35条第2号}]
correlation:
"""
FIRST = HEAD.count("\n")
COUNT = "  type: event_count\n  rules: [failed]\n  group-by: [user]\n  timespan: 10m\n  condition: {gte: 5}\n"


def load(directory: Path, correlation: str = COUNT, head: str = HEAD, effect: str = "flag") -> Library:
    """Two base rules and a correlation, which stands first by name."""
    (directory / "a_many.yml").write_text(head + correlation, encoding="utf-8")
    for number, (name, kind) in enumerate((("failed", "logon.failed"), ("succeeded", "logon.succeeded"))):
        text = BASE.format(name=name, number=number, kind=kind, effect=effect)
        (directory / f"{name}.yml").write_text(text, encoding="utf-8")
    return compile_library(sorted(directory.glob("*.yml")), ORDINANCES)


def test_everything_arrives(tmp_path: Path) -> None:
    library = load(tmp_path)
    (made,) = library.correlations
    assert (made.id, made.version, made.title_ja, made.level) == ("many", "2", "多い", "high")
    assert (made.kind, made.rules, made.group_by, made.timespan_us) == (
        "event_count",
        ("failed",),
        ("user",),
        600_000_000,
    )
    assert (made.op, made.threshold) == ("gte", 5)
    assert made.citations[0].article == "第35条第2号"
    assert {rule.id: rule.silent for rule in library.rules} == {"failed": True, "succeeded": False}


def test_generate_keeps_the_alerts_of_the_rules(tmp_path: Path) -> None:
    library = load(tmp_path, COUNT + "  generate: true\n", effect="block")
    assert not any(rule.silent for rule in library.rules)


@pytest.mark.parametrize(
    ("text", "kind", "more"),
    [
        ("type: value_count\n  rules: failed\n  timespan: 1h\n  condition: {field: agent_id, gt: 2}", "value_count", {"fields": ("agent_id",), "op": "gt"}),
        ("type: temporal\n  rules: [failed, succeeded]\n  timespan: 1d", "temporal", {"threshold": 2, "op": "gte"}),
        ("type: temporal_ordered\n  rules: [failed, succeeded]\n  timespan: 1d", "temporal_ordered", {"threshold": 2}),
        ("type: value_sum\n  rules: failed\n  timespan: 1m\n  condition: {field: count, gte: 9}", "value_sum", {"fields": ("count",)}),
        ("type: value_avg\n  rules: failed\n  timespan: 1m\n  condition: {field: count, lt: 1.5}", "value_avg", {"threshold": 1.5}),
        ("type: value_median\n  rules: failed\n  timespan: 1m\n  condition: {field: count, gte: 9}", "value_median", {}),
        ("type: value_percentile\n  rules: failed\n  timespan: 1m\n  condition: {field: count, gte: 9, percentile: 95}", "value_percentile", {"percentile": 95}),
        (
            "type: temporal\n  timespan: 1m\n  condition: failed and not succeeded",
            "temporal",
            {"condition": All((Compare("rule", "eq", ("failed",)), Not(Compare("rule", "eq", ("succeeded",))))), "rules": ("failed", "succeeded")},
        ),
    ],
)  # fmt: skip
def test_every_kind(tmp_path: Path, text: str, kind: str, more: dict[str, object]) -> None:
    (made,) = load(tmp_path, f"  {text}\n").correlations
    assert made.kind == kind
    assert {name: getattr(made, name) for name in more} == more


def test_rules_are_named_by_uuid_too_and_aliases_are_kept(tmp_path: Path) -> None:
    uuid = "6d9ff4a4-6f1c-4f6e-9d0c-000000000000"
    aliases = f"  aliases:\n    who:\n      {uuid}: target_user\n      succeeded: user\n"
    text = f"  type: temporal\n  rules: [{uuid}, succeeded]\n  timespan: 1m\n  group-by: who\n{aliases}"
    (made,) = load(tmp_path, text).correlations
    assert made.rules == ("failed", "succeeded")
    assert made.aliases == {"who": {"failed": "target_user", "succeeded": "user"}}


def test_fields_of_mapped_rules_go_by_our_names(tmp_path: Path) -> None:
    (tmp_path / "look.yml").write_text(
        "title: look\nid: 6d9ff4a4-6f1c-4f6e-9d0c-0000000000aa\nlevel: low\n"
        "logsource: {product: linux, category: network_connection}\n"
        "detection:\n  a: {DestinationPort: 4444}\n  condition: a\n",
        encoding="utf-8",
    )
    text = "  type: value_count\n  rules: look\n  timespan: 1m\n  group-by: User\n  condition: {field: DestinationIp, gte: 9}\n"
    (made,) = load(tmp_path, text).correlations
    assert made.aliases == {"User": {"look": "user"}, "DestinationIp": {"look": "dest_ip"}}


REFUSED = [
    (COUNT.replace("[failed]", "[faild]"), "no rule faild", "did you mean failed", 2),
    (COUNT.replace("event_count", "event_cont"), "event_cont", "", 1),
    (COUNT.replace("10m", "10 minutes"), "10 minutes", "", 4),
    (COUNT.replace("10m", "90d"), "longer than 31 days", "", 4),
    (COUNT.replace("gte: 5", "gte: many"), "many", "", 5),
    (COUNT.replace("gte: 5", "gte: 5, lt: 9"), "exactly one", "", 5),
    (COUNT.replace("gte: 5", "gte: 10001"), "counts to 10000 at most", "", 5),
    (COUNT.replace("[user]", "[usr]"), "unknown field usr for rule failed", "did you mean user", 3),
    (
        COUNT.replace("event_count", "value_sum").replace("gte: 5", "gte: 5, field: user"),
        "which is no number",
        "",
        5,
    ),
    (COUNT.replace("event_count", "value_sum"), "without field", "", 0),
    (COUNT.replace("[failed]", "[many]"), "many refers back to it: a circle", "", 2),
    ("  type: event_count\n", "", "", 0),
    ("  - a\n", "needs a map correlation", "", 0),
]


@pytest.mark.parametrize(("text", "message", "hint", "line"), REFUSED, ids=range(len(REFUSED)))
def test_mistakes_are_refused_with_the_place(
    tmp_path: Path, text: str, message: str, hint: str, line: int
) -> None:
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not line or caught.value.line == FIRST + line, str(caught.value)
    assert Path(caught.value.file).name == "a_many.yml"


def test_a_rule_that_stops_something_cannot_be_silenced(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"failed stops something \(write generate: true"):
        load(tmp_path, effect="block")


TESTS = """\
- name: five
  events: [{event: {kind: logon.failed, user: a}, times: 5}]
  fires: true
- name: four
  events: [{event: {kind: logon.failed, user: a}, times: 4}]
  fires: false
"""
SINGLE = """\
- {name: one, event: {kind: KIND}, fires: true}
- {name: other, event: {kind: logon.ended}, fires: false}
"""


@pytest.mark.parametrize(
    ("old", "new", "failure"),
    [
        ("", "", ""),
        ("times: 5", "times: 3", "does_not_fire"),
        ("times: 4", "times: 6", "fires"),
        ("fires: true", "fires: false", "no_firing_test"),
        ("times: 4}]\n  fires: false", "times: 5}]\n  fires: true", "no_near_miss"),
        ("user: a}", "usr: a}", "refused"),
        (
            "events: [{event: {kind: logon.failed, user: a}, times: 5}]",
            "event: {kind: logon.failed}",
            "refused",
        ),
    ],
)
def test_sequences_are_tried(tmp_path: Path, old: str, new: str, failure: str) -> None:
    load(tmp_path)
    (tmp_path / "a_many.tests.yml").write_text(TESTS.replace(old, new, 1) if old else TESTS, encoding="utf-8")
    for name in ("failed", "succeeded"):
        (tmp_path / f"{name}.tests.yml").write_text(SINGLE.replace("KIND", f"logon.{name}"), encoding="utf-8")
    report = check_rules(tmp_path, ORDINANCES)
    assert {one.name for one in report.failures} >= ({failure} if failure else set()), str(report)
    assert report.ok == (not failure), str(report)


def test_a_rule_that_never_takes_part_is_found(tmp_path: Path) -> None:
    text = "  type: temporal\n  timespan: 1m\n  condition: failed or succeeded\n"
    load(tmp_path, text)
    tests = TESTS.replace("times: 4}]\n  fires: false", "times: 4}]\n  fires: true")
    (tmp_path / "a_many.tests.yml").write_text(tests, encoding="utf-8")
    report = check_rules(tmp_path, ORDINANCES)
    assert "succeeded fires in no sequence that fires" in str(report)
